// SPDX-License-Identifier: Apache-2.0

package query

import (
	"slices"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/builtin"
	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/syntax"
)

// cursor reads the tokens of a file up to an offset and knows what can stand there. It follows brackets and words alone
// and needs no tree, because what is being written seldom parses.
type cursor struct {
	file   *File
	frames []*frame // innermost last; the first is the module
	locals map[string]*check.Object
	word   syntax.Token // that the offset is in or behind, an Ident or Keyword; else zero
	inText bool         // the offset is inside of a string or a comment
}

// frame is a bracket, or the module itself.
type frame struct {
	open   syntax.TokenKind // OpenBrace, OpenParen, OpenString or OpenInterp; Newline for the module
	kind   ast.Kind         // of a block
	wants  []ast.Kind       // what the callee of an argument list, or the value of an interpolation, must be
	header bool             // the parameters of a function

	callee []string // the statement, or the call of an argument list: a name, or an import and its member
	args   int      // that were begun
	clause string   // the last of from, with, as; "" before
	last   []string // the name that ends right here, as an argument
	prev   syntax.TokenKind
	words  []string // of a declaration
}

// cursorAt reads a file up to an offset.
func (f *File) cursorAt(offset int) *cursor {
	c := &cursor{file: f, locals: map[string]*check.Object{}}
	c.frames = []*frame{{open: syntax.Newline, prev: syntax.Newline}}
	tokens := f.tokens()
	for i, t := range tokens {
		if t.Start.Offset >= offset {
			break
		}
		if c.declares(tokens[i:]) {
			c.frames = c.frames[:1]
			c.ends(c.top())
		}
		inside := t.End.Offset >= offset
		switch t.Kind {
		case syntax.Ident, syntax.Keyword, syntax.Number, syntax.Bool:
			if inside {
				c.word = t
				return c
			}
		case syntax.Text, syntax.Escape, syntax.RawString, syntax.Comment:
			c.inText = t.End.Offset > offset || inside && t.Kind != syntax.RawString
		case syntax.Illegal:
			c.inText = t.End.Offset-t.Start.Offset > 2 // a string that is not closed yet
		default:
			c.inText = false
		}
		c.token(t)
	}
	if c.top().open == syntax.OpenString {
		c.inText = true
	}
	return c
}

func (c *cursor) top() *frame { return c.frames[len(c.frames)-1] }

// outer is the frame around the innermost one that is not a string.
func (c *cursor) outer() *frame {
	for i := len(c.frames) - 1; i > 0; i-- {
		if c.frames[i].open != syntax.OpenString {
			return c.frames[i]
		}
	}
	return c.frames[0]
}

func (c *cursor) push(f *frame) {
	f.prev = f.open
	c.frames = append(c.frames, f)
}

// pop leaves the innermost frame that open opened, with those in it.
func (c *cursor) pop(open syntax.TokenKind) {
	for i := len(c.frames) - 1; i > 0; i-- {
		if c.frames[i].open == open {
			c.frames = c.frames[:i]
			break
		}
	}
	if f := c.top(); f.open == syntax.Newline && open == syntax.OpenBrace && f.clause != "from" {
		*f = frame{open: syntax.Newline, prev: syntax.Newline}
		clear(c.locals)
	}
}

// token takes a token into account.
func (c *cursor) token(t syntax.Token) {
	f := c.top()
	switch t.Kind {
	case syntax.Text, syntax.Escape:
		return
	case syntax.Newline, syntax.Semicolon, syntax.Comment:
		c.ends(f)
	case syntax.OpenBrace:
		c.openBlock(f)
		return
	case syntax.OpenParen:
		c.openList(f)
		return
	case syntax.OpenInterp:
		c.push(&frame{open: syntax.OpenInterp, wants: []ast.Kind{ast.String, ast.Int, ast.Bool}})
		return
	case syntax.CloseBrace:
		c.pop(syntax.OpenBrace)
	case syntax.CloseParen:
		c.pop(syntax.OpenParen)
	case syntax.CloseInterp:
		c.pop(syntax.OpenInterp)
	case syntax.CloseString:
		c.pop(syntax.OpenString)
	case syntax.OpenString:
		f.literal()
		c.push(&frame{open: syntax.OpenString})
		return
	case syntax.Number, syntax.Bool, syntax.RawString, syntax.Illegal:
		f.literal()
	case syntax.Ident, syntax.Keyword:
		c.name(f, t.Kind, c.file.text(spanOf(t)))
	}
	c.top().prev = t.Kind
}

