// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"context"
	"slices"
	"strings"

	"go.lsp.dev/jsonrpc2"
	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/query"
)

// Definition implements protocol.Server.
func (s *server) Definition(
	_ context.Context, p *protocol.DefinitionParams,
) (protocol.DefinitionResult, error) {
	_, file, offset, ok := s.at(p.TextDocumentPositionParams)
	if !ok {
		return nil, nil
	}
	span, ok := file.Definition(offset)
	if !ok {
		return nil, nil
	}
	at, ok := s.location(span)
	if !ok {
		return nil, nil
	}
	return &at, nil
}

// References implements protocol.Server.
func (s *server) References(_ context.Context, p *protocol.ReferenceParams) ([]protocol.Location, error) {
	_, file, offset, ok := s.at(p.TextDocumentPositionParams)
	if !ok {
		return nil, nil
	}
	symbol, ok := file.SymbolAt(offset)
	if !ok {
		return nil, nil
	}
	var out []protocol.Location
	for _, doc := range s.sources() {
		for _, n := range doc.file().References(symbol, p.Context.IncludeDeclaration) {
			out = append(out, protocol.Location{URI: doc.uri, Range: doc.lines.span(n.Span)})
		}
	}
	return out, nil
}

// DocumentHighlight implements protocol.Server.
func (s *server) DocumentHighlight(
	_ context.Context, p *protocol.DocumentHighlightParams,
) ([]protocol.DocumentHighlight, error) {
	doc, file, offset, ok := s.at(p.TextDocumentPositionParams)
	if !ok {
		return nil, nil
	}
	symbol, ok := file.SymbolAt(offset)
	if !ok {
		return nil, nil
	}
	var out []protocol.DocumentHighlight
	for _, n := range file.References(symbol, true) {
		kind := protocol.DocumentHighlightKindRead
		if n.Def {
			kind = protocol.DocumentHighlightKindWrite
		}
		out = append(out, protocol.DocumentHighlight{Range: doc.lines.span(n.Span), Kind: kind})
	}
	return out, nil
}

// sources returns the open documents and the other programs of the workspace, sorted by path.
func (s *server) sources() []*document {
	out := s.docs.all()
	open := map[string]bool{}
	for _, doc := range out {
		open[doc.path] = true
	}
	for _, path := range workspaceFiles(s.docs.roots) {
		if open[path] {
			continue
		}
		if doc, err := s.docs.load(path); err == nil {
			out = append(out, doc)
		}
	}
	slices.SortFunc(out, func(a, b *document) int { return strings.Compare(a.path, b.path) })
	return out
}

// PrepareRename implements protocol.Server.
func (s *server) PrepareRename(
	_ context.Context, p *protocol.PrepareRenameParams,
) (protocol.PrepareRenameResult, error) {
	doc, file, offset, ok := s.at(p.TextDocumentPositionParams)
	if !ok {
		return nil, nil
	}
	n, err := file.Renamable(offset)
	if err != nil {
		return nil, refused(err)
	}
	return &protocol.PrepareRenamePlaceholder{Range: doc.lines.span(n.Span), Placeholder: n.Object.Name}, nil
}

// Rename implements protocol.Server.
func (s *server) Rename(_ context.Context, p *protocol.RenameParams) (*protocol.WorkspaceEdit, error) {
	_, file, offset, ok := s.at(p.TextDocumentPositionParams)
	if !ok {
		return nil, nil
	}
	if _, err := file.Renamable(offset); err != nil {
		return nil, refused(err)
	}
	symbol, _ := file.SymbolAt(offset)
	var files []*query.File
	for _, doc := range s.sources() {
		files = append(files, doc.file())
	}
	edits, err := query.Rename(files, symbol, p.NewName)
	if err != nil {
		return nil, refused(err)
	}
	changes := map[uri.URI][]protocol.TextEdit{}
	for _, list := range edits {
		for u, e := range s.edits(list) {
			changes[u] = append(changes[u], e...)
		}
	}
	return &protocol.WorkspaceEdit{Changes: changes}, nil
}

// refused is the answer to a request that makes no sense where it was made; editors show its text.
func refused(err error) error { return jsonrpc2.NewError(jsonrpc2.InvalidParams, err.Error()) }

// DocumentSymbol implements protocol.Server.
func (s *server) DocumentSymbol(
	_ context.Context, p *protocol.DocumentSymbolParams,
) (protocol.DocumentSymbolResult, error) {
	doc := s.docs.get(p.TextDocument.URI)
	if doc == nil {
		return nil, nil
	}
	return protocol.DocumentSymbolSlice(doc.symbols(doc.file().Outline())), nil
}

func (d *document) symbols(list []query.Outline) []protocol.DocumentSymbol {
	out := []protocol.DocumentSymbol{}
	for _, o := range list {
		detail := query.Signature(o.Object)
		sym := protocol.DocumentSymbol{
			Name: o.Object.Name, Detail: &detail, Kind: symbolKind(o.Object),
			Range: d.lines.span(o.Span), SelectionRange: d.lines.span(o.Object.Span),
		}
		if len(o.Children) > 0 {
			sym.Children = d.symbols(o.Children)
		}
		out = append(out, sym)
	}
	return out
}

func symbolKind(o *check.Object) protocol.SymbolKind {
	switch o.What {
	case check.ImportObject:
		return protocol.SymbolKindModule
	case check.AliasObject:
		return protocol.SymbolKindVariable
	default:
		return protocol.SymbolKindFunction
	}
}

// maxSymbols bounds the answer to a search for symbols.
const maxSymbols = 500

// Symbols implements protocol.Server.
func (s *server) Symbols(
	_ context.Context, p *protocol.WorkspaceSymbolParams,
) (protocol.WorkspaceSymbolResult, error) {
	out := protocol.WorkspaceSymbolSlice{}
	wanted := strings.ToLower(p.Query)
	for _, doc := range s.sources() {
		var add func(list []query.Outline, in string)
		add = func(list []query.Outline, in string) {
			for _, o := range list {
				if strings.Contains(strings.ToLower(o.Object.Name), wanted) && len(out) < maxSymbols {
					out = append(out, protocol.WorkspaceSymbol{
						BaseSymbolInformation: protocol.BaseSymbolInformation{
							Name: o.Object.Name, Kind: symbolKind(o.Object), ContainerName: &in,
						},
						Location: &protocol.Location{URI: doc.uri, Range: doc.lines.span(o.Object.Span)},
					})
				}
				add(o.Children, o.Object.Name)
			}
		}
		add(doc.file().Outline(), "")
	}
	return out, nil
}
