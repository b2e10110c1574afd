// SPDX-License-Identifier: Apache-2.0

// Package format prints modules in one style: tabs, one statement a line unless the block was written on one line,
// one empty line between declarations, comments where they were. It changes layout only, and drops options that are
// empty; formatting what it printed changes nothing.
package format

import (
	"bytes"
	"strings"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/syntax"
)

// Source formats the text of a module. If it doesn't parse, the result is nil and the list says why.
func Source(file string, src []byte, limits syntax.Limits) ([]byte, diag.List) {
	mod, errs := syntax.Parse(file, src, limits)
	if len(errs) > 0 {
		return nil, errs
	}
	return Module(mod), nil
}

// Module prints a module that parsed without errors. Line breaks are taken from the spans of the nodes where there is
// a choice, so the tree must be as parsed. The result ends with one line feed, unless it is empty.
func Module(mod *ast.Module) []byte {
	p := &printer{}
	p.module(mod)
	return p.out.Bytes()
}

// printer holds what was printed so far.
type printer struct {
	out    bytes.Buffer
	margin string // blanks before the indentation: inside of an interpolation, those of the line it begins in
	indent int
}

func (p *printer) print(texts ...string) {
	for _, t := range texts {
		p.out.WriteString(t)
	}
}

// line starts a new line at the current indentation.
func (p *printer) line() {
	p.print("\n", p.margin)
	for range p.indent {
		p.out.WriteByte('\t')
	}
}

// emptyLine ends the current line and leaves an empty one.
func (p *printer) emptyLine() { p.out.WriteByte('\n') }

// item is an element of a list or a comment between its elements.
type item struct {
	node    ast.Node
	comment *ast.Comment // nil for an element
}

func (i item) first() int { return i.node.Span().Start.Line }
func (i item) last() int  { return i.node.Span().End.Line }

// merge puts elements and comments, each in source order, into one such order.
func merge[T ast.Node](elements []T, comments []*ast.Comment) []item {
	items := make([]item, 0, len(elements)+len(comments))
	for _, e := range elements {
		at := e.Span().Start.Offset
		for len(comments) > 0 && comments[0].Span().Start.Offset < at {
			items = append(items, item{comments[0], comments[0]})
			comments = comments[1:]
		}
		items = append(items, item{node: e})
	}
	for _, c := range comments {
		items = append(items, item{c, c})
	}
	return items
}

// lines prints items of a list that was opened on line open, each on its own line but for comments behind others.
// after is printed behind each element.
func (p *printer) lines(items []item, open int, after string, print func(ast.Node)) {
	last := open
	for i, it := range items {
		switch {
		case it.comment != nil && it.first() == last:
			p.print(" ", it.comment.Text)
			continue
		case i > 0 && it.first() > last+1:
			p.emptyLine()
			p.line()
		default:
			p.line()
		}
		if it.comment != nil {
			p.print(it.comment.Text)
		} else {
			print(it.node)
			p.print(after)
		}
		last = it.last()
	}
}

func (p *printer) module(mod *ast.Module) {
	items := merge(mod.Decls, mod.Comments)
	var before item // the last one that began a line
	for i, it := range items {
		if i > 0 {
			if it.comment != nil && before.comment == nil && it.first() == before.last() {
				p.print(" ", it.comment.Text)
				continue
			}
			p.out.WriteByte('\n')
			if apart(before, it) {
				p.out.WriteByte('\n')
			}
		}
		before = it
		if it.comment != nil {
			p.print(it.comment.Text)
		} else {
			p.decl(it.node)
		}
	}
	if len(items) > 0 {
		p.out.WriteByte('\n')
	}
}

// apart reports whether an empty line stands between two items of a module: around declarations, and where the author
// left one. A comment directly above a declaration stays with it.
func apart(before, it item) bool {
	return before.comment == nil || it.first() > before.last()+1
}

func (p *printer) decl(n ast.Node) {
	switch d := n.(type) {
	case *ast.Import:
		p.print("import ", d.Name.Name, " ")
		if !d.Deprecated {
			p.print("from ")
		}
		p.expr(d.Operand)
	case *ast.Export:
		p.print("export ", d.Name.Name)
	case *ast.Func:
		p.print(d.Type.Name, " ", d.Name.Name)
		p.params(d.Params)
		if d.Effects != nil {
			p.print(" binds ")
			p.params(d.Effects)
		}
		if d.Body != nil {
			p.print(" ")
			p.block(d.Body)
		}
	}
}

func (p *printer) params(l *ast.ParamList) {
	list(p, l.Span(), l.Params, l.Comments, func(n ast.Node) {
		param := n.(*ast.Param)
		if param.Variadic != nil {
			p.print("variadic ")
		}
		p.print(param.Type.Name, " ", param.Name.Name)
	})
}

// list prints a parenthesised list: on one line if it was written without line feeds between its elements, else one
// element a line.
func list[T ast.Node](p *printer, span diag.Span, elements []T, comments []*ast.Comment, print func(ast.Node)) {
	p.print("(")
	if len(comments) == 0 && !broken(span, elements) {
		for i, e := range elements {
			if i > 0 {
				p.print(", ")
			}
			print(e)
		}
		p.print(")")
		return
	}
	p.indent++
	p.lines(merge(elements, comments), span.Start.Line, ",", print)
	p.indent--
	p.line()
	p.print(")")
}

