// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// FuzzReadRecord reads any text. What is accepted is the same after being written and read again, and its replay ends
// with a decision for each request or an error.
func FuzzReadRecord(f *testing.F) {
	p := DefaultParams()
	for _, n := range []int{0, 1, 3} {
		v, requests := benchView(f, n, 100e9, 200e9)
		queue := requests[:n]
		v.Shares = NewShares()
		v.Shares.Begin("a", 100)
		var text bytes.Buffer
		if err := NewRecord(v, queue, &p, Cycle(v, queue, &p)).Write(&text); err != nil {
			f.Fatal(err)
		}
		f.Add(text.Bytes())
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := ReadRecord(bytes.NewReader(text))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := r.Write(&again); err != nil {
			t.Fatal(err)
		}
		same, err := ReadRecord(&again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, same, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("written and read again (-first +again):\n%s", diff)
		}
		if decisions, err := r.Replay(); err == nil && len(decisions) != len(r.Queue) {
			t.Fatalf("%d decisions for %d requests", len(decisions), len(r.Queue))
		}
	})
}
