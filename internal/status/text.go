// SPDX-License-Identifier: Apache-2.0

package status

import (
	"unicode/utf8"

	"github.com/openllb/hlb-operator/internal/plaintext"
)

// Clip cuts s to at most limit bytes at a character's border, marking the cut with "…". What could steer a terminal
// is made visible: builds write some of it.
func Clip(s string, limit int) string {
	s = plaintext.Text(s)
	if len(s) <= limit {
		return s
	}
	cut := limit - len("…")
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// ClipHead is Clip that keeps the end of s: what matters in a log.
func ClipHead(s string, limit int) string {
	s = plaintext.Text(s)
	if len(s) <= limit {
		return s
	}
	from := len(s) - (limit - len("…"))
	for from < len(s) && !utf8.RuneStart(s[from]) {
		from++
	}
	return "…" + s[from:]
}
