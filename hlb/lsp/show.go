// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"go.lsp.dev/protocol"

	"github.com/openllb/hlb-operator/hlb/query"
)

// Hover implements protocol.Server.
func (s *server) Hover(_ context.Context, p *protocol.HoverParams) (*protocol.Hover, error) {
	doc, file, offset, ok := s.at(p.TextDocumentPositionParams)
	if !ok {
		return nil, nil
	}
	h, ok := file.HoverAt(offset)
	if !ok {
		return nil, nil
	}
	at := doc.lines.span(h.Span)
	return &protocol.Hover{Contents: markdown(h.Markdown), Range: &at}, nil
}

// FoldingRanges implements protocol.Server.
func (s *server) FoldingRanges(
	_ context.Context, p *protocol.FoldingRangeParams,
) ([]protocol.FoldingRange, error) {
	doc := s.docs.get(p.TextDocument.URI)
	if doc == nil {
		return nil, nil
	}
	out := []protocol.FoldingRange{}
	for _, f := range doc.file().Folds() {
		r := protocol.FoldingRange{StartLine: uint32(f.Start - 1), EndLine: uint32(f.End - 1)}
		if f.Comment {
			r.Kind = protocol.FoldingRangeKindComment
		}
		out = append(out, r)
	}
	return out, nil
}

// tokenTypes are the classes of tokens in the order of query.Class.
var tokenTypes = []protocol.SemanticTokenTypes{
	protocol.SemanticTokenTypesKeyword, protocol.SemanticTokenTypesType, protocol.SemanticTokenTypesFunction,
	protocol.SemanticTokenTypesProperty, protocol.SemanticTokenTypesParameter, protocol.SemanticTokenTypesVariable,
	protocol.SemanticTokenTypesNamespace, protocol.SemanticTokenTypesString, protocol.SemanticTokenTypesNumber,
	protocol.SemanticTokenTypesComment,
}

// The bits of modifiers, in the order of the legend.
const (
	declarationBit = 1 << iota
	defaultLibraryBit
)

func legend() protocol.SemanticTokensLegend {
	l := protocol.SemanticTokensLegend{TokenModifiers: []string{
		string(protocol.SemanticTokenModifiersDeclaration), string(protocol.SemanticTokenModifiersDefaultLibrary),
	}}
	for _, t := range tokenTypes {
		l.TokenTypes = append(l.TokenTypes, string(t))
	}
	return l
}

// SemanticTokensFull implements protocol.Server.
func (s *server) SemanticTokensFull(
	_ context.Context, p *protocol.SemanticTokensParams,
) (*protocol.SemanticTokens, error) {
	doc := s.docs.get(p.TextDocument.URI)
	if doc == nil {
		return nil, nil
	}
	e := &tokenEncoder{walk: walker{lines: doc.lines}, data: []uint32{}}
	for _, c := range doc.file().Colors() {
		e.add(c)
	}
	return &protocol.SemanticTokens{Data: e.data}, nil
}

// tokenEncoder encodes tokens as the protocol does: each by its distance from the one before.
type tokenEncoder struct {
	walk walker
	last protocol.Position
	data []uint32
}

// add adds a token, a line of it at a time: many editors bear no others.
func (e *tokenEncoder) add(c query.Colored) {
	modifiers := uint32(0)
	if c.Def {
		modifiers |= declarationBit
	}
	if c.Builtin {
		modifiers |= defaultLibraryBit
	}
	for at := c.Span.Start.Offset; at < c.Span.End.Offset; {
		start := e.walk.position(at)
		stop := c.Span.End.Offset
		if next := int(start.Line) + 1; next < len(e.walk.start) && e.walk.start[next] <= stop {
			stop = e.walk.start[next] - 1 // before the line feed
		}
		if length := e.walk.position(stop).Character - start.Character; length > 0 {
			e.put(start, length, uint32(c.Class), modifiers)
		}
		at = stop
		if at < c.Span.End.Offset {
			at++ // behind the line feed
		}
	}
}

