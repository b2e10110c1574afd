// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"errors"
	"strings"
)

// splitWords splits a command line into words like a POSIX shell that expands nothing: blanks part words unless they
// are quoted, a backslash takes the next character as it is (between double quotes only `$`, a backquote, `"`, a
// backslash and the end of a line), and `#` at the start of a word begins a remark. A line without words gives none.
// The only error is a quote that isn't closed.
func splitWords(line string) ([]string, error) {
	w := wordSplitter{rest: line}
	for w.rest != "" {
		c := w.take()
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			w.end()
		case c == '#' && !w.open:
			w.remark()
		case c == '\'':
			if err := w.single(); err != nil {
				return nil, err
			}
		case c == '"':
			if err := w.double(); err != nil {
				return nil, err
			}
		case c == '\\':
			w.escape("")
		default:
			w.add(c)
		}
	}
	w.end()
	return w.words, nil
}

var errOpenQuote = errors.New("a quote is not closed")

// wordSplitter is a line being split. Bytes are enough: what matters is ASCII, and no other character has an ASCII
// byte in it.
type wordSplitter struct {
	rest  string
	words []string
	word  []byte
	open  bool // a word has begun, though it may be empty, as in ''
}

func (w *wordSplitter) take() byte {
	c := w.rest[0]
	w.rest = w.rest[1:]
	return c
}

func (w *wordSplitter) add(c byte) { w.word, w.open = append(w.word, c), true }

func (w *wordSplitter) end() {
	if w.open {
		w.words = append(w.words, string(w.word))
	}
	w.word, w.open = w.word[:0], false
}

func (w *wordSplitter) remark() {
	if i := strings.IndexByte(w.rest, '\n'); i >= 0 {
		w.rest = w.rest[i:]
		return
	}
	w.rest = ""
}

func (w *wordSplitter) single() error {
	text, after, closed := strings.Cut(w.rest, "'")
	if !closed {
		return errOpenQuote
	}
	w.word, w.open, w.rest = append(w.word, text...), true, after
	return nil
}

func (w *wordSplitter) double() error {
	w.open = true
	for w.rest != "" {
		switch c := w.take(); c {
		case '"':
			return nil
		case '\\':
			w.escape("$`\"\\")
		default:
			w.add(c)
		}
	}
	return errOpenQuote
}

// escape reads what follows a backslash. An escaped line feed vanishes. Where only some characters can be escaped, the
// backslash before any other is text, as it is at the end of the line.
func (w *wordSplitter) escape(only string) {
	if w.rest == "" {
		w.add('\\')
		return
	}
	c := w.take()
	if c == '\n' {
		return
	}
	if only != "" && strings.IndexByte(only, c) < 0 {
		w.add('\\')
	}
	w.add(c)
}
