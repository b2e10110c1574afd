// SPDX-License-Identifier: Apache-2.0

package syntax

import (
	"strings"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/diag"
)

func joinLines(lines []string) string { return strings.Join(lines, "\n") }

// block = "{" { stmt | newline | comment } "}". A statement that can't be read is skipped, and the block goes on
// behind it. A block that the file ends in is kept, for editors: it is what is being written.
func (p *parser) block() *ast.Block {
	open, ok := p.expect(tLBrace, "`{`")
	if !ok {
		return nil
	}
	b := &ast.Block{}
	inside := open.depth + 1
	docs := docGroup{taken: open.start.Line}
	for {
		switch t := p.peek(0); {
		case t.kind == tRBrace:
			p.next()
			b.At = p.from(open.start)
			return b
		case t.kind == tNewline:
			p.next()
		case t.kind == tComment:
			c := p.comment(p.next())
			docs.add(c)
			b.Comments = append(b.Comments, c)
		case t.kind == tEOF:
			p.unclosed(open, "`}`")
			b.At = p.from(open.start)
			return b
		case t.depth < inside:
			p.unclosed(open, "`}`")
			return nil
		default:
			if s := p.stmt(docs.above(t.start.Line)); s != nil {
				b.Stmts = append(b.Stmts, s)
				p.accept(tSemicolon)
			} else {
				p.skipTo(inside, isTerminator)
				p.accept(tSemicolon)
			}
			docs.end(p.prev.end.Line)
		}
	}
}

// unclosed reports that the closer of open is missing.
func (p *parser) unclosed(open token, closer string) {
	d := p.unexpected(closer)
	d.WithLabel(p.spanOf(open), "opened here")
}

// stmt = callStmt | literal.
func (p *parser) stmt(doc string) ast.Stmt {
	t := p.peek(0)
	switch {
	case t.kind == tIdent && p.peek(1).kind == tLBrace:
		d := p.unexpectedAt(p.peek(1), "an argument or the end of the statement")
		d.Hint = "a block can't be a statement, only an argument"
		return nil
	case t.kind == tIdent:
		if call := p.callStmt(doc); call != nil {
			return call
		}
		return nil
	case literalStarts(t.kind):
		lit := p.literal()
		if lit == nil {
			return nil
		}
		return &ast.LitStmt{At: ast.At{Where: lit.Span()}, Value: lit}
	}
	p.unexpected("a statement or `}`")
	return nil
}

// unexpectedAt reports t, which is ahead, as one that can't stand where it does.
func (p *parser) unexpectedAt(t token, want string) *diag.Diagnostic {
	d := diag.Errorf(diag.Syntax, p.spanOf(t), "unexpected %s, expected %s", t.describe(p.src), want)
	p.report(d)
	return d
}

// callStmt = name { expr } [ "with" expr ] [ "as" [ ident | bindList ] ].
func (p *parser) callStmt(doc string) *ast.CallStmt {
	call := p.stmts.new(ast.CallStmt{Doc: doc})
	if call.Callee = p.name(); call.Callee == nil {
		return nil
	}
	start := call.Callee.Span().Start
	for exprStarts(p.peek(0).kind) {
		arg := p.expr("an argument")
		if arg == nil {
			return nil
		}
		call.Args = append(call.Args, arg)
	}
	if t := p.peek(0); t.kind == tWith {
		p.next()
		if p.peek(0).kind == tLBrace {
			p.unexpected("options").WithHint(withOption)
			return nil
		}
		operand := p.expr("options")
		if operand == nil {
			return nil
		}
		call.With = &ast.With{At: p.from(t.start), Operand: operand}
	}
	if p.peek(0).kind == tAs {
		if call.As = p.as(); call.As == nil {
			return nil
		}
	}
	call.At = p.from(start)
	if !p.stmtEnds(call) {
		return nil
	}
	return call
}

// withOption is the hint for a block without its kind.
const withOption = "options are written `with option { … }`"

// stmtEnds reports what can't follow a call statement. The grammar needs no terminator between statements, so a
// literal or another call may follow a clause directly.
func (p *parser) stmtEnds(call *ast.CallStmt) bool {
	switch t := p.peek(0); {
	case isTerminator(t.kind), t.kind == tRBrace, t.kind == tEOF, exprStarts(t.kind):
		return true
	case t.kind == tLParen && call.With == nil && call.As == nil && len(call.Args) == 0:
		p.unexpected("an argument or the end of the statement").
			WithHint("arguments of a statement stand without parentheses: %s \"x\"", call.Callee)
	case t.kind == tLBrace && call.With == nil && call.As == nil:
		p.unexpected("an argument or the end of the statement").WithHint(withOption)
	case t.kind == tWith && call.As != nil:
		p.unexpected("the end of the statement").WithHint("`with` comes before `as`")
	default:
		p.unexpected("an argument or the end of the statement")
	}
	return false
}

// as = "as" [ ident | "(" { ident ident [ "," ] | newline | comment } ")" ].
func (p *parser) as() *ast.As {
	t := p.next()
	as := &ast.As{Word: p.spanOf(t)}
	switch p.peek(0).kind {
	case tIdent:
		as.Name = p.identOf(p.next())
	case tLParen:
		if as.List = p.bindList(); as.List == nil {
			return nil
		}
	}
	as.At = p.from(t.start)
	return as
}

func (p *parser) bindList() *ast.BindList {
	open := p.next()
	list := &ast.BindList{}
	var ok bool
	if list.Comments, ok = p.listed("an effect or `)`", func() bool {
		bind := p.bind()
		list.Binds = append(list.Binds, bind)
		return bind != nil
	}); !ok {
		return nil
	}
	list.At = p.from(open.start)
	return list
}

// bind = ident ident.
func (p *parser) bind() *ast.Bind {
	start := p.peek(0).start
	bind := &ast.Bind{Effect: p.identOf(p.next())}
	if bind.Target = p.ident("the name to bind the effect to"); bind.Target == nil {
		return nil
	}
	bind.At = p.from(start)
	return bind
}

// name = ident [ "." ident ].
func (p *parser) name() *ast.Name {
	ident := p.identOf(p.next())
	n := p.names.new(ast.Name{Ident: ident})
	if t := p.peek(0); t.kind == tDot {
		p.next()
		if n.Member = p.ident("the name of a member"); n.Member == nil {
			return nil
		}
		n.Dot = p.span(t.start, p.prev.end)
		if p.peek(0).kind == tDot {
			p.report(diag.Errorf(diag.Syntax, p.spanOf(p.peek(0)), "a name has one dot at most"))
			return nil
		}
	}
	n.At = p.from(ident.Span().Start)
	return n
}
