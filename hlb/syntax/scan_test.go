// SPDX-License-Identifier: Apache-2.0

package syntax_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/openllb/hlb-operator/hlb/syntax"
	"github.com/openllb/hlb-operator/test/kit/hlbtest"
)

// TestScanLeavesOutBlanksOnly: tokens follow one another, and nothing but blanks, and the line feed that a comment
// takes with it, stands between them.
func TestScanLeavesOutBlanksOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src := hlbtest.Module(t)
		if rapid.Bool().Draw(t, "soup") {
			src = strings.ToValidUTF8(hlbtest.Soup(t), "?")
		}
		at := 0
		for _, tok := range syntax.Scan([]byte(src), syntax.Limits{}) {
			if tok.Start.Offset < at || tok.End.Offset <= tok.Start.Offset {
				t.Fatalf("%v follows offset %d", tok, at)
			}
			if gap := strings.Trim(src[at:tok.Start.Offset], " \t\r\n"); gap != "" {
				t.Fatalf("%q is in no token", gap)
			}
			at = tok.End.Offset
		}
		if rest := strings.Trim(src[at:], " \t\r\n"); rest != "" {
			t.Fatalf("%q is in no token", rest)
		}
	})
}

func TestScanOfTooLongASource(t *testing.T) {
	if tokens := syntax.Scan([]byte("fs a() {}"), syntax.Limits{MaxBytes: 4}); len(tokens) > 0 {
		t.Errorf("%v", tokens)
	}
}
