// SPDX-License-Identifier: Apache-2.0

package ast

import "strings"

// Literal is a value written out: *IntLit, *BoolLit, *StringLit, *RawStringLit or *HeredocLit.
type Literal interface {
	Expr
	// Kind is the kind of the value.
	Kind() Kind
}

// IntLit is a whole number. Text is how it was written, such as "0o644".
type IntLit struct {
	At
	Value int64
	Text  string
}

// BoolLit is true or false.
type BoolLit struct {
	At
	Value bool
}

// StringLit is a double-quoted string. Its value is the values of its parts, joined.
type StringLit struct {
	At
	Parts []Part
}

// RawStringLit is a string in backticks; Text is its value.
type RawStringLit struct {
	At
	Text string
}

// HeredocLit is a heredoc. Its value is Mode.Apply of the joined values of its parts.
type HeredocLit struct {
	At
	Mode  HeredocMode
	Raw   bool // the tag was written in backticks: one Text part at most, nothing is interpolated
	Tag   string
	Parts []Part
}

// Part is a piece of a string or heredoc: *Text or *Interp.
type Part interface {
	Node
	part()
}

// Text is literal text. No two Text parts follow one another.
type Text struct {
	At
	Source string // as written
	Value  string // with escapes decoded
}

// Interp is `${ Value }`; it renders as text, a number in decimal, or true/false.
type Interp struct {
	At
	Value Expr // of kind string, int or bool
}

// Kind is Int.
func (*IntLit) Kind() Kind { return Int }

// Kind is Bool.
func (*BoolLit) Kind() Kind { return Bool }

// Kind is String.
func (*StringLit) Kind() Kind { return String }

// Kind is String.
func (*RawStringLit) Kind() Kind { return String }

// Kind is String.
func (*HeredocLit) Kind() Kind { return String }

func (*IntLit) expr()       {}
func (*BoolLit) expr()      {}
func (*StringLit) expr()    {}
func (*RawStringLit) expr() {}
func (*HeredocLit) expr()   {}

func (*Text) part()   {}
func (*Interp) part() {}

// ConstText returns the value of a string literal, raw string or heredoc that interpolates nothing. ok is false for
// anything else, including nil.
func ConstText(e Expr) (value string, ok bool) {
	switch e := e.(type) {
	case *StringLit:
		return constParts(e.Parts)
	case *RawStringLit:
		return e.Text, true
	case *HeredocLit:
		raw, ok := constParts(e.Parts)
		return e.Mode.Apply(raw), ok
	}
	return "", false
}

func constParts(parts []Part) (string, bool) {
	switch len(parts) {
	case 0:
		return "", true
	case 1:
		if t, ok := parts[0].(*Text); ok {
			return t.Value, true
		}
	}
	return "", false // two parts or more: one of them interpolates
}

// HeredocMode says what becomes of the indentation of a heredoc.
type HeredocMode byte

// The modes, named by what stands between "<<" and the tag.
const (
	HeredocKeep   HeredocMode = 0
	HeredocDedent HeredocMode = '-'
	HeredocFold   HeredocMode = '~'
)

// Apply turns the text between the tags, with everything interpolated, into the value of the heredoc.
func (m HeredocMode) Apply(raw string) string {
	text := strings.TrimRight(strings.TrimLeft(raw, "\n"), "\n\t")
	switch m {
	case HeredocDedent:
		return dedent(text)
	case HeredocFold:
		return fold(text)
	default:
		return text
	}
}

// dedent removes the indentation that all lines share. Blank lines become empty and don't count. Where two
// indentations differ and neither begins with the other, nothing is shared: a mix of tabs and spaces must not be cut
// somewhere in its middle.
func dedent(text string) string {
	lines := strings.Split(text, "\n")
	margin, found := "", false
	for i, line := range lines {
		rest := strings.TrimLeft(line, " \t")
		if rest == "" {
			lines[i] = ""
			continue
		}
		indent := line[:len(line)-len(rest)]
		switch {
		case !found:
			margin, found = indent, true
		case strings.HasPrefix(indent, margin):
		case strings.HasPrefix(margin, indent):
			margin = indent
		default:
			margin = ""
		}
	}
	for i, line := range lines {
		lines[i] = strings.TrimPrefix(line, margin)
	}
	return strings.Join(lines, "\n")
}

// fold joins all lines by one space each; an empty line therefore leaves two.
func fold(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return strings.Join(lines, " ")
}
