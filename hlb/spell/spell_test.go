// SPDX-License-Identifier: Apache-2.0

package spell_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/spell"
)

func TestAmong(t *testing.T) {
	cases := map[string]struct {
		written string
		names   []string
		want    string
	}{
		"a missing letter":                       {"imag", []string{"run", "image"}, "image"},
		"a letter too many":                      {"iimage", []string{"image"}, "image"},
		"two swapped letters":                    {"iamge", []string{"image"}, "image"},
		"three edits are too far":                {"iamgexx", []string{"image"}, ""},
		"a swap is one edit":                     {"rnu", []string{"run"}, "run"},
		"a swap goes before two edits":           {"optoin", []string{"opt", "option"}, "option"},
		"two swaps":                              {"iamgee", []string{"image"}, "image"},
		"a swap and an edit of a short name":     {"rnm", []string{"run"}, ""},
		"of short names only one edit":           {"rum", []string{"run"}, "run"},
		"two edits of a short name are too far":  {"rmm", []string{"run"}, ""},
		"characters are counted, not bytes":      {"größe", []string{"grüsse"}, ""},
		"one character of two bytes is one edit": {"gräße", []string{"größe"}, "größe"},
		"the nearest wins":                       {"shard", []string{"shared", "share", "sharp"}, "share"},
		"of equally near ones the smaller wins":  {"cat", []string{"hat", "bat"}, "bat"},
		"the name itself is no suggestion":       {"run", []string{"run"}, ""},
		"words with little in common":            {"source", []string{"merge"}, ""},
		"no names":                               {"run", nil, ""},
		"a long name is no suggestion":           {"a", []string{"abcdefghijklmnopqrstuvwxyz"}, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if tc.want != "" {
				tc.want = "did you mean `" + tc.want + "`?"
			}
			if got := spell.Among(tc.written, tc.names).Hint(&diag.Diagnostic{}).Hint; got != tc.want {
				t.Errorf("hint %q, want %q", got, tc.want)
			}
		})
	}
}

// TestOrderDoesNotMatter: names come in the random order of maps.
func TestOrderDoesNotMatter(t *testing.T) {
	short := rapid.StringMatching(`[abé]{1,4}`)
	rapid.Check(t, func(t *rapid.T) {
		written, names := short.Draw(t, "written"), rapid.SliceOf(short).Draw(t, "names")
		want := *spell.Among(written, names)
		slices.Reverse(names)
		if got := *spell.Among(written, names); got != want {
			t.Errorf("%v in one order, %v in the other", want, got)
		}
	})
}
