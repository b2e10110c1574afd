// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.lsp.dev/jsonrpc2"
	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"github.com/openllb/hlb-operator/hlb/lsp"
	"github.com/openllb/hlb-operator/test/kit/hlbtest"
)

// editorCommand makes this program a language server, as `hlb lsp` is one.
const editorCommand = "lsp"

// The bounds for a program of 10,000 lines.
const (
	keystrokeBound = 20.0  // ms from a keystroke to its diagnostics
	editorBoundMB  = 100.0 // of memory that the server holds at most
	keystrokes     = 100
)

// editing is what typing in a program costs: the time from a keystroke to its diagnostics, and the server's memory.
type editing struct {
	Lines    int     `json:"lines"`
	MedianMs float64 `json:"medianMs"`
	WorstMs  float64 `json:"worstMs"`
	CPUMs    float64 `json:"cpuMs"` // of the server for each keystroke, start and garbage collection included
	PeakMB   float64 `json:"peakMB"`
}

func serveEditor() error {
	lsp.Tune()
	return lsp.Serve(context.Background(), stdio{os.Stdin, os.Stdout}, lsp.Options{})
}

type stdio struct {
	io.ReadCloser
	io.Writer
}

// typist is a client that waits for diagnostics.
type typist struct {
	protocol.UnimplementedClient
	found chan *protocol.PublishDiagnosticsParams
}

// PublishDiagnostics implements protocol.Client.
func (t *typist) PublishDiagnostics(_ context.Context, p *protocol.PublishDiagnosticsParams) error {
	t.found <- p
	return nil
}

// statement is what is typed: it is wrong in several ways until it is complete.
const statement = "\tdir \"/typed\"\n"

// measureEditing types a statement into the middle of a program, over and over, in a server of its own.
func measureEditing(lines int) (e editing, err error) {
	self, err := os.Executable()
	if err != nil {
		return editing{}, err
	}
	cmd := exec.Command(self, editorCommand)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return editing{}, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return editing{}, err
	}
	if err := cmd.Start(); err != nil {
		return editing{}, err
	}
	client := &typist{found: make(chan *protocol.PublishDiagnosticsParams, 1)}
	ctx, conn, server := protocol.NewClient(context.Background(), client, jsonrpc2.NewStream(stdio{out, in}))
	defer func() {
		err = errors.Join(err, server.Shutdown(ctx), server.Exit(ctx), cmd.Wait())
		conn.Close()
		used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		e.CPUMs = float64(used.Microseconds()) / 1000 / keystrokes
	}()
	if _, err := server.Initialize(ctx, &protocol.InitializeParams{}); err != nil {
		return editing{}, err
	}
	times, err := client.types(ctx, server, string(hlbtest.Program(lines)), lines)
	if err != nil {
		return editing{}, err
	}
	slices.Sort(times)
	e = editing{Lines: lines, MedianMs: times[len(times)/2], WorstMs: times[len(times)-1]}
	e.PeakMB, err = peakMB(cmd.Process.Pid)
	return e, err
}

// types opens a program and types, and returns how long each keystroke took, in milliseconds.
func (t *typist) types(ctx context.Context, server protocol.Server, text string, lines int) ([]float64, error) {
	u := uri.File("/tmp/bench.hlb")
	if err := server.DidOpen(ctx, &protocol.DidOpenTextDocumentParams{
		TextDocument: protocol.TextDocumentItem{URI: u, LanguageID: "hlb", Version: 1, Text: text},
	}); err != nil {
		return nil, err
	}
	<-t.found
	place := protocol.Position{}
	for i, line := range strings.Split(text, "\n") {
		if i > lines/2 && strings.HasPrefix(line, "\timage") {
			place.Line = uint32(i + 1)
			break
		}
	}
	var times []float64
	for i := range keystrokes {
		change := &protocol.TextDocumentContentChangePartial{
			Range: protocol.Range{Start: place, End: place}, Text: string(statement[i%len(statement)]),
		}
		p := &protocol.DidChangeTextDocumentParams{
			ContentChanges: []protocol.TextDocumentContentChangeEvent{change},
		}
		p.TextDocument.URI, p.TextDocument.Version = u, int32(i+2)
		start := time.Now()
		if err := server.DidChange(ctx, p); err != nil {
			return nil, err
		}
		<-t.found
		times = append(times, float64(time.Since(start).Microseconds())/1000)
		if place.Character++; i%len(statement) == len(statement)-1 {
			place = protocol.Position{Line: place.Line + 1}
		}
	}
	return times, nil
}

// peakMB is the most memory that a process has held.
func peakMB(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kb, err := strconv.Atoi(strings.Fields(rest + " -")[0])
	return float64(kb) / 1024, err
}

// editing adds what typing costs to the report, and prints it beside its bounds.
func (r *report) editing() error {
	e, err := measureEditing(10_000)
	if err != nil {
		return fmt.Errorf("measure the language server: %w", err)
	}
	r.Editing = e
	fmt.Printf("language server, %d lines: keystroke to diagnostics %.1f ms (median; at most %.0f wanted), "+
		"worst %.1f, processor %.1f; %.0f MB (at most %.0f wanted)\n", e.Lines, e.MedianMs, keystrokeBound, e.WorstMs,
		e.CPUMs, e.PeakMB, editorBoundMB)
	return nil
}
