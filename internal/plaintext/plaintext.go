// SPDX-License-Identifier: Apache-2.0

// Package plaintext makes text of builds safe to show: steps write whatever they like, and a terminal obeys what it is
// shown. Line feeds and tabs stay. Colours are dropped. A carriage return begins a new line, as progress bars have it.
// Every other control character, and every character that changes the direction of text, is shown as its number, such
// as \x1b. What is no UTF-8 is replaced.
package plaintext

import (
	"fmt"
	"io"
	"unicode/utf8"
)

// maxSequence is the length of the longest escape sequence that is looked at as one.
const maxSequence = 64

// Text returns s as it may be shown.
func Text(s string) string {
	if isPlain(s) {
		return s
	}
	out, _ := clean(nil, []byte(s), true)
	return string(out)
}

// isPlain reports whether s is safe already.
func isPlain(s string) bool {
	for _, r := range s {
		if r == utf8.RuneError || mustShow(r) || r == '\r' {
			return false
		}
	}
	return true
}

// mustShow reports whether a character is shown as its number: the control characters but for line feed and tab, the
// separators of lines and paragraphs, and those of Unicode's bidirectional algorithm.
func mustShow(r rune) bool {
	switch {
	case r == '\n' || r == '\t':
		return false
	case r < ' ' || r >= 0x7f && r <= 0x9f:
		return true
	case r == 0x061c || r == 0x200e || r == 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069:
		return true
	}
	return false
}

// clean appends src to dst as it may be shown. Unless it is the last, an end that may be a part of something longer is
// returned instead.
func clean(dst, src []byte, last bool) (out, rest []byte) {
	for len(src) > 0 {
		n := 1
		switch c := src[0]; {
		case c == '\r':
			if len(src) == 1 && !last {
				return dst, src
			}
			if len(src) == 1 || src[1] != '\n' {
				dst = append(dst, '\n')
			}
		case c == 0x1b:
			length, whole := colour(src)
			if !whole && !last {
				return dst, src
			}
			if length > 0 {
				n = length
			} else {
				dst = append(dst, `\x1b`...)
			}
		case c < utf8.RuneSelf:
			dst = appendRune(dst, rune(c))
		default:
			if !utf8.FullRune(src) && !last {
				return dst, src
			}
			var r rune
			r, n = utf8.DecodeRune(src)
			dst = appendRune(dst, r)
		}
		src = src[n:]
	}
	return dst, nil
}

// colour returns the length of the colour sequence that b begins with, 0 for none. whole is false if more of b may make
// it one.
func colour(b []byte) (length int, whole bool) {
	for i, c := range b[:min(len(b), maxSequence)] {
		switch {
		case i == 0 || i == 1 && c == '[' || i > 1 && (c >= '0' && c <= '9' || c == ';' || c == ':'):
		case i > 1 && c == 'm':
			return i + 1, true
		default:
			return 0, true
		}
	}
	return 0, len(b) >= maxSequence
}

func appendRune(dst []byte, r rune) []byte {
	switch {
	case !mustShow(r):
		return utf8.AppendRune(dst, r)
	case r < utf8.RuneSelf:
		return fmt.Appendf(dst, `\x%02x`, r)
	default:
		return fmt.Appendf(dst, `\u%04x`, r)
	}
}

// Writer writes what it is given as it may be shown. Characters may be split over writes.
type Writer struct {
	to   io.Writer
	rest []byte
}

// NewWriter writes to another writer.
func NewWriter(to io.Writer) *Writer { return &Writer{to: to} }

// Write implements io.Writer. The error is the other writer's.
func (w *Writer) Write(p []byte) (int, error) {
	out, rest := clean(make([]byte, 0, len(p)+len(w.rest)), append(w.rest, p...), false)
	w.rest = append([]byte(nil), rest...)
	if _, err := w.to.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush writes what may have been the beginning of something longer.
func (w *Writer) Flush() error {
	out, _ := clean(nil, w.rest, true)
	w.rest = nil
	_, err := w.to.Write(out)
	return err
}
