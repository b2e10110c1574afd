// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"sort"
	"unicode/utf8"

	"go.lsp.dev/protocol"

	"github.com/openllb/hlb-operator/hlb/diag"
)

// lines converts between offsets in bytes and the positions of the protocol: lines and columns from 0, columns in
// UTF-16 code units unless the client prefers bytes.
type lines struct {
	text  []byte
	start []int // of each line
	utf8  bool
}

func newLines(text []byte, utf8 bool) *lines {
	l := &lines{text: text, start: []int{0}, utf8: utf8}
	for i, c := range text {
		if c == '\n' {
			l.start = append(l.start, i+1)
		}
	}
	return l
}

// position returns the position of an offset; one behind the end is the end.
func (l *lines) position(offset int) protocol.Position {
	return new(walker{lines: l}).position(offset)
}

// span returns the range of a span of this text.
func (l *lines) span(s diag.Span) protocol.Range {
	return protocol.Range{Start: l.position(s.Start.Offset), End: l.position(s.End.Offset)}
}

// offset returns the offset of a position. A column behind the end of a line is its end, a line behind the last one is
// the end of the text.
func (l *lines) offset(p protocol.Position) int {
	if int(p.Line) >= len(l.start) {
		return len(l.text)
	}
	at, end := l.start[p.Line], len(l.text)
	if int(p.Line)+1 < len(l.start) {
		end = l.start[p.Line+1] - 1 // before the line feed
	}
	for column := 0; at < end && column < int(p.Character); {
		r, n := utf8.DecodeRune(l.text[at:end])
		column += l.width(r, n)
		at += n
	}
	return at
}

// width is how many columns a character of n bytes has.
func (l *lines) width(r rune, n int) int {
	switch {
	case l.utf8:
		return n
	case r > 0xFFFF:
		return 2 // a pair of surrogates
	default:
		return 1
	}
}

// walker converts offsets that mostly grow, each in the time since the one before it.
type walker struct {
	*lines
	line, at, column int
}

func (w *walker) position(offset int) protocol.Position {
	offset = min(offset, len(w.text))
	if offset < w.at || w.line+1 < len(w.start) && offset >= w.start[w.line+1] {
		w.line = sort.SearchInts(w.start, offset+1) - 1
		w.at, w.column = w.start[w.line], 0
	}
	for w.at < offset {
		r, n := utf8.DecodeRune(w.text[w.at:])
		w.column += w.width(r, n)
		w.at += n
	}
	return protocol.Position{Line: uint32(w.line), Character: uint32(w.column)}
}
