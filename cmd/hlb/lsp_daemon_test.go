// SPDX-License-Identifier: Apache-2.0

//go:build integration

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"go.lsp.dev/jsonrpc2"
	"go.lsp.dev/protocol"
)

// TestLSPTellsWhatTheDaemonHolds: before a build nothing, then the image that was pulled and the cache mount.
func TestLSPTellsWhatTheDaemonHolds(t *testing.T) {
	s := newRunSite(t)
	const target = "fs default() {\n\timage \"%s\"\n\trun \"echo x > /c/x\" with cacheMount(\"/c\")\n}\n"
	program := fmt.Sprintf(target, s.base)
	if err := os.WriteFile(defaultProgram, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"^1 cache mount, 1 image · daemon holds 0 of 1 mounts, 0 of 1 images, 0 B$",
		"^1 cache mount, 1 image · daemon holds 1 of 1 mounts, 1 of 1 images, [0-9.]+ (kB|MB)$",
	} {
		if got := lensOf(t, "unix://"+s.daemon.Socket, program); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%q, want %s", got, want)
		}
		if code, _, stderr := hlbHere(t, "run", "--progress", "quiet"); code != 0 {
			t.Fatal(stderr)
		}
	}
}

// lensOf starts the server with a daemon's address and returns the lens of a program.
func lensOf(t *testing.T, addr, program string) string {
	t.Helper()
	serverIn, clientOut := io.Pipe()
	clientIn, serverOut := io.Pipe()
	code := make(chan int)
	go func() { code <- run(t.Context(), []string{"lsp", "--addr", addr}, serverIn, serverOut, io.Discard) }()
	ctx, conn, server := protocol.NewClient(t.Context(), protocol.UnimplementedClient{},
		jsonrpc2.NewStream(stdio{clientIn, clientOut}))
	defer conn.Close()
	item := protocol.TextDocumentItem{URI: "file:///a.hlb", LanguageID: "hlb", Version: 1, Text: program}
	_, failed := server.Initialize(ctx, &protocol.InitializeParams{})
	opened := server.DidOpen(ctx, &protocol.DidOpenTextDocumentParams{TextDocument: item})
	if err := errors.Join(failed, opened); err != nil {
		t.Fatal(err)
	}
	lenses, err := server.CodeLens(ctx, &protocol.CodeLensParams{
		TextDocument: protocol.TextDocumentIdentifier{URI: item.URI},
	})
	if err != nil || len(lenses) != 1 {
		t.Fatal(lenses, err)
	}
	title := strings.Clone(lenses[0].Command.Title) // it may share memory with the next message
	if err := errors.Join(server.Shutdown(ctx), server.Exit(ctx)); err != nil {
		t.Fatal(err)
	}
	if got := <-code; got != 0 {
		t.Errorf("exit code %d", got)
	}
	return title
}
