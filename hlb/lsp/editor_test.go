// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.lsp.dev/jsonrpc2"
	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"
)

// editor is a scripted client with a folder of files.
type editor struct {
	protocol.UnimplementedClient
	server protocol.Server
	t      *testing.T
	ctx    context.Context
	dir    string
	texts  map[string]string // of open files

	found    chan *protocol.PublishDiagnosticsParams
	mu       sync.Mutex
	messages []string
}

// PublishDiagnostics implements protocol.Client.
func (e *editor) PublishDiagnostics(_ context.Context, p *protocol.PublishDiagnosticsParams) error {
	e.found <- p
	return nil
}

// ShowMessage implements protocol.Client.
func (e *editor) ShowMessage(_ context.Context, p *protocol.ShowMessageParams) error {
	return e.note(p.Message)
}

// LogMessage implements protocol.Client.
func (e *editor) LogMessage(_ context.Context, p *protocol.LogMessageParams) error {
	return e.note(p.Message)
}

func (e *editor) note(text string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.messages = append(e.messages, text)
	return nil
}

// newEditor starts a server for a folder with files. setup changes what the client says of itself.
func newEditor(
	t *testing.T, files map[string]string, opts Options, setup func(*protocol.InitializeParams),
) *editor {
	t.Helper()
	e := &editor{
		t: t, dir: t.TempDir(), texts: map[string]string{}, found: make(chan *protocol.PublishDiagnosticsParams, 100),
	}
	for name, text := range files {
		file := filepath.Join(e.dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	theirs, ours := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- Serve(context.Background(), theirs, opts) }()
	ctx := context.Background()
	conn := jsonrpc2.NewConn(jsonrpc2.NewStream(ours), jsonrpc2.WithCodec(copying{}))
	conn.Go(ctx, protocol.Handlers(protocol.ClientHandler(e, jsonrpc2.MethodNotFoundHandler)))
	server := protocol.ServerDispatcher(conn)
	e.ctx, e.server = ctx, server
	root := uri.File(e.dir)
	params := &protocol.InitializeParams{RootURI: &root} //nolint:staticcheck // older editors send nothing else
	if setup != nil {
		setup(params)
	}
	if _, err := server.Initialize(ctx, params); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(server.Shutdown(ctx), server.Exit(ctx), <-done); err != nil {
			t.Error(err)
		}
		conn.Close()
	})
	return e
}

// copying decodes copies: lists that protocol decodes may share memory with the next message.
type copying struct{ codec }

// Unmarshal implements jsonrpc2.Codec.
func (c copying) Unmarshal(data []byte, v any) error { return c.codec.Unmarshal(bytes.Clone(data), v) }

// told waits for a message to the user that has a text.
func (e *editor) told(text string) {
	e.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		e.mu.Lock()
		messages := slices.Clone(e.messages)
		e.mu.Unlock()
		if slices.ContainsFunc(messages, func(m string) bool { return strings.Contains(m, text) }) {
			return
		}
		if time.Now().After(deadline) {
			e.t.Fatalf("no message has %q: %q", text, messages)
		}
	}
}

func (e *editor) uri(name string) uri.URI { return uri.File(filepath.Join(e.dir, name)) }

func (e *editor) open(name, text string) {
	e.t.Helper()
	e.texts[name] = text
	if err := e.server.DidOpen(e.ctx, &protocol.DidOpenTextDocumentParams{TextDocument: protocol.TextDocumentItem{
		URI: e.uri(name), LanguageID: "hlb", Version: 1, Text: text,
	}}); err != nil {
		e.t.Fatal(err)
	}
}

// edit replaces the first old in an open file, as typing does.
func (e *editor) edit(name string, version int32, old, text string) {
	e.t.Helper()
	l := newLines([]byte(e.texts[name]), false)
	i := strings.Index(e.texts[name], old)
	change := &protocol.TextDocumentContentChangePartial{
		Range: protocol.Range{Start: l.position(i), End: l.position(i + len(old))}, Text: text,
	}
	e.texts[name] = strings.Replace(e.texts[name], old, text, 1)
	p := &protocol.DidChangeTextDocumentParams{
		ContentChanges: []protocol.TextDocumentContentChangeEvent{change},
	}
	p.TextDocument.URI, p.TextDocument.Version = e.uri(name), version
	if err := e.server.DidChange(e.ctx, p); err != nil {
		e.t.Fatal(err)
	}
}

// diagnostics waits for those of a version of a file.
func (e *editor) diagnostics(name string, version int32) []string {
	e.t.Helper()
	for {
		select {
		case p := <-e.found:
			if v, _ := p.Version.Get(); p.URI != e.uri(name) || v != version {
				continue
			}
			out := []string{}
			for _, d := range p.Diagnostics {
				text, _ := d.Message.(protocol.String)
				out = append(out, string(text))
			}
			return out
		case <-time.After(time.Minute):
			e.t.Fatal("no diagnostics")
		}
	}
}

// place is the position of the first mark in an open file.
func (e *editor) place(name, mark string) protocol.TextDocumentPositionParams {
	e.t.Helper()
	i := strings.Index(e.texts[name], mark)
	if i < 0 {
		e.t.Fatalf("%s has no %s", name, mark)
	}
	return protocol.TextDocumentPositionParams{
		TextDocument: protocol.TextDocumentIdentifier{URI: e.uri(name)},
		Position:     newLines([]byte(e.texts[name]), false).position(i),
	}
}
