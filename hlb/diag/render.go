// SPDX-License-Identifier: Apache-2.0

package diag

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Renderer shows diagnostics to a person: the message, then each source line they are about with the place
// underlined, `^` for what is wrong and `-` for what explains it.
type Renderer struct {
	// Source returns the text of a file, or nil if there is none; such places are shown without their line. It may be
	// nil.
	Source func(file string) []byte
	// Color adds ANSI colors.
	Color bool
}

// ANSI sequences for the two severities, secondary marks and resets.
const (
	ansiRed    = "\x1b[1;31m"
	ansiYellow = "\x1b[1;33m"
	ansiBlue   = "\x1b[1;34m"
	ansiBold   = "\x1b[1m"
	ansiReset  = "\x1b[0m"
)

// Render writes all diagnostics of l, with an empty line between them.
func (r Renderer) Render(w io.Writer, l List) error {
	lines := map[string][]string{}
	for i, d := range l {
		text := r.diagnostic(d, lines)
		if i > 0 {
			text = "\n" + text
		}
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
	}
	return nil
}

// mark is one underlined place.
type mark struct {
	span    Span
	message string
	primary bool
}

func (r Renderer) diagnostic(d *Diagnostic, cache map[string][]string) string {
	var b strings.Builder
	color := ansiRed
	if d.Severity == Warning {
		color = ansiYellow
	}
	b.WriteString(r.paint(color, fmt.Sprintf("%s[%s]", d.Severity, d.Code)))
	b.WriteString(r.paint(ansiBold, ": "+oneLine(d.Message)) + "\n")
	for i, group := range marksByFile(d) {
		arrow := "-->"
		if i > 0 {
			arrow = ":::"
		}
		fmt.Fprintf(&b, " %s %s\n", r.paint(ansiBlue, arrow), group[0].span)
		r.excerpt(&b, group, r.linesOf(group[0].span.File, cache), color)
	}
	if d.Hint != "" {
		fmt.Fprintf(&b, " %s %s\n", r.paint(ansiBlue, "hint:"), oneLine(d.Hint))
	}
	return b.String()
}

// marksByFile returns the places of d, those of the primary file first, then of the others by name. Within a file the
// first mark is the one to name in the heading; the others follow in source order.
func marksByFile(d *Diagnostic) [][]mark {
	var marks []mark
	if d.Primary.IsValid() {
		marks = append(marks, mark{span: d.Primary, primary: true})
	}
	for _, s := range d.Secondary {
		marks = append(marks, mark{span: s.Span, message: s.Message})
	}
	home := d.Primary.File
	slices.SortStableFunc(marks, func(a, b mark) int {
		return cmp.Or(
			-boolCompare(a.span.File == home, b.span.File == home),
			strings.Compare(a.span.File, b.span.File),
			-boolCompare(a.primary, b.primary),
			cmp.Compare(a.span.Start.Offset, b.span.Start.Offset),
		)
	})
	var groups [][]mark
	for i, m := range marks {
		if i == 0 || m.span.File != marks[i-1].span.File {
			groups = append(groups, nil)
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], m)
	}
	return groups
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}

func (r Renderer) linesOf(file string, cache map[string][]string) []string {
	if lines, ok := cache[file]; ok || r.Source == nil {
		return lines
	}
	var lines []string
	if text := r.Source(file); text != nil {
		lines = strings.Split(strings.TrimPrefix(string(text), "\uFEFF"), "\n")
	}
	cache[file] = lines
	return lines
}

// excerpt shows the lines of marks, with "..." where lines between them are left out.
func (r Renderer) excerpt(b *strings.Builder, marks []mark, lines []string, color string) {
	marks = slices.Clone(marks)
	slices.SortStableFunc(marks, func(a, c mark) int { return cmp.Compare(a.span.Start.Offset, c.span.Start.Offset) })
	width := 1
	for _, m := range marks {
		width = max(width, len(fmt.Sprint(m.span.Start.Line)))
	}
	gutter := r.paint(ansiBlue, strings.Repeat(" ", width)+" |")
	last := 0
	for _, m := range marks {
		n := m.span.Start.Line
		if n > len(lines) {
			continue
		}
		if last > 0 && n > last+1 {
			b.WriteString(r.paint(ansiBlue, "...") + "\n")
		}
		line := strings.TrimRight(lines[n-1], "\r")
		if n != last {
			fmt.Fprintf(
				b,
				"%s %s\n",
				r.paint(ansiBlue, fmt.Sprintf("%*d |", width, n)),
				strings.ReplaceAll(line, "\t", "    "),
			)
		}
		last = n
		under, hue := "-", ansiBlue
		if m.primary {
			under, hue = "^", color
		}
		indent, length := underline(line, m.span)
		text := strings.Repeat(under, length)
		if m.message != "" {
			text += " " + oneLine(m.message)
		}
		fmt.Fprintf(b, "%s %s%s\n", gutter, strings.Repeat(" ", indent), r.paint(hue, text))
	}
}

// underline returns where the mark of span begins below line, and how long it is. Tabs are shown as four columns. A
// span that goes on behind the line is marked up to its end.
func underline(line string, span Span) (indent, length int) {
	column := 1
	end := span.End.Column
	if span.End.Line > span.Start.Line {
		end = int(^uint(0) >> 1)
	}
	for _, c := range line {
		w := 1
		if c == '\t' {
			w = 4
		}
		switch {
		case column < span.Start.Column:
			indent += w
		case column < end:
			length += w
		}
		column++
	}
	return indent, max(length, 1)
}

func (r Renderer) paint(color, text string) string {
	if !r.Color {
		return text
	}
	return color + text + ansiReset
}

// oneLine keeps what a program put into a message from breaking the layout or the terminal.
func oneLine(text string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, text)
}
