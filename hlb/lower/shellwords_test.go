// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestSplitWords(t *testing.T) {
	for name, tc := range map[string]struct {
		line string
		want []string
	}{
		"blanks part words":                    {" a\tb \n c ", []string{"a", "b", "c"}},
		"nothing gives no words":               {" \t", nil},
		"quotes keep blanks":                   {`a 'b  c' "d e"`, []string{"a", "b  c", "d e"}},
		"quotes join with what they touch":     {`a'b 'c" d"`, []string{"ab c d"}},
		"empty quotes are a word":              {`a '' ""`, []string{"a", "", ""}},
		"a backslash escapes":                  {`a\ b \'c \\`, []string{"a b", "'c", `\`}},
		"single quotes escape nothing":         {`'a\b\'`, []string{`a\b\`}},
		"double quotes escape what is special": {`"\$a \"b\" \\ ` + "\\`" + `"`, []string{`$a "b" \ ` + "`"}},
		"other escapes in double quotes stay":  {`printf "a\n\t\'"`, []string{"printf", `a\n\t\'`}},
		"an escaped line end vanishes":         {"a\\\nb \"c\\\nd\"", []string{"ab", "cd"}},
		"nothing is expanded": {
			"$HOME ~ *.go `x` $(y)", []string{"$HOME", "~", "*.go", "`x`", "$(y)"},
		},
		"operators are text":                    {"a|b;c >d", []string{"a|b;c", ">d"}},
		"a remark begins at the start of words": {"a b#c # d\ne", []string{"a", "b#c", "e"}},
		"a quoted sign is no remark":            {`'#a' \#b ""#c`, []string{"#a", "#b", "#c"}},
		"a backslash at the end is itself":      {`a\`, []string{`a\`}},
		"letters of all scripts":                {"é 'ü ß'", []string{"é", "ü ß"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := splitWords(tc.line)
			if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
				t.Errorf("error %v, (-want +got):\n%s", err, diff)
			}
		})
	}
	for _, line := range []string{`a 'b`, `a "b`, `"a\"`} {
		if got, err := splitWords(line); err == nil {
			t.Errorf("%q gives %q, want an error", line, got)
		}
	}
}

// TestSplitWordsLikeTheShell has a real shell split lines in which nothing is expanded.
func TestSplitWordsLikeTheShell(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		line := rapid.StringMatching(`([ab#'" ]|\\[ab#'" \\]){0,12}`).Draw(t, "line")
		got, err := splitWords(line)
		out, shErr := exec.Command("/bin/sh", "-c", `p() { for w; do printf '<%s>' "$w"; done; }; p `+line).Output()
		if (err != nil) != (shErr != nil) {
			t.Fatalf("%q: error %v, the shell's is %v", line, err, shErr)
		}
		if err != nil {
			return
		}
		words := ""
		for _, w := range got {
			words += "<" + w + ">"
		}
		if diff := cmp.Diff(string(out), words); diff != "" {
			t.Fatalf("%q (-shell +got):\n%s", line, diff)
		}
	})
}
