// SPDX-License-Identifier: Apache-2.0

package check

import "github.com/openllb/hlb-operator/hlb/diag"

// suggestion is the nearest name considered so far; equal distances fall to the smaller name.
type suggestion struct {
	name     string
	distance int
}

// hint adds the suggestion to d, if there is one, and returns d.
func (s *suggestion) hint(d *diag.Diagnostic) *diag.Diagnostic {
	if s.name == "" {
		return d
	}
	return d.WithHint("did you mean `%s`?", s.name)
}

// afford takes n computations of a distance from what is left and reports whether there was enough. All candidates
// for a name are paid for at once, because they come in the random order of maps and the outcome must not depend on
// it.
func (c *checker) afford(n int) bool {
	if c.distances < n {
		return false
	}
	c.distances -= n
	return true
}

// consider makes candidate the suggestion for written if it is near enough and nearer than what s holds.
func (c *checker) consider(s *suggestion, written, candidate string) {
	if candidate == written {
		return
	}
	limit := 2
	if len(written) <= 3 {
		limit = 1
	}
	d := distance(written, candidate, limit)
	if d > limit {
		return
	}
	if s.name == "" || d < s.distance || d == s.distance && candidate < s.name {
		s.name, s.distance = candidate, d
	}
}

// distance counts the insertions, deletions and replacements of bytes that turn a into b (Levenshtein). Once it is
// clear that the count exceeds limit, it returns limit+1.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal, best := row[0], i
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
			best = min(best, row[j])
		}
		if best > limit {
			return limit + 1
		}
	}
	return row[len(b)]
}
