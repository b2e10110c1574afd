// SPDX-License-Identifier: Apache-2.0

// Package diag holds the compiler's messages: diagnostics with a stable code, a place in the source and a
// hint, and the two ways they are shown, for a terminal and as JSON. Every pass of the compiler returns them as
// values; none prints.
package diag

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// BuiltinFile is the name of the synthetic file that holds the signatures of the builtins.
const BuiltinFile = "<builtin>"

// StdinFile is the name a module read from standard input gets.
const StdinFile = "<stdin>"

// Position is a place between two characters of a file. The zero Position means "no place".
type Position struct {
	Offset int // in bytes, from 0
	Line   int // from 1
	Column int // in runes, from 1
}

// IsValid reports whether p is a place at all.
func (p Position) IsValid() bool { return p.Line > 0 }

// Span is a stretch of one file: from Start up to, not including, End. An empty stretch (Start == End) points between
// characters.
type Span struct {
	File  string
	Start Position
	End   Position
}

// IsValid reports whether s points anywhere.
func (s Span) IsValid() bool { return s.Start.IsValid() }

// String renders the start of s as file:line:column.
func (s Span) String() string { return fmt.Sprintf("%s:%d:%d", s.File, s.Start.Line, s.Start.Column) }

// To returns the stretch from the start of s to the end of end. Both must be in one file.
func (s Span) To(end Span) Span { return Span{File: s.File, Start: s.Start, End: end.End} }

// LabelledSpan is a further place that explains a diagnostic, such as the definition of the name it is about.
type LabelledSpan struct {
	Span    Span
	Message string // a few words, such as "first defined here"
}

// Severity separates errors, which refuse the program, from advice.
type Severity uint8

const (
	// Error refuses the program.
	Error Severity = iota
	// Warning is advice; the program still compiles.
	Warning
)

// String returns "error" or "warning".
func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// Diagnostic is one finding. It is an error value, so a single one can be returned where an error is wanted.
type Diagnostic struct {
	Severity  Severity
	Code      Code
	Message   string         // one line, lower case, no full stop
	Hint      string         // what to do about it; empty if there is nothing to say
	Primary   Span           // what is wrong
	Secondary []LabelledSpan // where the things it talks about come from, possibly in other files
	Fix       *Fix           // what the hint says as a change of the source; nil where nothing can be changed for sure
}

// Fix is a change of sources that editors offer.
type Fix struct {
	Title string // what it does, in the imperative
	Edits []Edit
}

// Edit replaces a stretch of a source; an empty stretch is an insertion.
type Edit struct {
	Span Span
	Text string
}

// Errorf returns an error diagnostic at span.
func Errorf(code Code, span Span, format string, args ...any) *Diagnostic {
	return &Diagnostic{Code: code, Primary: span, Message: fmt.Sprintf(format, args...)}
}

// Warningf returns a warning at span.
func Warningf(code Code, span Span, format string, args ...any) *Diagnostic {
	return &Diagnostic{Severity: Warning, Code: code, Primary: span, Message: fmt.Sprintf(format, args...)}
}

// WithHint sets the hint and returns d.
func (d *Diagnostic) WithHint(format string, args ...any) *Diagnostic {
	d.Hint = fmt.Sprintf(format, args...)
	return d
}

// WithFix offers to replace span by text, and returns d.
func (d *Diagnostic) WithFix(span Span, text, format string, args ...any) *Diagnostic {
	d.Fix = &Fix{Title: fmt.Sprintf(format, args...), Edits: []Edit{{Span: span, Text: text}}}
	return d
}

// WithLabel adds a secondary span, unless span points nowhere, and returns d.
func (d *Diagnostic) WithLabel(span Span, format string, args ...any) *Diagnostic {
	if span.IsValid() {
		d.Secondary = append(d.Secondary, LabelledSpan{Span: span, Message: fmt.Sprintf(format, args...)})
	}
	return d
}

// Error renders d in one line: file:line:column: CODE: message (hint).
func (d *Diagnostic) Error() string {
	var b strings.Builder
	if d.Primary.IsValid() {
		b.WriteString(d.Primary.String() + ": ")
	}
	b.WriteString(string(d.Code) + ": " + d.Message)
	if d.Hint != "" {
		b.WriteString(" (" + d.Hint + ")")
	}
	return b.String()
}

// List is any number of diagnostics. As an error it stands for all of them; use Err to get nil for a list without
// errors.
type List []*Diagnostic

// Error renders one diagnostic a line.
func (l List) Error() string {
	lines := make([]string, len(l))
	for i, d := range l {
		lines[i] = d.Error()
	}
	return strings.Join(lines, "\n")
}

// ListOf returns the diagnostics of an error that stopped a pass. An error of another kind becomes an Internal one.
func ListOf(err error) List {
	var list List
	if errors.As(err, &list) {
		return list
	}
	var d *Diagnostic
	if errors.As(err, &d) {
		return List{d}
	}
	return List{Errorf(Internal, Span{}, "%v", err)}
}

// Unwrap gives errors.As and errors.Is access to each diagnostic.
func (l List) Unwrap() []error {
	errs := make([]error, len(l))
	for i, d := range l {
		errs[i] = d
	}
	return errs
}

// HasErrors reports whether any diagnostic of l refuses the program.
func (l List) HasErrors() bool {
	return slices.ContainsFunc(l, func(d *Diagnostic) bool { return d.Severity == Error })
}

// Err returns l as an error if it has errors, else nil. Warnings alone are no error.
func (l List) Err() error {
	if !l.HasErrors() {
		return nil
	}
	return l
}

// Sort orders l by file, place, code and message, so that equal findings are always shown in equal order. Diagnostics
// of the file named first in l stay before those of other files.
func (l List) Sort() {
	if len(l) < 2 {
		return
	}
	rank := map[string]int{}
	for _, d := range l {
		if _, seen := rank[d.Primary.File]; !seen {
			rank[d.Primary.File] = len(rank)
		}
	}
	slices.SortStableFunc(l, func(a, b *Diagnostic) int {
		return cmp.Or(
			cmp.Compare(rank[a.Primary.File], rank[b.Primary.File]),
			cmp.Compare(a.Primary.Start.Offset, b.Primary.Start.Offset),
			cmp.Compare(a.Code, b.Code),
			cmp.Compare(a.Message, b.Message),
		)
	})
}
