// SPDX-License-Identifier: Apache-2.0

package syntax

import (
	"bytes"
	"unicode/utf8"

	"github.com/openllb/hlb-operator/hlb/diag"
)

// The lexer is modal: what a character means depends on the innermost bracket or string it stands in. The modes are a
// stack, pushed by openers and popped by closers, so strings can hold interpolations that hold blocks that hold
// strings.
type mode struct {
	kind modeKind
	tag  string // of modeHeredoc
}

type modeKind uint8

const (
	modeTop    modeKind = iota // outside of everything
	modeBlock                  // { … }
	modeParen                  // ( … )
	modeInterp                 // ${ … }
	modeString                 // " … "
	modeHeredoc
)

// lexer cuts src into tokens, one call of next at a time. src must be valid UTF-8.
type lexer struct {
	src   []byte
	at    diag.Position
	modes []mode
	depth int  // of modes beyond which nothing is read
	ident bool // the last token was an identifier: a dot may follow directly
	dot   bool // the last token was that dot: a member name follows, blanks before it or not
}

// newLexer returns a lexer at the start of src. A byte order mark there is skipped: some editors write one.
func newLexer(src []byte, depth int) *lexer {
	l := &lexer{src: src, at: diag.Position{Line: 1, Column: 1}, modes: []mode{{kind: modeTop}}, depth: depth}
	if bytes.HasPrefix(src, []byte(byteOrderMark)) {
		l.at.Offset = len(byteOrderMark)
	}
	return l
}

const byteOrderMark = "\uFEFF"

func (l *lexer) top() mode { return l.modes[len(l.modes)-1] }

func (l *lexer) push(m mode) { l.modes = append(l.modes, m) }

func (l *lexer) pop() { l.modes = l.modes[:len(l.modes)-1] }

// next returns the next token. At the end of the source it returns tEOF for ever.
func (l *lexer) next() token {
	switch m := l.top(); m.kind {
	case modeString:
		return l.nextInString()
	case modeHeredoc:
		return l.nextInHeredoc(m.tag)
	default:
		return l.nextInCode()
	}
}

// take makes a token of the next n bytes.
func (l *lexer) take(kind tokenKind, n int) token {
	t := token{kind: kind, depth: len(l.modes), start: l.at}
	l.advance(n)
	t.end = l.at
	return t
}

// open takes an opener of n bytes and enters m. At the limit of depth it gives up the rest of the source instead,
// because whatever comes is inside of what can't be read.
func (l *lexer) open(kind tokenKind, n int, m mode) token {
	t := l.take(kind, n)
	if len(l.modes) > l.depth {
		t.kind = tTooDeep
		l.skipAll()
		return t
	}
	l.push(m)
	return t
}

// skipAll gives up the rest of the source.
func (l *lexer) skipAll() {
	l.advance(len(l.rest()))
	l.modes = l.modes[:1]
}

// shut leaves the innermost mode and takes its closer of n bytes.
func (l *lexer) shut(kind tokenKind, n int) token {
	l.pop()
	return l.take(kind, n)
}

// shortToken bounds the tokens that are looked at byte by byte, which is faster than looking for line feeds and
// counting characters: nearly all are shorter.
const shortToken = 32

// advance moves over n bytes.
func (l *lexer) advance(n int) {
	text := l.src[l.at.Offset : l.at.Offset+n]
	l.at.Offset += n
	if n <= shortToken {
		for _, c := range text {
			switch {
			case c == '\n':
				l.at.Line, l.at.Column = l.at.Line+1, 1
			case utf8.RuneStart(c):
				l.at.Column++
			}
		}
		return
	}
	if i := bytes.LastIndexByte(text, '\n'); i >= 0 {
		l.at.Line += bytes.Count(text, []byte{'\n'})
		l.at.Column = 1
		text = text[i+1:]
	}
	l.at.Column += utf8.RuneCount(text)
}

// rest is what hasn't been read yet.
func (l *lexer) rest() []byte { return l.src[l.at.Offset:] }

