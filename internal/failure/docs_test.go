// SPDX-License-Identifier: Apache-2.0

package failure_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/internal/failure"
)

// row is a rule as docs/spec/failures.md words it.
type row struct{ Fault, Elsewhere, Next string }

func wordsOf(r failure.Rule) row {
	out := row{string(r.Class), "–", "–"}
	if r.Elsewhere {
		out.Elsewhere = "yes"
	}
	switch {
	case r.Class == failure.Program || r.Class == failure.Surroundings:
	case r.Death:
		out.Next = "at once; alone after two deaths"
	case r.Alone:
		out.Next = "alone"
	case r.Patience:
		out.Next = "after a pause"
	default:
		out.Next = "at once"
	}
	return out
}

func TestThePageHasTheTable(t *testing.T) {
	page, err := os.ReadFile("../../docs/spec/failures.md")
	if err != nil {
		t.Fatal(err)
	}
	got, want := map[string]row{}, map[string]row{}
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) == 4 && strings.HasPrefix(cells[0], "| `") {
			got[strings.Trim(cells[0], "|` ")] = row{cells[1], cells[2], strings.TrimSuffix(cells[3], " |")}
		}
	}
	for reason, rule := range failure.Rules {
		want[reason] = wordsOf(rule)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/spec/failures.md differs from the table (-table +page):\n%s", diff)
	}
}
