// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/remote"
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

// TestLSPOffersTagsOfARegistry: of the registries that the flag names, and of no others.
func TestLSPOffersTagsOfARegistry(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	ref, err := name.ParseReference(host+"/app:1.2", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, empty.Image); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []string
		want []string
	}{
		"a registry of the flag": {[]string{"lsp", "--registry", host}, []string{"1.2"}},
		"another":                {[]string{"lsp", "--registry", "registry.example"}, nil},
		"none":                   {[]string{"lsp"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, tagsOffered(t, tc.args, host+"/app:")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// tagsOffered starts the server with some arguments and returns what it offers behind a reference.
func tagsOffered(t *testing.T, args []string, ref string) []string {
	t.Helper()
	serverIn, clientOut := io.Pipe()
	clientIn, serverOut := io.Pipe()
	code := make(chan int)
	go func() { code <- run(t.Context(), args, serverIn, serverOut, io.Discard) }()
	ctx, conn, server := protocol.NewClient(t.Context(), protocol.UnimplementedClient{},
		jsonrpc2.NewStream(stdio{clientIn, clientOut}))
	defer conn.Close()
	text := "fs default() { image \"" + ref
	item := protocol.TextDocumentItem{URI: "file:///a.hlb", LanguageID: "hlb", Version: 1, Text: text + "\"; }\n"}
	_, failed := server.Initialize(ctx, &protocol.InitializeParams{})
	opened := server.DidOpen(ctx, &protocol.DidOpenTextDocumentParams{TextDocument: item})
	if err := errors.Join(failed, opened); err != nil {
		t.Fatal(err)
	}
	var tags []string
	for incomplete := true; incomplete; {
		got, err := server.Completion(ctx, &protocol.CompletionParams{
			TextDocumentPositionParams: protocol.TextDocumentPositionParams{
				TextDocument: protocol.TextDocumentIdentifier{URI: item.URI},
				Position:     protocol.Position{Character: uint32(len(text))},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		list := got.(*protocol.CompletionList)
		incomplete = list.IsIncomplete
		for _, i := range list.Items {
			tags = append(tags, strings.Clone(i.Label)) // it may share memory with the next message
		}
	}
	if err := errors.Join(server.Shutdown(ctx), server.Exit(ctx)); err != nil {
		t.Fatal(err)
	}
	if got := <-code; got != 0 {
		t.Errorf("exit code %d", got)
	}
	return tags
}