// nextInCode reads outside of strings. The order of the cases matters where two tokens could start alike.
func (l *lexer) nextInCode() token {
	ident, dot := l.ident, l.dot
	l.ident, l.dot = false, false
	rest := l.rest()
	if n := identLen(rest); dot && n > 0 {
		return l.takeIdent(n) // whatever the word; behind a blank it is read as elsewhere
	}
	if ident && len(rest) > 0 && rest[0] == '.' {
		l.dot = true
		return l.take(tDot, 1)
	}
	if n := blankLen(rest); n > 0 {
		l.at.Offset += n
		l.at.Column += n
		rest = rest[n:]
	}
	if len(rest) == 0 {
		return l.take(tEOF, 0)
	}
	switch c := rest[0]; c {
	case '\n':
		return l.take(tNewline, 1)
	case '#':
		return l.takeComment()
	case ';':
		return l.take(tSemicolon, 1)
	case '{':
		return l.open(tLBrace, 1, mode{kind: modeBlock})
	case '(':
		return l.open(tLParen, 1, mode{kind: modeParen})
	case '"':
		return l.open(tQuote, 1, mode{kind: modeString})
	case ',', ')', '}':
		return l.takeCloser(c)
	case '`':
		return l.takeRawString()
	case '<':
		return l.takeHeredoc()
	default:
		return l.takeWord()
	}
}

// takeCloser reads a character that only has a meaning inside of brackets. A closer that doesn't match the innermost
// bracket leaves those in between: the parser will find it in the wrong place, and what follows is read as the author
// meant it.
func (l *lexer) takeCloser(c byte) token {
	if c == ',' {
		if l.top().kind == modeParen {
			return l.take(tComma, 1)
		}
		return l.take(tIllegal, 1)
	}
	for i := len(l.modes) - 1; i > 0; i-- {
		switch kind := l.modes[i].kind; {
		case kind == modeParen && c == ')':
			l.modes = l.modes[:i+1]
			return l.shut(tRParen, 1)
		case kind == modeBlock && c == '}':
			l.modes = l.modes[:i+1]
			return l.shut(tRBrace, 1)
		case kind == modeInterp && c == '}':
			l.modes = l.modes[:i+1]
			return l.shut(tInterpEnd, 1)
		case kind == modeString || kind == modeHeredoc:
			return l.take(tIllegal, 1)
		}
	}
	return l.take(tIllegal, 1)
}

// takeComment reads to the end of the line and consumes the line feed as well: a comment ends a statement like one.
func (l *lexer) takeComment() token {
	rest := l.rest()
	n := bytes.IndexByte(rest, '\n')
	if n < 0 {
		return l.take(tComment, len(rest))
	}
	t := l.take(tComment, n)
	l.advance(1)
	return t
}

func (l *lexer) takeRawString() token {
	n := bytes.IndexByte(l.rest()[1:], '`')
	if n < 0 {
		return l.take(tIllegal, len(l.rest())) // all of it would be inside
	}
	return l.take(tRawString, n+2)
}

// takeWord reads a keyword, number, truth value or identifier, in this order. A word ends before a colon for all but
// identifiers.
func (l *lexer) takeWord() token {
	rest := l.rest()
	if n := wordLen(rest); n > 0 {
		if kind, ok := wordKind(rest[:n]); ok {
			return l.take(kind, n)
		}
	}
	if n := identLen(rest); n > 0 {
		return l.takeIdent(n)
	}
	_, n := utf8.DecodeRune(rest)
	return l.take(tIllegal, n)
}

func (l *lexer) takeIdent(n int) token {
	l.ident = true
	return l.take(tIdent, n)
}

// wordKind says what a whole word is if it isn't an identifier.
func wordKind(word []byte) (tokenKind, bool) {
	switch string(word) {
	case "import":
		return tImport, true
	case "export":
		return tExport, true
	case "with":
		return tWith, true
	case "as":
		return tAs, true
	case "true", "false":
		return tBool, true
	}
	return tInt, isNumber(word)
}

// isNumber reports whether word is a decimal without leading zero, or a base prefix and hexadecimal digits; whether
// the digits fit the base is for the parser to say.
func isNumber(word []byte) bool {
	if word[0] == '0' {
		return len(word) == 1 ||
			len(word) > 2 && bytes.IndexByte([]byte("bBoOxX"), word[1]) >= 0 && all(word[2:], isHex)
	}
	return all(word, isDigit)
}

func all(text []byte, is func(byte) bool) bool { return runLen(text, is) == len(text) }

func runLen(text []byte, is func(byte) bool) int {
	n := 0
	for n < len(text) && is(text[n]) {
		n++
	}
	return n
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

func isWord(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' }

func isIdent(c byte) bool { return isWord(c) || c == ':' }

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }

func wordLen(text []byte) int  { return runLen(text, isWord) }
func identLen(text []byte) int { return runLen(text, isIdent) }
func blankLen(text []byte) int { return runLen(text, isBlank) }