// declares reports whether tokens begin a declaration, at the start of a line: brackets before it were not closed yet.
func (c *cursor) declares(tokens []syntax.Token) bool {
	t := tokens[0]
	switch {
	case t.Start.Column != 1 || c.top().open == syntax.OpenString || len(c.frames) == 1:
		return false
	case t.Kind == syntax.Keyword:
		return true
	}
	return len(tokens) > 2 && t.Kind == syntax.Ident && tokens[1].Kind == syntax.Ident &&
		tokens[2].Kind == syntax.OpenParen
}

// ends ends a statement, or a declaration whose parameters are not open.
func (c *cursor) ends(f *frame) {
	switch f.open {
	case syntax.OpenBrace:
		*f = frame{open: f.open, kind: f.kind}
	case syntax.Newline:
		*f = frame{open: f.open}
		clear(c.locals)
	}
}

// literal notes a literal: an argument, or a statement of its own.
func (f *frame) literal() {
	f.last = nil
	if len(f.callee) > 0 && f.clause == "" || f.open == syntax.OpenParen {
		f.args++
	}
}

// name notes a name, whose meaning its position tells.
func (c *cursor) name(f *frame, kind syntax.TokenKind, text string) {
	if kind == syntax.Keyword && f.prev != syntax.Dot {
		f.clause, f.last = text, nil
		f.words = append(f.words, text)
		return
	}
	switch {
	case f.open == syntax.Newline:
		f.words = append(f.words, text)
		f.last = []string{text}
		if text == "from" && len(f.words) == 3 {
			f.clause = "from"
		}
	case f.header:
		c.parameter(f, text)
	case f.prev == syntax.Dot:
		if f.last != nil {
			f.last = append(f.last, text)
		}
		if f.args == 0 && f.open == syntax.OpenBrace && len(f.callee) == 1 {
			f.callee = append(f.callee, text)
		}
	case f.open == syntax.OpenBrace && len(f.callee) == 0:
		f.callee, f.last = []string{text}, []string{text}
	default:
		f.last = []string{text}
		if f.clause == "" {
			f.args++
		}
	}
}

// parameter notes a word of the parameters or effects of a function, which are names inside of it.
func (c *cursor) parameter(f *frame, text string) {
	if f.prev == syntax.Comma {
		f.words = nil
	}
	f.words = append(f.words, text)
	list := f.words
	variadic := list[0] == "variadic"
	if variadic {
		list = list[1:]
	}
	if len(list) < 2 {
		return
	}
	p := &ast.Param{Type: &ast.Ident{Name: list[0]}, Name: &ast.Ident{Name: list[1]}}
	if variadic {
		p.Variadic = &ast.Ident{Name: "variadic"}
	}
	function := &ast.Ident{}
	if words := c.frames[0].words; len(words) > 1 {
		function.Name = words[1]
	}
	c.locals[list[1]] = &check.Object{
		What: check.ParamObject, Name: list[1], Kind: p.Kind(), Param: p, Func: &ast.Func{Name: function},
	}
	f.words = nil
}

