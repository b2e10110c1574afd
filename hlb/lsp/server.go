// SPDX-License-Identifier: Apache-2.0

// Package lsp is a language server: it puts package query at the service of editors, by the Language Server Protocol.
//
// Requests are handled one after the other, in the order of the client, so that each sees the text that the client has.
// Diagnostics are found beside them, of the newest version only: a client that types faster than a program is checked
// gets those of the last one.
package lsp

import (
	"context"
	"errors"
	"io"
	"runtime/debug"
	"sync"
	"time"

	"go.lsp.dev/jsonrpc2"
	"go.lsp.dev/protocol"

	"github.com/openllb/hlb-operator/hlb/query"
)

// Options say what the server may tell besides what is in the sources.
type Options struct {
	// Version of the server.
	Version string
	// Usage returns what a daemon holds; nil if there is no daemon.
	Usage func(context.Context) (*query.Held, error)
	// Tags lists the tags of a repository of images, none for one that is not to be asked; nil if no registry is.
	Tags func(ctx context.Context, repository string) ([]string, error)
}

// Tune sets the garbage collector for a process that does nothing but Serve: it collects seldom, so that keystrokes
// need not wait for it, until memory comes near to 100 MB.
func Tune() {
	const percent, limit = 300, 80 << 20
	debug.SetGCPercent(percent)
	debug.SetMemoryLimit(limit)
}

// ErrNoShutdown reports a client that left without a word.
var ErrNoShutdown = errors.New("the client left without asking for a shutdown")

// Serve talks to one client until it leaves or ctx ends. The error is ErrNoShutdown, or that of the connection.
func Serve(ctx context.Context, stream io.ReadWriteCloser, opts Options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &server{
		opts: opts, docs: &documents{open: map[string]*document{}}, dirty: make(chan struct{}, 1),
		pending: map[string]bool{}, exit: make(chan struct{}),
		tags: tags{ask: opts.Tags, known: map[string]*tagList{}},
	}
	conn := jsonrpc2.NewConn(jsonrpc2.NewStream(stream), jsonrpc2.WithCodec(codec{}))
	s.client = protocol.ClientDispatcher(conn)
	conn.Go(ctx, s.inOrder(protocol.ServerHandler(s, jsonrpc2.MethodNotFoundHandler)))
	var group sync.WaitGroup
	group.Go(func() { s.publishing(ctx) })
	select {
	case <-s.exit:
	case <-conn.Done():
	case <-ctx.Done():
	}
	cancel()
	closeSoon(conn)
	group.Wait()
	if !s.isDown() {
		return ErrNoShutdown
	}
	return nil
}

// closeSoon closes a connection, or gives up: closing waits for a read to end, which on standard input nothing ends.
func closeSoon(conn io.Closer) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		conn.Close() // it is over either way
	}()
	const patience = 100 * time.Millisecond
	select {
	case <-closed:
	case <-time.After(patience):
	}
}

// inOrder handles requests one after the other; protocol.NewServer would handle them at the same time, so that one
// could miss the text that was sent before it. What a client wants cancelled is done before the server hears of it.
func (s *server) inOrder(handler jsonrpc2.Handler) jsonrpc2.Handler {
	return func(ctx context.Context, req *jsonrpc2.Request) (any, error) {
		if req.Method() == protocol.MethodCancelRequest {
			return nil, nil
		}
		s.docs.analysis.Lock()
		defer s.docs.analysis.Unlock()
		return handler(ctx, req)
	}
}

// codec encodes what messages carry.
type codec struct{}

// Marshal implements jsonrpc2.Codec.
func (codec) Marshal(v any) ([]byte, error) { return protocol.Marshal(v) }

// Unmarshal implements jsonrpc2.Codec.
func (codec) Unmarshal(data []byte, v any) error { return protocol.Unmarshal(data, v) }

