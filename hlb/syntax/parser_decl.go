// SPDX-License-Identifier: Apache-2.0

package syntax

import (
	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/diag"
)

// module = { import | export | func | newline | comment } EOF.
func (p *parser) module() *ast.Module {
	mod := &ast.Module{File: p.file}
	var docs docGroup
	lost := false // after an error, until something looks like a declaration again
	for {
		switch t := p.peek(0); {
		case t.kind == tEOF, p.stop != nil && t.depth == topDepth && p.stop(t.start.Offset):
			mod.At = ast.At{Where: p.span(diag.Position{Line: 1, Column: 1}, t.end)}
			return mod
		case t.kind == tNewline:
			p.next()
		case t.kind == tComment:
			c := p.comment(p.next())
			docs.add(c)
			mod.Comments = append(mod.Comments, c)
		case lost && !p.declStarts():
			p.skipLine()
		default:
			decl := p.decl(docs.above(t.start.Line))
			lost = decl == nil
			if lost {
				p.skipLine()
				continue
			}
			mod.Decls = append(mod.Decls, decl)
			docs.end(p.prev.end.Line)
		}
	}
}

// topDepth is the depth of tokens outside of all brackets.
const topDepth = 1

// skipLine drops the rest of the line, with all brackets opened on it. A bracket that is never closed would take the
// rest of the file along; so what looks like a declaration at the start of a line is taken for one.
func (p *parser) skipLine() {
	for {
		t := p.peek(0)
		if t.kind == tEOF {
			return
		}
		if t.start.Column == 1 && t.depth > topDepth && p.declStarts() {
			p.restart(t)
			return
		}
		p.next()
		if t.depth <= topDepth && (t.kind == tNewline || t.kind == tComment) {
			return
		}
	}
}

// restart reads again from t, outside of all brackets.
func (p *parser) restart(t token) {
	p.lex.at, p.lex.ident, p.lex.dot = t.start, false, false
	p.lex.modes = p.lex.modes[:1]
	p.ahead = p.ahead[:0]
}

// declStarts reports whether what comes next looks like a declaration.
func (p *parser) declStarts() bool {
	switch p.peek(0).kind {
	case tImport, tExport:
		return true
	case tIdent:
		return p.peek(1).kind == tIdent && p.peek(2).kind == tLParen
	default:
		return false
	}
}

func (p *parser) decl(doc string) ast.Decl {
	switch t := p.peek(0); t.kind {
	case tImport:
		if imp := p.importDecl(); imp != nil {
			return imp
		}
	case tExport:
		p.next()
		if name := p.ident("the name to export"); name != nil {
			return &ast.Export{At: p.from(t.start), Name: name}
		}
	case tIdent:
		if f := p.funcDecl(doc); f != nil {
			return f
		}
	case tLBrace:
		p.unexpected("a declaration").WithHint("the `{` of a function stands on the line of its `)`")
	default:
		p.unexpected("a declaration")
	}
	return nil
}

// import = "import" ident ( string | "from" expr ).
func (p *parser) importDecl() *ast.Import {
	start := p.next().start
	name := p.ident("the name of the import")
	if name == nil {
		return nil
	}
	imp := &ast.Import{Name: name, Deprecated: p.peek(0).kind == tQuote}
	if !imp.Deprecated {
		if !p.isWord(0, "from") {
			d := p.unexpected("`from`")
			if t := p.peek(0); t.kind == tIdent {
				p.misspelt(d, p.text(t), "from")
			}
			return nil
		}
		p.next()
	}
	imp.Operand = p.expr("the module to import")
	if imp.Operand == nil {
		return nil
	}
	imp.At = p.from(start)
	return imp
}

// func = type ident params [ "binds" params ] [ block ].
func (p *parser) funcDecl(doc string) *ast.Func {
	f := &ast.Func{Doc: doc, Type: p.identOf(p.next())}
	start := f.Type.Span().Start
	if p.peek(0).kind == tLParen {
		p.misspelt(p.unexpected("the name of the function"), f.Type.Name, "binds")
		return nil
	}
	if f.Name = p.ident("the name of the function"); f.Name == nil {
		return nil
	}
	if p.peek(0).kind != tLParen {
		p.misspelt(p.unexpected("`(`"), f.Type.Name, "import", "export")
		return nil
	}
	if f.Params = p.params(); f.Params == nil {
		return nil
	}
	if p.isWord(0, "binds") && p.peek(1).kind == tLParen {
		p.next()
		if f.Effects = p.params(); f.Effects == nil {
			return nil
		}
	}
	if p.peek(0).kind == tLBrace {
		if f.Body = p.block(); f.Body == nil {
			return nil
		}
	}
	f.At = p.from(start)
	return f
}

// params = "(" { param [ "," ] | newline | comment } ")".
func (p *parser) params() *ast.ParamList {
	open, ok := p.expect(tLParen, "`(`")
	if !ok {
		return nil
	}
	list := &ast.ParamList{}
	if list.Comments, ok = p.listed("a parameter or `)`", func() bool {
		param := p.param()
		list.Params = append(list.Params, param)
		return param != nil
	}); !ok {
		return nil
	}
	list.At = p.from(open.start)
	return list
}

// listed reads what stands between parentheses, after the first: elements that begin with a word and may have a comma
// after them. It returns the comments among them, and false when it has reported an error or element has returned
// false. wanted says what is missing otherwise.
func (p *parser) listed(wanted string, element func() bool) ([]*ast.Comment, bool) {
	var comments []*ast.Comment
	for {
		switch p.peek(0).kind {
		case tRParen:
			p.next()
			return comments, true
		case tNewline:
			p.next()
		case tComment:
			comments = append(comments, p.comment(p.next()))
		case tIdent:
			if !element() {
				return nil, false
			}
			p.accept(tComma)
		default:
			p.unexpected(wanted)
			return nil, false
		}
	}
}

// param = [ "variadic" ] type ident. The word is a parameter's kind or name like any other unless two more words
// follow.
func (p *parser) param() *ast.Param {
	param := &ast.Param{}
	start := p.peek(0).start
	if p.isWord(0, "variadic") && p.peek(1).kind == tIdent && p.peek(2).kind == tIdent {
		param.Variadic = p.identOf(p.next())
	}
	param.Type = p.identOf(p.next())
	if param.Name = p.ident("the name of the parameter"); param.Name == nil {
		return nil
	}
	param.At = p.from(start)
	return param
}

// docGroup collects the comments on consecutive lines, each alone on its line, that may document what comes next.
type docGroup struct {
	lines []string
	last  int // line of the last comment
	taken int // line on which the previous element ended: a comment there belongs to that
}

func (d *docGroup) add(c *ast.Comment) {
	line := c.Span().Start.Line
	if line == d.taken {
		return
	}
	if line != d.last+1 {
		d.lines = d.lines[:0]
	}
	text := c.Text[1:]
	if len(text) > 0 && text[0] == ' ' {
		text = text[1:]
	}
	d.lines = append(d.lines, text)
	d.last = line
}

// end notes that an element ended on line.
func (d *docGroup) end(line int) {
	d.taken = line
	d.lines = d.lines[:0]
}

// above returns the text of the group that ends directly above line, or "".
func (d *docGroup) above(line int) string {
	if len(d.lines) == 0 || d.last != line-1 {
		return ""
	}
	return joinLines(d.lines)
}
