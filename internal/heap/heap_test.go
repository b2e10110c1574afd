// SPDX-License-Identifier: Apache-2.0

package heap_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/openllb/hlb-operator/internal/heap"
)

// TestPopIsTheFirst compares a heap with a sorted slice.
func TestPopIsTheFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := heap.New(func(a, b int) bool { return a < b })
		var want []int
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			if len(want) > 0 && rapid.IntRange(0, 2).Draw(t, "what") == 0 {
				if peek, pop := h.Peek(), h.Pop(); peek != want[0] || pop != want[0] {
					t.Fatalf("peek %d, pop %d, want %d", peek, pop, want[0])
				}
				want = want[1:]
			} else {
				x := rapid.IntRange(0, 20).Draw(t, "value")
				h.Push(x)
				want = append(want, x)
				slices.Sort(want)
			}
			if h.Len() != len(want) {
				t.Fatalf("length %d, want %d", h.Len(), len(want))
			}
		}
		var got []int
		for h.Len() > 0 {
			got = append(got, h.Pop())
		}
		if diff := cmp.Diff(want, got); len(want) > 0 && diff != "" {
			t.Fatalf("rest (-want +got):\n%s", diff)
		}
	})
}
