// SPDX-License-Identifier: Apache-2.0

package diag

// Shift is how far a text was moved by a change of whole lines before it.
type Shift struct{ Offset, Lines int }

// Span returns where a stretch of the text is now. One that points nowhere still does.
func (by Shift) Span(s Span) Span {
	if s.IsValid() {
		s.Start.Offset += by.Offset
		s.Start.Line += by.Lines
		s.End.Offset += by.Offset
		s.End.Line += by.Lines
	}
	return s
}

// Spans calls visit for each stretch that d names, which visit may change.
func (d *Diagnostic) Spans(visit func(*Span)) {
	visit(&d.Primary)
	for i := range d.Secondary {
		visit(&d.Secondary[i].Span)
	}
	if d.Fix != nil {
		for i := range d.Fix.Edits {
			visit(&d.Fix.Edits[i].Span)
		}
	}
}
