// SPDX-License-Identifier: Apache-2.0

// Package spell suggests the name that a misspelt one was probably meant to be.
package spell

import (
	"unicode/utf8"

	"github.com/openllb/hlb-operator/hlb/diag"
)

// Nearest is the nearest of the names considered so far. Of equally near names it is the smaller one, so that the order
// of Consider does not matter. The zero value is ready for use.
type Nearest struct {
	name     string // "" when no name is near
	distance int
}

// Among returns the nearest of names.
func Among(written string, names []string) *Nearest {
	n := &Nearest{}
	for _, name := range names {
		n.Consider(written, name)
	}
	return n
}

// Consider takes a name into account that written may have been meant to be. A name is near if two edits turn written
// into it, or one where written has at most three characters: insertions, deletions and replacements of characters, and
// swaps of neighbours. written itself is not.
func (n *Nearest) Consider(written, name string) {
	limit := 2
	if utf8.RuneCountInString(written) <= 3 {
		limit = 1
	}
	if size := len(name) - len(written); written == name || max(size, -size) > limit*utf8.UTFMax {
		return // an edit changes no more bytes than a character has
	}
	d := distance([]rune(written), []rune(name), limit)
	if d > limit {
		return
	}
	if n.name == "" || d < n.distance || d == n.distance && name < n.name {
		n.name, n.distance = name, d
	}
}

// Found reports whether a name was near.
func (n *Nearest) Found() bool { return n.name != "" }

// Hint adds the nearest name to d, if there is one, and returns d.
func (n *Nearest) Hint(d *diag.Diagnostic) *diag.Diagnostic {
	if n.name == "" {
		return d
	}
	return d.WithHint("did you mean `%s`?", n.name)
}

// Replace adds the nearest name to d, if there is one, and offers to write it in place of what d is about.
func (n *Nearest) Replace(d *diag.Diagnostic) *diag.Diagnostic {
	if n.name == "" {
		return d
	}
	return n.Hint(d).WithFix(d.Primary, n.name, "Change to `%s`", n.name)
}

// distance counts the insertions, deletions, replacements and swaps of neighbours that turn a into b, with no character
// edited twice (optimal string alignment). Once it is clear that the count exceeds limit, it returns limit+1. It is
// written by hand because agext/levenshtein v1.2.3, with a limit of 2, finds one edit between "source" and "merge", and
// takes quadratic time without a limit.
func distance(a, b []rune, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	above, row, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range a {
		next[0] = i + 1
		best := next[0]
		for j := range b {
			cost := row[j]
			if a[i] != b[j] {
				cost++
			}
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				cost = min(cost, above[j-1]+1)
			}
			next[j+1] = min(cost, row[j+1]+1, next[j]+1)
			best = min(best, next[j+1])
		}
		if best > limit {
			return limit + 1 // a swap from the row above costs one more than that row
		}
		above, row, next = row, next, above
	}
	return row[len(b)]
}
