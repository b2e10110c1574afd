// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"go.lsp.dev/protocol"

	"github.com/openllb/hlb-operator/hlb/format"
	"github.com/openllb/hlb-operator/hlb/query"
	"github.com/openllb/hlb-operator/hlb/syntax"
)

// itemKinds are the icons of items.
var itemKinds = map[query.ItemKind]protocol.CompletionItemKind{
	query.FunctionItem: protocol.CompletionItemKindFunction,
	query.BuiltinItem:  protocol.CompletionItemKindFunction,
	query.OptionItem:   protocol.CompletionItemKindProperty,
	query.ParamItem:    protocol.CompletionItemKindVariable,
	query.AliasItem:    protocol.CompletionItemKindReference,
	query.ImportItem:   protocol.CompletionItemKindModule,
	query.KindItem:     protocol.CompletionItemKindClass,
	query.KeywordItem:  protocol.CompletionItemKindKeyword,
	query.ValueItem:    protocol.CompletionItemKindEnumMember,
}

// Completion implements protocol.Server.
func (s *server) Completion(
	ctx context.Context, p *protocol.CompletionParams,
) (protocol.CompletionResult, error) {
	doc, file, offset, ok := s.at(p.TextDocumentPositionParams)
	if !ok {
		return nil, nil
	}
	if list := s.tagItems(ctx, doc, file, offset); list != nil {
		return list, nil
	}
	c := file.CompleteAt(offset)
	replace := doc.lines.span(c.Replace)
	list := &protocol.CompletionList{Items: []protocol.CompletionItem{}}
	for _, i := range c.Items {
		item := protocol.CompletionItem{
			Label: i.Label, Kind: itemKinds[i.Kind], SortText: protocol.NewOptional(fmt.Sprint(i.Rank, i.Label)),
		}
		if i.Object != nil {
			item.Detail = protocol.NewOptional(query.Signature(i.Object))
			item.Documentation = markdown(query.Describe(i.Object))
		}
		text := i.Label
		if i.Snippet != "" && s.snippets {
			text, item.InsertTextFormat = i.Snippet, protocol.InsertTextFormatSnippet
		}
		item.TextEdit = &protocol.TextEdit{Range: replace, NewText: text}
		list.Items = append(list.Items, item)
	}
	return list, nil
}

// SignatureHelp implements protocol.Server.
func (s *server) SignatureHelp(
	_ context.Context, p *protocol.SignatureHelpParams,
) (*protocol.SignatureHelp, error) {
	_, file, offset, ok := s.at(p.TextDocumentPositionParams)
	if !ok {
		return nil, nil
	}
	call, ok := file.SignatureAt(offset)
	if !ok {
		return nil, nil
	}
	info := protocol.SignatureInformation{Label: call.Label, Documentation: markdown(call.Doc)}
	for _, param := range call.Params { // signatures are ASCII, so bytes are code units
		info.Parameters = append(info.Parameters, protocol.ParameterInformation{
			Label: protocol.ParameterInformationLabelTuple{uint32(param.Start), uint32(param.End)},
		})
	}
	active := uint32(0)
	return &protocol.SignatureHelp{
		Signatures:      []protocol.SignatureInformation{info},
		ActiveSignature: &active,
		ActiveParameter: protocol.NewNullable(uint32(call.Active)),
	}, nil
}

// Formatting implements protocol.Server. A program that does not parse stays as it is.
func (s *server) Formatting(
	_ context.Context, p *protocol.DocumentFormattingParams,
) ([]protocol.TextEdit, error) {
	doc := s.docs.get(p.TextDocument.URI)
	if doc == nil {
		return nil, nil
	}
	before := doc.lines.text
	after, errs := format.Source(doc.path, before, syntax.Limits{})
	if len(errs) > 0 || bytes.Equal(before, after) {
		return []protocol.TextEdit{}, nil
	}
	start := commonLines(before, after)
	end := commonTail(before[start:], after[start:])
	return []protocol.TextEdit{{
		Range: protocol.Range{
			Start: doc.lines.position(start), End: doc.lines.position(len(before) - end),
		},
		NewText: string(after[start : len(after)-end]),
	}}, nil
}

// commonLines is how many bytes of whole lines two texts begin alike with.
func commonLines(a, b []byte) int {
	n := 0
	for i := 0; i < len(a) && i < len(b) && a[i] == b[i]; i++ {
		if a[i] == '\n' {
			n = i + 1
		}
	}
	return n
}

// commonTail is how many bytes of whole lines two texts end alike with.
func commonTail(a, b []byte) int {
	n := 0
	for i := 1; i <= len(a) && i <= len(b) && a[len(a)-i] == b[len(b)-i]; i++ {
		if i > 1 && a[len(a)-i] == '\n' {
			n = i - 1
		}
	}
	return n
}

// CodeAction implements protocol.Server.
func (s *server) CodeAction(
	_ context.Context, p *protocol.CodeActionParams,
) ([]protocol.CommandOrCodeAction, error) {
	doc := s.docs.get(p.TextDocument.URI)
	if doc == nil {
		return nil, nil
	}
	out := []protocol.CommandOrCodeAction{}
	for _, a := range doc.file().ActionsAt(doc.lines.offset(p.Range.Start), doc.lines.offset(p.Range.End)) {
		kind := protocol.CodeActionKindRefactorRewrite
		action := &protocol.CodeAction{
			Title: a.Title, Kind: &kind, Edit: &protocol.WorkspaceEdit{Changes: s.edits(a.Edits)},
		}
		if a.Of != nil {
			kind = protocol.CodeActionKindQuickFix
			preferred := true
			action.IsPreferred = &preferred
			action.Diagnostics = []protocol.Diagnostic{s.diagnostic(doc, a.Of)}
		}
		if asked(p.Context.Only, kind) {
			out = append(out, action)
		}
	}
	return out, nil
}

// asked reports whether an editor wants actions of a kind: all, or those below the kinds that it names.
func asked(only []protocol.CodeActionKind, kind protocol.CodeActionKind) bool {
	return len(only) == 0 || slices.ContainsFunc(only, func(o protocol.CodeActionKind) bool {
		return kind == o || strings.HasPrefix(string(kind), string(o)+".")
	})
}
