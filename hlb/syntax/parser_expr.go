// SPDX-License-Identifier: Apache-2.0

package syntax

import (
	"errors"
	"strconv"
	"strings"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/diag"
)

func literalStarts(k tokenKind) bool {
	switch k {
	case tInt, tBool, tQuote, tRawString, tHeredoc, tRawHeredoc:
		return true
	default:
		return false
	}
}

func exprStarts(k tokenKind) bool { return k == tIdent || literalStarts(k) }

// expr = type block | literal | name [ argList ].
func (p *parser) expr(want string) ast.Expr {
	t := p.peek(0)
	switch {
	case t.kind == tIdent && p.peek(1).kind == tLBrace:
		if b := p.blockLit(); b != nil {
			return b
		}
		return nil
	case t.kind == tIdent:
		if c := p.callExpr(); c != nil {
			return c
		}
		return nil
	case literalStarts(t.kind):
		if lit := p.literal(); lit != nil {
			return lit
		}
		return nil
	}
	p.unexpected(want)
	return nil
}

func (p *parser) blockLit() *ast.BlockLit {
	b := &ast.BlockLit{Type: p.identOf(p.next())}
	if b.Body = p.block(); b.Body == nil {
		return nil
	}
	b.At = p.from(b.Type.Span().Start)
	return b
}

func (p *parser) callExpr() *ast.CallExpr {
	c := p.calls.new(ast.CallExpr{})
	if c.Callee = p.name(); c.Callee == nil {
		return nil
	}
	if p.peek(0).kind == tLParen {
		if c.List = p.argList(); c.List == nil {
			return nil
		}
	}
	c.At = p.from(c.Callee.Span().Start)
	return c
}

// argList = "(" { expr [ "," ] | newline | comment } ")".
func (p *parser) argList() *ast.ArgList {
	open := p.next()
	list := &ast.ArgList{}
	for {
		switch t := p.peek(0); {
		case t.kind == tRParen:
			p.next()
			list.At = p.from(open.start)
			return list
		case t.kind == tNewline:
			p.next()
		case t.kind == tComment:
			list.Comments = append(list.Comments, p.comment(p.next()))
		case t.kind == tEOF:
			p.unclosed(open, "`)`")
			return nil
		default:
			arg := p.expr("an argument or `)`")
			if arg == nil {
				return nil
			}
			list.Args = append(list.Args, arg)
			p.accept(tComma)
		}
	}
}

func (p *parser) literal() ast.Literal {
	switch t := p.peek(0); t.kind {
	case tInt:
		if lit := p.intLit(); lit != nil {
			return lit
		}
	case tBool:
		p.next()
		return &ast.BoolLit{At: p.from(t.start), Value: p.text(t) == "true"}
	case tRawString:
		p.next()
		text := p.text(t)
		return &ast.RawStringLit{At: p.from(t.start), Text: text[1 : len(text)-1]}
	case tRawHeredoc:
		return p.rawHeredoc()
	case tQuote:
		if parts, ok := p.parts(tQuoteEnd, stringEscape); ok {
			return p.quoted.new(ast.StringLit{At: p.from(t.start), Parts: parts})
		}
	default:
		if parts, ok := p.parts(tHeredocEnd, heredocEscape); ok {
			mode, tag := heredocOpener(p.text(t))
			return &ast.HeredocLit{At: p.from(t.start), Mode: mode, Tag: tag, Parts: parts}
		}
	}
	return nil
}

func (p *parser) intLit() *ast.IntLit {
	t := p.next()
	text := p.text(t)
	digits, base := text, 10
	if len(text) > 1 && text[0] == '0' {
		digits, base = text[2:], map[byte]int{'b': 2, 'o': 8, 'x': 16}[text[1]|0x20]
	}
	value, err := strconv.ParseInt(digits, base, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		p.report(diag.Errorf(diag.Syntax, p.spanOf(t), "the number %s doesn't fit into 64 bits", clip(text)))
		return nil
	case err != nil:
		p.report(
			diag.Errorf(
				diag.Syntax,
				p.spanOf(t),
				"the number %s has a digit that base %d doesn't have",
				clip(text),
				base,
			),
		)
		return nil
	}
	return &ast.IntLit{At: p.from(t.start), Value: value, Text: text}
}

