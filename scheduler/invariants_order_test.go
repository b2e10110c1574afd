// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestRendezvousIsMinimal is invariant 2: without a daemon, the order of every key is the same with that daemon left
// out.
func TestRendezvousIsMinimal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		daemons := fleet(rapid.IntRange(2, 9).Draw(t, "daemons"), 1)
		for i := range daemons {
			daemons[i].Weight = rapid.SampledFrom([]uint32{1000, 1000, 250}).Draw(t, "weight")
		}
		leaver := rapid.IntRange(0, len(daemons)-1).Draw(t, "leaver")
		key := KeyID(rapid.Uint64().Draw(t, "key"))
		w := world{daemons: daemons}
		want := slices.DeleteFunc(rankNames(w.view(t), key, 9), func(n string) bool {
			return n == daemons[leaver].Name
		})
		w.daemons = slices.Delete(slices.Clone(daemons), leaver, leaver+1)
		if len(want) > 7 {
			want = want[:7]
		}
		if diff := cmp.Diff(want, rankNames(w.view(t), key, len(want))); diff != "" {
			t.Fatalf("order without %s (-want +got):\n%s", daemons[leaver].Name, diff)
		}
	})
}

// TestMovedKeys is invariant 3: one change among n daemons moves a share of 1/n of the keys, within four standard
// deviations, and only to or from the daemon that changed.
func TestMovedKeys(t *testing.T) {
	const keys = 20000
	for _, n := range []int{3, 10, 100} {
		with, without := viewOf(t, fleet(n, 1), nil), viewOf(t, fleet(n, 1)[:n-1], nil)
		moved := 0
		for k := range keys {
			key := KeyOf("ns", fmt.Sprint(k))
			a, b := rankNames(with, key, 1)[0], rankNames(without, key, 1)[0]
			if a != b {
				moved++
				if a != fleet(n, 1)[n-1].Name {
					t.Fatalf("key %d moves from %s to %s, which both stay", k, a, b)
				}
			}
		}
		expected := float64(keys) / float64(n)
		if math.Abs(float64(moved)-expected) > 4*math.Sqrt(expected) {
			t.Errorf("%d of %d keys move when one of %d daemons leaves, want %.0f", moved, keys, n, expected)
		}
	}
}

// TestWeights is invariant 4: homes are shared by weight, and a raised weight only attracts.
func TestWeights(t *testing.T) {
	const keys = 20000
	daemons := fleet(6, 1)
	daemons[0].Weight, daemons[1].Weight = 500, 2000
	v := viewOf(t, daemons, nil)
	daemons[2].Weight = 1500
	raised := viewOf(t, daemons, nil)
	count := map[string]int{}
	for k := range keys {
		key := KeyOf("ns", fmt.Sprint(k))
		a, b := rankNames(v, key, 1)[0], rankNames(raised, key, 1)[0]
		count[a]++
		if a != b && b != "builds-2" {
			t.Fatalf("raising builds-2 moves a key from %s to %s", a, b)
		}
	}
	for name, weight := range map[string]float64{"builds-0": .5, "builds-1": 2, "builds-2": 1, "builds-5": 1} {
		want := weight / 6.5 * keys
		if math.Abs(float64(count[name])-want) > 4*math.Sqrt(want) {
			t.Errorf("%s is home of %d keys, want about %.0f", name, count[name], want)
		}
	}
}

// TestAWaitHasAnEnd is the bound on waiting: below StayLoad, a build that could start elsewhere does not wait longer in
// all than WaitFactor × what that costs more. From its arrival on it is decided again and again while its daemon stays
// as far from a free slot as it was.
func TestAWaitHasAnEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, false)
		p := DefaultParams()
		r := w.queue[0]
		w.queue = w.queue[:1]
		waitedUntil, bound := -1.0, 0.0
		for age := 0.0; age < 1e5; age = age*1.1 + 1 {
			r.AgeSeconds = age
			v := w.view(t)
			d, _ := Place(v, &r, &p)
			if d.Action != Wait || !d.RunnerUp.Exists() || v.Load() >= p.StayLoad {
				return // it starts, or can start nowhere else
			}
			other := &d.RunnerUp
			if other.Cost.WaitSeconds > 0 {
				return // nor is the next best daemon free
			}
			waitedUntil = age + d.Chosen.Cost.WaitSeconds
			bound = p.WaitFactor * (other.Cost.Total() - d.Chosen.Cost.Total() + d.Chosen.Cost.WaitSeconds)
			if waitedUntil > bound+1e-6 {
				t.Fatalf("at the age of %.1fs it waits %.1fs more for %s although %s is free: %.1fs in all, want at most %.1fs",
					age, d.Chosen.Cost.WaitSeconds, d.Chosen.Name, other.Name, waitedUntil, bound)
			}
		}
		t.Fatalf("it waits for ever: %.0fs, with a bound of %.0fs", waitedUntil, bound)
	})
}