func (e *tokenEncoder) put(at protocol.Position, length, class, modifiers uint32) {
	line, column := at.Line-e.last.Line, at.Character
	if line == 0 {
		column -= e.last.Character
	}
	e.last = at
	e.data = append(e.data, line, column, length, class, modifiers)
}

// InlayHint implements protocol.Server.
func (s *server) InlayHint(_ context.Context, p *protocol.InlayHintParams) ([]protocol.InlayHint, error) {
	doc := s.docs.get(p.TextDocument.URI)
	if doc == nil {
		return nil, nil
	}
	out := []protocol.InlayHint{}
	yes := true
	for _, h := range doc.file().Hints(doc.lines.offset(p.Range.Start), doc.lines.offset(p.Range.End)) {
		out = append(out, protocol.InlayHint{
			Position: doc.lines.position(h.At.Offset), Label: protocol.String(h.Label), PaddingLeft: &yes,
			Tooltip: markdown(h.Tooltip),
		})
	}
	return out, nil
}

// cachesCommand shows what a lens counts.
const cachesCommand = "hlb.caches"

// lensArgument says which lens a command is about.
type lensArgument struct {
	URI    string `json:"uri"`
	Target string `json:"target"`
}

// CodeLens implements protocol.Server.
func (s *server) CodeLens(ctx context.Context, p *protocol.CodeLensParams) ([]protocol.CodeLens, error) {
	doc := s.docs.get(p.TextDocument.URI)
	if doc == nil {
		return nil, nil
	}
	out := []protocol.CodeLens{}
	held := s.held(ctx)
	for _, l := range doc.file().Lenses() {
		arg, err := json.Marshal(lensArgument{URI: string(doc.uri), Target: l.Target.Name})
		if err != nil {
			return nil, err
		}
		out = append(out, protocol.CodeLens{Range: doc.lines.span(l.Span), Command: protocol.Command{
			Title: l.Title(held), Command: cachesCommand, Arguments: []protocol.LSPAny{arg},
		}})
	}
	return out, nil
}

// ExecuteCommand implements protocol.Server.
func (s *server) ExecuteCommand(
	ctx context.Context, p *protocol.ExecuteCommandParams,
) (protocol.LSPAny, error) {
	var arg lensArgument
	if p.Command != cachesCommand || len(p.Arguments) != 1 || json.Unmarshal(p.Arguments[0], &arg) != nil {
		return nil, refused(fmt.Errorf("no command is called so: %s", p.Command))
	}
	for _, doc := range s.docs.all() {
		if string(doc.uri) != arg.URI {
			continue
		}
		for _, l := range doc.file().Lenses() {
			if l.Target.Name != arg.Target {
				continue
			}
			text := l.Details(s.held(ctx))
			if err := s.client.ShowMessage(ctx, &protocol.ShowMessageParams{
				Type: protocol.MessageTypeInfo, Message: l.Target.Name + "\n" + text,
			}); err != nil {
				return nil, err
			}
			return json.Marshal(text)
		}
	}
	return nil, refused(fmt.Errorf("there is no target %s", arg.Target))
}

// A daemon is asked at most every usageAge, and answers within usagePatience or not at all.
const (
	usageAge      = 10 * time.Second
	usagePatience = 2 * time.Second
)

// held returns what the daemon holds; nil if there is no daemon or it does not answer.
func (s *server) held(ctx context.Context) *query.Held {
	if s.opts.Usage == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.usageAt) < usageAge {
		return s.usage
	}
	// A request's context ends with it; nothing may still wait for that afterwards.
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), usagePatience)
	defer cancel()
	usage, err := s.opts.Usage(asking)
	if err != nil {
		//nolint:errcheck // a client that is gone is noticed elsewhere
		s.client.LogMessage(ctx, &protocol.LogMessageParams{
			Type: protocol.MessageTypeWarning, Message: "The daemon does not say what it holds: " + err.Error(),
		})
		usage = nil
	}
	s.usage, s.usageAt = usage, time.Now()
	return s.usage
}
