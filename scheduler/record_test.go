// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestReplay checks that a saved round decides the same again, through its text form.
func TestReplay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, false)
		v, p := w.view(t), DefaultParams()
		v.Shares = NewShares()
		v.Shares.SetWeights(map[string]float64{"a": 3})
		v.Shares.Begin("a", 100)
		v.Shares.Begin("b", 50)
		want := Cycle(v, w.queue, &p)
		var text bytes.Buffer
		if err := NewRecord(v, w.queue, &p, want).Write(&text); err != nil {
			t.Fatal(err)
		}
		r, err := ReadRecord(&text)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.Replay()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("replayed (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(r.Decisions, got, ignorePosition); diff != "" {
			t.Fatalf("replayed against what was saved (-saved +got):\n%s", diff)
		}
	})
}

func TestReadRecordRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ text, wantError string }{
		"a field it does not know": {`{"colour": 1}`, `unknown field "colour"`},
		"parameters out of range":  {`{"params": {}}`, "read record: params: "},
		"a phase that does not exist": {
			`{"daemons": [{"phase": "Redy"}]}`, `no such phase "Redy"; known are NotReady, Ready`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ReadRecord(strings.NewReader(tc.text)); err == nil ||
				!strings.Contains(err.Error(), tc.wantError) {
				t.Errorf("error is %v, want one that says %q", err, tc.wantError)
			}
		})
	}
}

// endless is a text without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestReadRecordIsBounded(t *testing.T) {
	if _, err := ReadRecord(endless{}); err == nil || !strings.Contains(err.Error(), "more than 67108864 bytes") {
		t.Errorf("error is %v, want one about the size", err)
	}
}