// openBlock enters a block: the body of a function, or a literal behind its kind.
func (c *cursor) openBlock(f *frame) {
	kind := ast.Kind("")
	switch {
	case f.open == syntax.Newline && f.clause == "" && len(f.words) > 0:
		kind = ast.Kind(f.words[0])
	case len(f.last) == 1:
		kind = ast.Kind(f.last[0])
	}
	if kind == ast.Option && f.clause == "with" && len(f.callee) == 1 {
		kind = ast.OptionOf(f.callee[0])
	}
	if kind == ast.Group {
		kind = ast.Pipeline
	}
	f.last, f.prev = nil, syntax.CloseBrace
	c.push(&frame{open: syntax.OpenBrace, kind: kind})
}

// openList enters parentheses: parameters of a function, effects to bind, or the arguments of a call.
func (c *cursor) openList(f *frame) {
	switch {
	case f.open == syntax.Newline && f.clause == "":
		c.push(&frame{open: syntax.OpenParen, header: true})
		return
	case f.clause == "as":
		c.push(&frame{open: syntax.OpenParen, clause: "as", callee: f.callee, wants: []ast.Kind{f.kind}})
		return
	}
	wants := c.wantedIn(f, max(f.args-1, 0))
	c.push(&frame{open: syntax.OpenParen, callee: f.last, wants: wants})
	f.last, f.prev = nil, syntax.CloseParen
}

// wantedIn returns the kinds of argument arg of a frame's call; for other frames, what its values must be. Nil is
// unknown.
func (c *cursor) wantedIn(f *frame, arg int) []ast.Kind {
	switch {
	case f.clause == "from":
		return []ast.Kind{ast.FS, ast.String}
	case f.clause == "with" && len(f.callee) == 1:
		return []ast.Kind{ast.OptionOf(f.callee[0])}
	case f.open == syntax.OpenInterp:
		return f.wants
	}
	o := c.callee(f)
	if o == nil {
		return nil
	}
	list := o.Params()
	if len(list) == 0 || arg >= len(list) && !list[len(list)-1].Variadic {
		return nil
	}
	return accepted(list[min(arg, len(list)-1)].Kind)
}

// accepted are the kinds of values that a parameter of a kind takes.
func accepted(k ast.Kind) []ast.Kind {
	if k == ast.Pipeline {
		return []ast.Kind{ast.Pipeline, ast.FS, ast.String, ast.Int, ast.Bool}
	}
	return []ast.Kind{k}
}

// callee finds what a frame's call is of, nil if there is no call or nothing like it.
func (c *cursor) callee(f *frame) *check.Object {
	switch {
	case len(f.callee) == 0:
		return nil
	case f.open == syntax.OpenBrace && f.kind == "":
		return c.find(f.callee, nil)
	case f.open == syntax.OpenBrace:
		return c.find(f.callee, []ast.Kind{f.kind})
	case f.open == syntax.OpenParen:
		return c.find(f.callee, f.wants)
	}
	return nil
}

// find looks a name up as the checker does, where one of the kinds is wanted; without kinds, whatever it is.
func (c *cursor) find(name []string, wants []ast.Kind) *check.Object {
	info := c.file.Info()
	switch len(name) {
	case 0:
		return nil
	case 2:
		return memberOf(info, name[0], name[1])
	}
	fits := func(o *check.Object) bool { return len(wants) == 0 || slices.Contains(wants, o.Kind) }
	if o := c.locals[name[0]]; o != nil && fits(o) {
		return o
	}
	if o := info.Scope[name[0]]; o != nil && o.What != check.ImportObject && fits(o) {
		return o
	}
	for _, f := range builtin.All() {
		if o := check.Builtin(f); f.Name == name[0] && fits(o) {
			return o
		}
	}
	return nil
}

// memberOf returns a name that an imported module exports, nil if it does not or was not read.
func memberOf(info *check.Info, imp, name string) *check.Object {
	o := info.Scope[imp]
	if o == nil || o.What != check.ImportObject {
		return nil
	}
	if lib := info.Imported(o.Import); lib != nil && lib.Exported[name] {
		return lib.Scope[name]
	}
	return nil
}

func spanOf(t syntax.Token) diag.Span { return diag.Span{Start: t.Start, End: t.End} }
