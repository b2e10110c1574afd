// SPDX-License-Identifier: Apache-2.0

package plaintext

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestText(t *testing.T) {
	ones := strings.Repeat("1", 100)
	for name, tc := range map[string]struct{ in, want string }{
		"plain text":                        {"a\tb\nä 😀", "a\tb\nä 😀"},
		"colours":                           {"\x1b[1;32mok\x1b[0m \x1b[38:5:1mred\x1b[m", "ok red"},
		"a title for the window":            {"\x1b]0;owned\x07", `\x1b]0;owned\x07`},
		"a screen that is cleared":          {"\x1b[2J\x1b[H", `\x1b[2J\x1b[H`},
		"a half of a colour":                {"x\x1b[3", `x\x1b[3`},
		"an escape without an end":          {"\x1b[" + ones + "m", `\x1b[` + ones + "m"},
		"a progress bar":                    {"10%\r20%\r\ndone\r", "10%\n20%\ndone\n"},
		"NUL, backspace and delete":         {"a\x00\b\x7f", `a\x00\x08\x7f`},
		"a control character of eight bits": {"\u009b2J", `\u009b2J`},
		"the same, not as UTF-8":            {"\x9b2J", "\uFFFD2J"},
		"text from right to left":           {"a\u202eb\u2066c", `a\u202eb\u2066c`},
		"a separator of lines":              {"a\u2028b", `a\u2028b`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Text(tc.in); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// TestWritesMayBeSplit writes a text in pieces, and as one.
func TestWritesMayBeSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOf(rapid.SampledFrom([]string{
			"a", "\x1b", "[", "1", ";", "m", "\r", "\n", "\u202e", "\xe2", "\x80", "\xae", "\x00", "😀", "\x9b",
			"]0;x\x07",
		})).Draw(t, "pieces")
		var out bytes.Buffer
		w := NewWriter(&out)
		for _, p := range pieces {
			if n, err := w.Write([]byte(p)); n != len(p) || err != nil {
				t.Fatal(n, err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if want := Text(strings.Join(pieces, "")); out.String() != want {
			t.Errorf("got %q, want %q", out.String(), want)
		}
		if got := out.String(); !utf8.ValidString(got) || strings.ContainsFunc(got, mustShow) || Text(got) != got {
			t.Errorf("%q is not safe", got)
		}
	})
}