// clip keeps a message readable, whatever it quotes.
func clip(text string) string {
	const longest = 40 // characters; all 64-bit numbers but binary ones are shorter
	if len(text) <= longest {
		return text
	}
	return text[:longest] + "…"
}

// heredocOpener splits "<<-TAG" or "<<-`TAG`".
func heredocOpener(text string) (mode ast.HeredocMode, tag string) {
	text = text[2:]
	if text[0] == '-' || text[0] == '~' {
		mode, text = ast.HeredocMode(text[0]), text[1:]
	}
	return mode, strings.Trim(text, "`")
}

func (p *parser) rawHeredoc() *ast.HeredocLit {
	t := p.next()
	text := p.text(t)
	second := strings.IndexByte(text, '`') + 1
	second += strings.IndexByte(text[second:], '`') + 1
	mode, tag := heredocOpener(text[:second])
	h := &ast.HeredocLit{At: p.from(t.start), Mode: mode, Raw: true, Tag: tag}
	if body := text[second : len(text)-len(tag)]; body != "" {
		h.Parts = []ast.Part{&ast.Text{At: h.At, Source: body, Value: body}}
	}
	return h
}

// parts reads from the opener of a string or heredoc to its closer. unescape says what an escape stands for; "" refuses
// it.
func (p *parser) parts(closer tokenKind, unescape func(string) string) ([]ast.Part, bool) {
	open := p.next()
	c := partCollector{p: p}
	ok := true
	for {
		switch t := p.peek(0); t.kind {
		case closer:
			c.flush()
			p.next()
			return c.parts, ok
		case tText:
			p.next()
			c.add(t, p.text(t))
		case tEscape:
			p.next()
			value := unescape(p.text(t))
			if value == "" {
				ok = false
				p.report(diag.Errorf(diag.Syntax, p.spanOf(t), "unknown escape %s", p.text(t)).
					WithHint(`the escapes are \$ \" \\ \a \b \f \n \r \t \v`))
			}
			c.add(t, value)
		case tInterp:
			c.flush()
			in := p.interp()
			if in == nil {
				ok = false
				p.skipTo(t.depth+1, never)
				p.accept(tInterpEnd)
				continue
			}
			c.parts = append(c.parts, in)
		case tEOF:
			p.unclosed(
				open,
				map[tokenKind]string{tQuoteEnd: "the closing `\"`",
					tHeredocEnd: "the tag that closes the heredoc"}[closer],
			)
			return nil, false
		default:
			p.unexpected("text")
			p.next()
			ok = false
		}
	}
}

func never(tokenKind) bool { return false }

// interp = "${" expr "}".
func (p *parser) interp() *ast.Interp {
	open := p.next()
	value := p.expr("an expression")
	if value == nil {
		return nil
	}
	if _, ok := p.expect(tInterpEnd, "`}`"); !ok {
		return nil
	}
	return &ast.Interp{At: p.from(open.start), Value: value}
}

// partCollector joins neighbouring text and escapes into one Text.
type partCollector struct {
	p          *parser
	parts      []ast.Part
	value      strings.Builder
	start, end diag.Position
	any        bool
}

func (c *partCollector) add(t token, value string) {
	if !c.any {
		c.any, c.start = true, t.start
	}
	c.value.WriteString(value)
	c.end = t.end
}

func (c *partCollector) flush() {
	if !c.any {
		return
	}
	c.parts = append(c.parts, c.p.texts.new(ast.Text{
		At:     ast.At{Where: c.p.span(c.start, c.end)},
		Source: string(c.p.src[c.start.Offset:c.end.Offset]),
		Value:  c.value.String(),
	}))
	c.value.Reset()
	c.any = false
}

// stringEscape returns what an escape of a double-quoted string stands for, or "" if there is no such escape.
func stringEscape(escape string) string {
	i := strings.IndexByte(`$abfnrtv\"`, escape[1])
	if i < 0 {
		return ""
	}
	return "$\a\b\f\n\r\t\v\\\""[i : i+1]
}

// heredocEscape leaves all but `\$` as written: the text of a heredoc is mostly meant for another language with its own
// escapes.
func heredocEscape(escape string) string {
	if escape == `\$` {
		return "$"
	}
	return escape
}
