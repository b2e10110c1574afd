// SPDX-License-Identifier: Apache-2.0

package syntax

import (
	"bytes"
	"unicode/utf8"
)

// nextInString reads inside of double quotes.
func (l *lexer) nextInString() token {
	rest := l.rest()
	switch {
	case len(rest) == 0:
		return l.take(tEOF, 0)
	case rest[0] == '"':
		return l.shut(tQuoteEnd, 1)
	case rest[0] == '\\':
		if n := escapeLen(rest); n > 0 {
			return l.take(tEscape, n)
		}
		return l.take(tIllegal, 1)
	case isInterp(rest):
		return l.open(tInterp, 2, mode{kind: modeInterp})
	}
	n := 0
	for n < len(rest) && rest[n] != '"' && rest[n] != '\\' && !isInterp(rest[n:]) {
		n++
	}
	return l.take(tText, n)
}

// takeHeredoc reads "<<", an optional modifier and a tag. With the tag in backticks the whole heredoc is one token.
func (l *lexer) takeHeredoc() token {
	rest := l.rest()
	if !bytes.HasPrefix(rest, []byte("<<")) {
		return l.take(tIllegal, 1)
	}
	n := 2
	if n < len(rest) && (rest[n] == '-' || rest[n] == '~') {
		n++
	}
	raw := n < len(rest) && rest[n] == '`'
	if raw {
		n++
	}
	tag := rest[n : n+wordLen(rest[n:])]
	n += len(tag)
	switch {
	case len(tag) == 0 || raw && (n == len(rest) || rest[n] != '`'):
		return l.take(tIllegal, 2)
	case !raw:
		return l.open(tHeredoc, n, mode{kind: modeHeredoc, tag: string(tag)})
	}
	n++
	body := rawHeredocLen(rest[n:], tag)
	if body < 0 {
		return l.take(tIllegal, len(rest)) // all of it would be inside
	}
	return l.take(tRawHeredoc, n+body+len(tag))
}

// rawHeredocLen returns how many bytes come before the closing tag: the first word of text that begins like the tag
// and is no longer. It is -1 if there is none.
func rawHeredocLen(text, tag []byte) int {
	for n := 0; n < len(text); {
		if startsWithWord(text[n:], tag) {
			return n
		}
		n += runLen(text[n:], isNotSpace)
		n += runLen(text[n:], isSpace)
	}
	return -1
}

// nextInHeredoc reads inside of a heredoc. The tag closes it wherever a token may start, so `$TAG` and `TAG.txt` do,
// `xTAG` doesn't.
func (l *lexer) nextInHeredoc(tag string) token {
	rest := l.rest()
	switch {
	case len(rest) == 0:
		return l.take(tEOF, 0)
	case startsWithWord(rest, []byte(tag)):
		return l.shut(tHeredocEnd, len(tag))
	case isSpace(rest[0]):
		return l.take(tText, runLen(rest, isSpace))
	case rest[0] == '\\' && escapeLen(rest) > 0:
		return l.take(tEscape, escapeLen(rest))
	case isInterp(rest):
		return l.open(tInterp, 2, mode{kind: modeInterp})
	case rest[0] == '$':
		return l.take(tText, 1)
	}
	return l.take(tText, heredocTextLen(rest))
}

// heredocTextLen returns the length of a run of text: up to white space, "$", or an escaped "$" inside of a word.
// Other escapes inside of a word are text; their two characters are passed together, so that `\\$` is a backslash
// pair before a dollar.
func heredocTextLen(text []byte) int {
	n := 0
	for n < len(text) && isNotSpace(text[n]) && text[n] != '$' {
		if text[n] == '\\' && n > 0 && n+1 < len(text) {
			switch next := text[n+1]; {
			case next == '$':
				return n
			case next == '\\':
				n++
			}
		}
		n++
	}
	return n
}

// startsWithWord reports whether text begins with word and word ends there.
func startsWithWord(text, word []byte) bool {
	return bytes.HasPrefix(text, word) && (len(text) == len(word) || !isWord(text[len(word)]))
}

// escapeLen returns the length of the backslash and the character after it, or 0 at the end of a line or of the file.
func escapeLen(text []byte) int {
	if len(text) < 2 || text[1] == '\n' {
		return 0
	}
	_, n := utf8.DecodeRune(text[1:])
	return 1 + n
}

func isInterp(text []byte) bool { return len(text) > 1 && text[0] == '$' && text[1] == '{' }

// isSpace holds for the white space that ends a word of a heredoc.
func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' && c != '\v' }

func isNotSpace(c byte) bool { return !isSpace(c) }
