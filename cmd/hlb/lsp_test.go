// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"

	"go.lsp.dev/jsonrpc2"
	"go.lsp.dev/protocol"
)

// TestLSP: a scripted client talks to the command on its standard input and output.
func TestLSP(t *testing.T) {
	for name, tc := range map[string]struct {
		shutdown bool
		code     int
	}{
		"a client that says goodbye":       {true, 0},
		"a client that leaves at a sudden": {false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			serverIn, clientOut := io.Pipe()
			clientIn, serverOut := io.Pipe()
			code := make(chan int)
			go func() {
				var stderr bytes.Buffer
				code <- run(t.Context(), []string{"lsp"}, serverIn, serverOut, &stderr)
			}()
			stream := jsonrpc2.NewStream(stdio{clientIn, clientOut})
			ctx, conn, server := protocol.NewClient(t.Context(), protocol.UnimplementedClient{}, stream)
			defer conn.Close()
			res, err := server.Initialize(ctx, &protocol.InitializeParams{})
			if err != nil || res.ServerInfo.Name != "hlb" {
				t.Fatal(res, err)
			}
			if tc.shutdown {
				if err := server.Shutdown(ctx); err != nil {
					t.Fatal(err)
				}
			}
			if err := server.Exit(ctx); err != nil {
				t.Fatal(err)
			}
			if got := <-code; got != tc.code {
				t.Errorf("exit code %d, want %d", got, tc.code)
			}
		})
	}
}

// TestLSPOnAPipe: a read of a real pipe is not interrupted by closing it, and must not keep the server from leaving.
func TestLSPOnAPipe(t *testing.T) {
	var ends [2]int
	if err := syscall.Pipe(ends[:]); err != nil {
		t.Fatal(err)
	}
	in, clientOut := os.NewFile(uintptr(ends[0]), "stdin"), os.NewFile(uintptr(ends[1]), "client")
	clientIn, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	code := make(chan int)
	go func() { code <- run(t.Context(), []string{"lsp"}, in, out, io.Discard) }()
	ctx, conn, server := protocol.NewClient(t.Context(), protocol.UnimplementedClient{},
		jsonrpc2.NewStream(stdio{clientIn, clientOut}))
	if err := errors.Join(server.Shutdown(ctx), server.Exit(ctx)); err != nil {
		t.Fatal(err)
	}
	if got := <-code; got != 0 {
		t.Errorf("exit code %d", got)
	}
	clientOut.Close() // ends the read, so that nothing is left behind
	out.Close()
	conn.Close()
}