// broken reports whether a list was written with a line feed before, between or behind its elements. Those inside of
// elements don't count. An empty list never is.
func broken[T ast.Node](span diag.Span, elements []T) bool {
	line := span.Start.Line
	for _, e := range elements {
		if e.Span().Start.Line != line {
			return true
		}
		line = e.Span().End.Line
	}
	return len(elements) > 0 && span.End.Line != line
}

func (p *printer) block(b *ast.Block) {
	switch {
	case len(b.Stmts)+len(b.Comments) == 0:
		p.print("{}")
		return
	case len(b.Comments) == 0 && b.Span().Start.Line == b.Span().End.Line:
		p.print("{ ")
		for i, s := range b.Stmts {
			if i > 0 {
				p.print("; ")
			}
			p.stmt(s)
		}
		p.print(" }")
		return
	}
	p.print("{")
	p.indent++
	p.lines(merge(b.Stmts, b.Comments), b.Span().Start.Line, "", p.stmt)
	p.indent--
	p.line()
	p.print("}")
}

func (p *printer) stmt(n ast.Node) {
	switch s := n.(type) {
	case *ast.LitStmt:
		p.expr(s.Value)
	case *ast.CallStmt:
		p.print(s.Callee.String())
		for _, arg := range s.Args {
			p.print(" ")
			p.expr(arg)
		}
		if s.With != nil && !emptyOptions(s.With) {
			p.print(" with ")
			p.expr(s.With.Operand)
		}
		if s.As != nil {
			p.as(s.As)
		}
	}
}

// emptyOptions reports whether a with has an `option {}` in which there is nothing.
func emptyOptions(w *ast.With) bool {
	b, ok := w.Operand.(*ast.BlockLit)
	return ok && b.Kind() == ast.Option && len(b.Body.Stmts)+len(b.Body.Comments) == 0
}

func (p *printer) as(as *ast.As) {
	p.print(" as")
	switch {
	case as.Name != nil:
		p.print(" ", as.Name.Name)
	case as.List != nil:
		p.print(" ")
		list(p, as.List.Span(), as.List.Binds, as.List.Comments, func(n ast.Node) {
			b := n.(*ast.Bind)
			p.print(b.Effect.Name, " ", b.Target.Name)
		})
	}
}

func (p *printer) expr(e ast.Node) {
	switch e := e.(type) {
	case *ast.BlockLit:
		p.print(e.Type.Name, " ")
		p.block(e.Body)
	case *ast.CallExpr:
		p.print(e.Callee.String())
		if e.List != nil {
			list(p, e.List.Span(), e.List.Args, e.List.Comments, p.expr)
		}
	case *ast.IntLit:
		p.print(strings.ToLower(e.Text))
	case *ast.BoolLit:
		if e.Value {
			p.print("true")
		} else {
			p.print("false")
		}
	case *ast.StringLit:
		p.print(`"`)
		p.parts(e.Parts)
		p.print(`"`)
	case *ast.RawStringLit:
		p.print("`", e.Text, "`")
	case *ast.HeredocLit:
		p.heredoc(e)
	}
}

func (p *printer) parts(parts []ast.Part) {
	for _, part := range parts {
		switch part := part.(type) {
		case *ast.Text:
			p.print(part.Source)
		case *ast.Interp:
			p.interp(part)
		}
	}
}

// interp prints an interpolation. Further lines of it are indented from the line it begins in, whose blanks belong to
// the text.
func (p *printer) interp(in *ast.Interp) {
	margin, indent := p.margin, p.indent
	p.margin, p.indent = p.blanks(), 0
	p.print("${")
	p.expr(in.Value)
	p.print("}")
	p.margin, p.indent = margin, indent
}

// blanks returns the tabs and spaces that the current line begins with.
func (p *printer) blanks() string {
	line := p.out.Bytes()
	line = line[bytes.LastIndexByte(line, '\n')+1:]
	return string(line[:len(line)-len(bytes.TrimLeft(line, "\t "))])
}

// heredoc prints the body as written. The line of the closing tag is indented like the statement if that leaves the
// value alone: tabs before the tag don't belong to it, other blanks do unless lines are folded.
func (p *printer) heredoc(h *ast.HeredocLit) {
	p.print("<<")
	if h.Mode != ast.HeredocKeep {
		p.print(string(rune(h.Mode)))
	}
	quote := ""
	if h.Raw {
		quote = "`"
	}
	p.print(quote, h.Tag, quote)
	p.parts(h.Parts)
	written, blanks := p.out.Bytes(), "\t"
	if h.Mode == ast.HeredocFold {
		blanks = "\t "
	}
	harmless := strings.Trim(p.margin, blanks) == ""
	if body := bytes.TrimRight(written, blanks); harmless && endsInLine(h) && body[len(body)-1] == '\n' {
		p.out.Truncate(len(body) - 1)
		p.line()
	}
	p.print(h.Tag)
}

// endsInLine reports whether the last text of h has a line feed, so that what is printed last is of h.
func endsInLine(h *ast.HeredocLit) bool {
	if len(h.Parts) == 0 {
		return false
	}
	t, ok := h.Parts[len(h.Parts)-1].(*ast.Text)
	return ok && strings.Contains(t.Source, "\n")
}
