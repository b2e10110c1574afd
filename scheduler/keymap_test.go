// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestKeyMapIsAMap does the same to a keyMap and a map. Few keys, many of them with one home, make sure that they are
// in each other's way.
func TestKeyMapIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var got keyMap[int]
		want := map[KeyID]*int{}
		key := rapid.Custom(func(t *rapid.T) KeyID {
			return KeyID(rapid.Uint64Range(0, 3).Draw(t, "high")<<62 | rapid.Uint64Range(0, 12).Draw(t, "low"))
		})
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			k := key.Draw(t, "key")
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0, 1:
				value := new(int)
				*value = rapid.IntRange(0, 9).Draw(t, "value")
				got.put(k, value)
				want[k] = value
			case 2, 3:
				got.remove(k)
				delete(want, k)
			case 4:
				odd := func(v *int) bool { return *v%2 == 1 }
				got.removeIf(odd)
				maps.DeleteFunc(want, func(_ KeyID, v *int) bool { return odd(v) })
			}
			if got.get(k) != want[k] || got.n != len(want) {
				t.Fatalf("%d is %v of %d keys, want %v of %d", k, got.get(k), got.n, want[k], len(want))
			}
		}
		if diff := cmp.Diff(want, maps.Collect(got.all())); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}
