// SPDX-License-Identifier: Apache-2.0

// Package syntax turns the text of a module into its tree: a modal lexer and a parser that descends by hand. It
// reports several errors at once and never fails otherwise: any input gives a tree of what could be read and a list
// of what could not.
package syntax

import (
	"unicode/utf8"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/spell"
)

// Limits bound what a parse may cost. A zero field means the default.
type Limits struct {
	MaxBytes  int // of source; default 8 MiB
	MaxDepth  int // of nested blocks, parentheses, strings and interpolations; default 256, at most 10,000
	MaxErrors int // after which the parser stops reporting; default 50
}

// The defaults leave room for generated programs (100,000 lines are about 3 MiB) and stay far below what a Go stack
// holds: a level of nesting takes a few frames of some hundred bytes.
const (
	defaultMaxBytes  = 8 << 20
	defaultMaxDepth  = 256
	defaultMaxErrors = 50
	highestMaxDepth  = 10_000 // some 10 MiB of stack in passes that recurse
)

// WithDefaults returns l with the defaults for fields that are zero.
func (l Limits) WithDefaults() Limits {
	if l.MaxBytes <= 0 {
		l.MaxBytes = defaultMaxBytes
	}
	if l.MaxDepth <= 0 {
		l.MaxDepth = defaultMaxDepth
	}
	l.MaxDepth = min(l.MaxDepth, highestMaxDepth)
	if l.MaxErrors <= 0 {
		l.MaxErrors = defaultMaxErrors
	}
	return l
}

// Parse reads the module in src. file is the name that spans carry. The tree is never nil; where the list is not
// empty, the tree lacks what couldn't be read and must not be compiled. src is kept by the tree and must not change.
func Parse(file string, src []byte, limits Limits) (*ast.Module, diag.List) {
	p := &parser{file: file, src: src, limits: limits.WithDefaults()}
	p.lex = newLexer(src, p.limits.MaxDepth)
	if !p.readable() {
		p.lex = newLexer(nil, 0)
	}
	mod := p.module()
	mod.Source = src
	p.errs.Sort()
	return mod, p.errs
}

// ParseFrom reads the declarations from start on, which begins a line outside of all declarations, for editors that
// have read what is before. It stops outside of all brackets where stop, which gets the offset of a token, is true; at
// the end of src; and, because nothing more would be reported, at the limit of errors, when the tree lacks the rest. It
// returns the offset behind what it has read.
func ParseFrom(
	file string, src []byte, start diag.Position, stop func(int) bool, limits Limits,
) (*ast.Module, diag.List, int) {
	p := &parser{file: file, src: src, limits: limits.WithDefaults(), stop: stop}
	p.lex = newLexer(src, p.limits.MaxDepth)
	if !p.readable() {
		return &ast.Module{File: file}, p.errs, len(src)
	}
	if start.Offset > 0 { // else a byte order mark may have been skipped
		p.lex.at = start
	}
	mod := p.module()
	p.errs.Sort()
	return mod, p.errs, p.peek(0).start.Offset
}

// parser holds the state of one parse. Its methods read what they are named for and return nil after having reported
// why they can't; lists then skip to where their next element can start.
type parser struct {
	file   string
	src    []byte
	limits Limits
	lex    *lexer
	ahead  []token // read from lex, not yet consumed
	prev   token   // the last token consumed
	errs   diag.List
	muted  bool                  // at the limit of errors or depth: nothing more is reported
	stop   func(offset int) bool // nil except for ParseFrom

	idents slab[ast.Ident]
	names  slab[ast.Name]
	stmts  slab[ast.CallStmt]
	calls  slab[ast.CallExpr]
	quoted slab[ast.StringLit]
	texts  slab[ast.Text]
}

// slab allocates values of one type many at a time, since most of a parse is allocation. They are freed together.
type slab[T any] struct {
	free []T
	size int // of the last allocation
}

// slabSize is how many values are allocated at once, some KiB; a short program starts with fewer.
const (
	firstSlab = 4
	slabSize  = 64
)

func (s *slab[T]) new(v T) *T {
	if len(s.free) == 0 {
		s.size = min(max(2*s.size, firstSlab), slabSize)
		s.free = make([]T, s.size)
	}
	p := &s.free[0]
	s.free = s.free[1:]
	*p = v
	return p
}

// readable reports whether src can be lexed at all.
func (p *parser) readable() bool {
	start := p.span(diag.Position{Line: 1, Column: 1}, diag.Position{Line: 1, Column: 1})
	if len(p.src) > p.limits.MaxBytes {
		p.report(
			diag.Errorf(
				diag.SourceTooLarge,
				start,
				"the file has %d bytes, more than the limit of %d",
				len(p.src),
				p.limits.MaxBytes,
			),
		)
		return false
	}
	if utf8.Valid(p.src) {
		return true
	}
	l := newLexer(p.src, 0)
	for l.at.Offset < len(p.src) {
		r, n := utf8.DecodeRune(l.rest())
		if r == utf8.RuneError && n == 1 {
			break
		}
		l.advance(n)
	}
	p.report(diag.Errorf(diag.Syntax, p.span(l.at, l.at), "the file isn't valid UTF-8"))
	return false
}

func (p *parser) span(start, end diag.Position) diag.Span {
	return diag.Span{File: p.file, Start: start, End: end}
}

func (p *parser) spanOf(t token) diag.Span { return p.span(t.start, t.end) }

// from is the node position that starts at start and ends with the last token consumed.
func (p *parser) from(start diag.Position) ast.At { return ast.At{Where: p.span(start, p.prev.end)} }