type server struct {
	protocol.UnimplementedServer
	opts   Options
	client protocol.Client
	docs   *documents
	exit   chan struct{}

	tags     tags
	snippets bool // the client takes them; set by Initialize

	mu      sync.Mutex
	pending map[string]bool // paths of documents whose diagnostics are to be published
	dirty   chan struct{}   // holds one if there are any
	down    bool
	usage   *query.Held // of usageAt
	usageAt time.Time
}

// Initialize implements protocol.Server.
func (s *server) Initialize(
	_ context.Context, p *protocol.InitializeParams,
) (*protocol.InitializeResult, error) {
	encoding := protocol.PositionEncodingKindUTF16
	if g := p.Capabilities.General; g != nil {
		for _, e := range g.PositionEncodings {
			if e == protocol.PositionEncodingKindUTF8 {
				encoding, s.docs.utf8 = e, true
			}
		}
	}
	if t := p.Capabilities.TextDocument; t != nil && t.Completion != nil && t.Completion.CompletionItem != nil {
		if snippets := t.Completion.CompletionItem.SnippetSupport; snippets != nil {
			s.snippets = *snippets
		}
	}
	if folders, ok := p.WorkspaceFolders.Get(); ok {
		for _, f := range folders {
			s.docs.roots = append(s.docs.roots, pathOf(f.URI))
		}
	}
	if len(s.docs.roots) == 0 && p.RootURI != nil { //nolint:staticcheck // older editors send nothing else
		s.docs.roots = []string{pathOf(*p.RootURI)} //nolint:staticcheck // see above
	}
	return &protocol.InitializeResult{
		Capabilities: capabilities(encoding),
		ServerInfo:   protocol.ServerInfo{Name: "hlb", Version: protocol.NewOptional(s.opts.Version)},
	}, nil
}

// capabilities is what this server can do.
func capabilities(encoding protocol.PositionEncodingKind) protocol.ServerCapabilities {
	yes, kind := true, protocol.TextDocumentSyncKindIncremental
	return protocol.ServerCapabilities{
		PositionEncoding:           encoding,
		TextDocumentSync:           &protocol.TextDocumentSyncOptions{OpenClose: &yes, Change: &kind},
		CompletionProvider:         &protocol.CompletionOptions{TriggerCharacters: []string{".", ":"}},
		HoverProvider:              protocol.Boolean(true),
		SignatureHelpProvider:      &protocol.SignatureHelpOptions{TriggerCharacters: []string{" ", "(", ","}},
		DefinitionProvider:         protocol.Boolean(true),
		ReferencesProvider:         protocol.Boolean(true),
		DocumentHighlightProvider:  protocol.Boolean(true),
		DocumentSymbolProvider:     protocol.Boolean(true),
		WorkspaceSymbolProvider:    protocol.Boolean(true),
		DocumentFormattingProvider: protocol.Boolean(true),
		FoldingRangeProvider:       protocol.Boolean(true),
		InlayHintProvider:          protocol.Boolean(true),
		RenameProvider:             &protocol.RenameOptions{PrepareProvider: &yes},
		CodeLensProvider:           &protocol.CodeLensOptions{},
		ExecuteCommandProvider:     protocol.ExecuteCommandOptions{Commands: []string{cachesCommand}},
		CodeActionProvider: &protocol.CodeActionOptions{CodeActionKinds: []protocol.CodeActionKind{
			protocol.CodeActionKindQuickFix, protocol.CodeActionKindRefactorRewrite,
		}},
		SemanticTokensProvider: &protocol.SemanticTokensOptions{Legend: legend(), Full: protocol.Boolean(true)},
	}
}

// Initialized implements protocol.Server.
func (s *server) Initialized(context.Context, *protocol.InitializedParams) error { return nil }

// SetTrace implements protocol.Server. There is nothing to trace.
func (s *server) SetTrace(context.Context, *protocol.SetTraceParams) error { return nil }

// Shutdown implements protocol.Server.
func (s *server) Shutdown(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = true
	return nil
}

func (s *server) isDown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down
}

// Exit implements protocol.Server.
func (s *server) Exit(context.Context) error {
	close(s.exit)
	return nil
}

// DidOpen implements protocol.Server.
func (s *server) DidOpen(_ context.Context, p *protocol.DidOpenTextDocumentParams) error {
	doc, err := s.docs.set(p.TextDocument.URI, p.TextDocument.Version, []byte(p.TextDocument.Text))
	if err != nil {
		return err
	}
	s.publish(doc)
	return nil
}

// DidChange implements protocol.Server.
func (s *server) DidChange(_ context.Context, p *protocol.DidChangeTextDocumentParams) error {
	doc := s.docs.get(p.TextDocument.URI)
	if doc == nil {
		return nil
	}
	text, err := change(doc.lines.text, s.docs.utf8, p.ContentChanges)
	if err != nil {
		return err
	}
	if doc, err = s.docs.set(p.TextDocument.URI, p.TextDocument.Version, text); err != nil {
		return err
	}
	s.publish(doc)
	return nil
}

// DidClose implements protocol.Server. The diagnostics of a file that is not open are nobody's concern.
func (s *server) DidClose(ctx context.Context, p *protocol.DidCloseTextDocumentParams) error {
	s.docs.close(p.TextDocument.URI)
	return s.client.PublishDiagnostics(ctx, &protocol.PublishDiagnosticsParams{
		URI: p.TextDocument.URI, Diagnostics: []protocol.Diagnostic{},
	})
}

// DidChangeWatchedFiles implements protocol.Server: modules that are not open may have changed.
func (s *server) DidChangeWatchedFiles(context.Context, *protocol.DidChangeWatchedFilesParams) error {
	s.publish(s.docs.renew("")...)
	return nil
}

// publish has the diagnostics of documents published, soon.
func (s *server) publish(docs ...*document) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range docs {
		s.pending[d.path] = true
	}
	select {
	case s.dirty <- struct{}{}:
	default: // it is known already
	}
}

// publishing publishes diagnostics until ctx ends.
func (s *server) publishing(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.dirty:
		}
		s.mu.Lock()
		changed := s.pending
		s.pending = map[string]bool{}
		s.mu.Unlock()
		for path := range changed {
			s.publishOne(ctx, path)
			for _, path := range s.importers(path) {
				s.publishOne(ctx, path)
			}
		}
	}
}

// importers has the open documents that may import a file analyzed again, and returns their paths.
func (s *server) importers(path string) []string {
	s.docs.analysis.Lock()
	defer s.docs.analysis.Unlock()
	var paths []string
	for _, doc := range s.docs.renew(path) {
		paths = append(paths, doc.path)
	}
	return paths
}

// publishOne publishes the diagnostics of the newest version of a document.
func (s *server) publishOne(ctx context.Context, path string) {
	if p := s.found(path); p != nil {
		s.client.PublishDiagnostics(ctx, p) //nolint:errcheck // a client that is gone is noticed elsewhere
	}
}

// found returns the diagnostics of a document, nil if it is not open.
func (s *server) found(path string) *protocol.PublishDiagnosticsParams {
	s.docs.analysis.Lock()
	defer s.docs.analysis.Unlock()
	doc := s.docs.byPath(path)
	if doc == nil {
		return nil
	}
	return &protocol.PublishDiagnosticsParams{
		URI: doc.uri, Version: protocol.NewOptional(doc.version), Diagnostics: s.diagnostics(doc),
	}
}

// at returns an open document, analyzed, and the offset of a position in it.
func (s *server) at(p protocol.TextDocumentPositionParams) (*document, *query.File, int, bool) {
	doc := s.docs.get(p.TextDocument.URI)
	if doc == nil {
		return nil, nil, 0, false
	}
	return doc, doc.file(), doc.lines.offset(p.Position), true
}