func (p *parser) text(t token) string { return string(p.src[t.start.Offset:t.end.Offset]) }

// peek returns the token n places ahead; peek(0) is the next one.
func (p *parser) peek(n int) token {
	for len(p.ahead) <= n {
		if p.muted && p.stop != nil {
			p.lex.skipAll()
		}
		t := p.lex.next()
		if t.kind == tTooDeep {
			p.report(diag.Errorf(diag.TooDeep, p.spanOf(t), "nested deeper than the limit of %d", p.limits.MaxDepth))
			p.muted = true
		}
		p.ahead = append(p.ahead, t)
	}
	return p.ahead[n]
}

func (p *parser) next() token {
	t := p.peek(0)
	copy(p.ahead, p.ahead[1:])
	p.ahead = p.ahead[:len(p.ahead)-1]
	p.prev = t
	return t
}

// accept consumes the next token if it is of kind k.
func (p *parser) accept(k tokenKind) {
	if p.peek(0).kind == k {
		p.next()
	}
}

// isWord reports whether the token n places ahead is the identifier word. Words like "from" have a meaning only by
// position.
func (p *parser) isWord(n int, word string) bool {
	t := p.peek(n)
	return t.kind == tIdent && string(p.src[t.start.Offset:t.end.Offset]) == word
}

func (p *parser) report(d *diag.Diagnostic) {
	if p.muted || len(p.errs) > 0 && p.errs[len(p.errs)-1].Primary.Start == d.Primary.Start {
		return // one word for one place
	}
	p.errs = append(p.errs, d)
	p.muted = len(p.errs) >= p.limits.MaxErrors
}

// unexpected reports the next token as one that can't stand here. The end of the file is only worth a word if nothing
// before it was wrong: after an error it usually means that a bracket was skipped.
func (p *parser) unexpected(want string) *diag.Diagnostic {
	t := p.peek(0)
	d := diag.Errorf(diag.Syntax, p.spanOf(t), "unexpected %s, expected %s", t.describe(p.src), want)
	switch {
	case t.kind == tEOF && len(p.errs) > 0:
		return d
	case t.kind == tIllegal:
		d = p.illegal(t, want)
	}
	p.report(d)
	return d
}

// misspelt adds the word that written may have been meant to be to d.
func (p *parser) misspelt(d *diag.Diagnostic, written string, words ...string) {
	if len(written) <= longestWord {
		spell.Among(written, words).Hint(d)
	}
}

// longestWord bounds what misspelt looks at: all words of the language are shorter, by more than the edits of a
// suggestion.
const longestWord = 16

// illegal says what is wrong with characters that are no token.
func (p *parser) illegal(t token, want string) *diag.Diagnostic {
	end := p.span(p.eof(), p.eof())
	switch text := p.text(t); {
	case text[0] == '`':
		return diag.Errorf(diag.Syntax, end, "unexpected end of file, expected the closing \"`\" of a raw string").
			WithLabel(p.span(t.start, t.start), "opened here")
	case len(text) > 2 && text[:2] == "<<":
		return diag.Errorf(diag.Syntax, end, "unexpected end of file, expected the tag that closes the heredoc").
			WithLabel(p.span(t.start, t.start), "opened here")
	case text == "<<":
		return diag.Errorf(diag.Syntax, p.spanOf(t), "a heredoc needs a tag of letters, digits and underscores").
			WithHint("write <<EOF or <<-EOF")
	case text == `\`:
		return diag.Errorf(diag.Syntax, p.spanOf(t), "a backslash can't end a line of a string").
			WithHint(`write \\ for a backslash`)
	case text == "-":
		return diag.Errorf(diag.Syntax, p.spanOf(t), "unexpected character \"-\", expected %s", want).
			WithHint("names are made of letters, digits, _ and :, and numbers have no sign")
	default:
		return diag.Errorf(diag.Syntax, p.spanOf(t), "unexpected %s, expected %s", t.describe(p.src), want)
	}
}

// eof returns the position behind the last character.
func (p *parser) eof() diag.Position {
	l := *p.lex
	l.advance(len(l.rest()))
	return l.at
}

// expect consumes a token of kind k, or reports that want is missing.
func (p *parser) expect(k tokenKind, want string) (token, bool) {
	if p.peek(0).kind != k {
		p.unexpected(want)
		return token{}, false
	}
	return p.next(), true
}

func (p *parser) ident(want string) *ast.Ident {
	t, ok := p.expect(tIdent, want)
	if !ok {
		return nil
	}
	return p.identOf(t)
}

func (p *parser) identOf(t token) *ast.Ident {
	return p.idents.new(ast.Ident{At: ast.At{Where: p.spanOf(t)}, Name: p.text(t)})
}

// skipTo drops tokens up to one that satisfies stop and lies at depth, or to the closer of the list at depth.
func (p *parser) skipTo(depth int, stop func(tokenKind) bool) {
	for {
		t := p.peek(0)
		if t.kind == tEOF || t.depth < depth || t.depth == depth && stop(t.kind) {
			return
		}
		p.next()
	}
}

func isTerminator(k tokenKind) bool { return k == tSemicolon || k == tNewline || k == tComment }

func (p *parser) comment(t token) *ast.Comment {
	text := p.src[t.start.Offset:t.end.Offset]
	for len(text) > 0 && isBlank(text[len(text)-1]) {
		text = text[:len(text)-1]
	}
	end := t.start
	end.Offset += len(text)
	end.Column += utf8.RuneCount(text)
	return &ast.Comment{At: ast.At{Where: p.span(t.start, end)}, Text: string(text)}
}
