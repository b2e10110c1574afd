// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestSharing is invariant 13.
func TestSharing(t *testing.T) {
	for mode, want := range map[Sharing]struct {
		Wait float64
		Mode Mode
	}{Shared: {0, Warm}, Locked: {50, Warm}, Private: {0, Cold}} {
		t.Run(mode.String()+" key in use", func(t *testing.T) {
			v := viewOf(t, fleet(1, 4), nil)
			d := &v.Daemons[0]
			r := request("b", "app")
			r.Keys[0].Sharing = mode
			v.Ledger.Restore(r.Keys[0].ID, Copy{Daemon: d.ID, Users: 1, ReleaseAtSeconds: 50})
			d.Running, d.Busy = 1, []Busy{{EndsAtSeconds: 50, ExpectedSeconds: 60}}
			v.Recount()
			p := DefaultParams()
			got, err := Place(v, &r, &p)
			if err != nil {
				t.Fatal(err)
			}
			type brief struct {
				Wait float64
				Mode Mode
			}
			if diff := cmp.Diff(brief(want), brief{got.Chosen.Cost.WaitSeconds, got.Chosen.Mode}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	t.Run("a round starts one build of a locked key at a time", func(t *testing.T) {
		v := viewOf(t, fleet(1, 4), nil)
		p := DefaultParams()
		queue := []Request{request("a", "app"), request("b", "app")}
		for i := range queue {
			queue[i].Keys[0].Sharing = Locked
		}
		if n := len(DecideStarts(v, queue, &p)); n != 1 {
			t.Errorf("%d builds start, want 1", n)
		}
	})
}

// TestResidency is invariant 15.
func TestResidency(t *testing.T) {
	key := KeyOf("ns", "app")
	t.Run("a pending copy is given up when its time is over", func(t *testing.T) {
		l := NewLedger()
		l.Begin(key, 1, 1, 0, 50, 100)
		l.Expire(99)
		if len(l.Copies(key)) != 1 {
			t.Error("given up too early")
		}
		l.Expire(100)
		if len(l.Copies(key)) != 0 {
			t.Error("kept too long")
		}
	})
	t.Run("a failed build leaves an older copy alone", func(t *testing.T) {
		l := NewLedger()
		l.Restore(key, Copy{Daemon: 1, Epoch: 1, Version: 3})
		l.Begin(key, 1, 1, 0, 50, 100)
		l.End(key, 1, 1, 50, false, 0)
		if diff := cmp.Diff([]Copy{{Daemon: 1, Epoch: 1, Version: 3, UsedAtSeconds: 50}}, l.Copies(key)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("an end reported from an earlier volume is no copy", func(t *testing.T) {
		l := NewLedger()
		l.Begin(key, 1, 1, 0, 50, 100)
		l.Begin(key, 1, 2, 10, 60, 100)
		l.End(key, 1, 1, 50, true, 0)
		if got := l.Copies(key); len(got) != 1 || got[0].State != Pending {
			t.Errorf("copies are %+v, want one that is pending", got)
		}
	})
	t.Run("a lost ledger makes decisions, only colder ones", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			w := drawWorld(t, true)
			v, p, r := w.view(t), DefaultParams(), w.queue[0]
			_, errWith := Place(v, &r, &p)
			v.Ledger = NewLedger()
			got, err := Place(v, &r, &p)
			if (err == nil) != (errWith == nil) || err == nil && got.Action != Run {
				t.Fatalf("without a ledger: %s (%v; with it: %v)", got.String(), err, errWith)
			}
		})
	})
}

// drawDemand draws keys in demand.
func drawDemand(t *rapid.T) []Demand {
	demand := make([]Demand, rapid.IntRange(1, 30).Draw(t, "demand"))
	for i := range demand {
		demand[i] = Demand{Key: KeyOf("ns", fmt.Sprint("key-", i)),
			PerSecond: rapid.Float64Range(.0001, .1).Draw(t, "rate"), WarmSeconds: 20,
			ColdSeconds: 200, SnapshotBytes: rapid.Int64Range(1e8, 1e10).Draw(t, "bytes")}
	}
	return demand
}

// TestAnIdleFleetKnowsTheBestCopy has no build run while two keys have copies elsewhere, of which one is built ten
// times as often.
func TestAnIdleFleetKnowsTheBestCopy(t *testing.T) {
	p := DefaultParams()
	l := NewLedger()
	daemons := fleet(2, 4)
	now, err := NewView(daemons, l, 0)
	if err != nil {
		t.Fatal(err)
	}
	daemons[1].Phase = NotReady
	old, err := NewView(daemons, l, 0)
	if err != nil {
		t.Fatal(err)
	}
	var demand []Demand
	for i := 0; len(demand) < 20; i++ {
		key := KeyOf("ns", fmt.Sprint("key-", i))
		if now.Daemons[Ranks(now, key, 1)[0]].ID != daemons[1].ID {
			continue
		}
		l.Restore(key, Copy{Daemon: daemons[0].ID, Epoch: daemons[0].Epoch})
		demand = append(demand,
			Demand{Key: key, PerSecond: .001, WarmSeconds: 20, ColdSeconds: 200, SnapshotBytes: 1e9})
	}
	demand[7].PerSecond = .01
	plan := Rebalance(old, now, demand, Budget{Bytes: 1e9}, &p)
	if len(plan) != 1 || plan[0].Key != demand[7].Key {
		t.Errorf("the plan is %+v, want the key that is built most", plan)
	}
}

// TestCopiesAreForDaemonsThatBuildThem has a daemon join that is first in a key's order but builds for another
// platform than the key's.
func TestCopiesAreForDaemonsThatBuildThem(t *testing.T) {
	p := DefaultParams()
	key := KeyOf("ns", "app")
	old := viewOf(t, fleet(3, 4), nil)
	order := Ranks(old, key, 3)
	first, second := old.Daemons[order[0]].Name, old.Daemons[order[1]].Name
	old.Daemons[order[0]].Platforms = []string{"linux/arm64"}
	now := viewOf(t, old.Daemons, nil)
	old.Daemons[order[0]].Phase, old.Daemons[order[1]].Phase = NotReady, NotReady
	for platform, want := range map[string]string{"linux/arm64": first, "linux/amd64": second, "": first} {
		plan := Rebalance(old, now,
			[]Demand{{
				Key: key, Platform: platform, PerSecond: .01, WarmSeconds: 20, ColdSeconds: 200, SnapshotBytes: 1e9,
			}}, Budget{Bytes: 1e9}, &p)
		if len(plan) != 1 || plan[0].Name != want {
			t.Errorf("of a key for %q the plan is %+v, want a copy on %s", platform, plan, want)
		}
	}
}

// TestRebalance is invariants 16 and 17.
func TestRebalance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := DefaultParams()
		demand := drawDemand(t)
		b := Budget{Bytes: rapid.Int64Range(0, 1e11).Draw(t, "budget"), CoolDownSeconds: 600}
		l := NewLedger()
		n := rapid.IntRange(2, 8).Draw(t, "daemons")
		flapping := rapid.IntRange(0, n-1).Draw(t, "flapping")
		view := func(up bool) *View {
			daemons := fleet(n, 4)
			if !up {
				daemons[flapping].Phase = NotReady
			}
			v, err := NewView(daemons, l, 0)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		if plan := Rebalance(view(true), view(true), demand, b, &p); len(plan) > 0 {
			t.Fatalf("nothing changed, yet the plan is %v", plan)
		}
		rare := b
		rare.MinPerSecond = 1 // more often than any is drawn
		if plan := Rebalance(view(true), view(false), demand, rare, &p); len(plan) > 0 {
			t.Fatalf("no key is built often enough, yet the plan is %v", plan)
		}
		primed := map[string]int{}
		up := true
		for range rapid.IntRange(1, 6).Draw(t, "flaps") {
			plan := Rebalance(view(up), view(!up), demand, b, &p)
			up = !up
			sum := int64(0)
			for _, c := range plan {
				sum += c.Bytes
				primed[fmt.Sprint(c.Key, c.Daemon)]++
				l.Restore(c.Key, Copy{Daemon: c.Daemon, Version: l.Version(c.Key)})
			}
			if sum > b.Bytes {
				t.Fatalf("the plan pulls %d bytes with a budget of %d", sum, b.Bytes)
			}
		}
		for what, times := range primed {
			if times > 1 {
				t.Fatalf("flapping primes %s %d times", what, times)
			}
		}
	})
}

// TestLocality is invariant 19: copies of keys that a build does not use do not matter to it.
func TestLocality(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, false)
		p, r := DefaultParams(), w.queue[0]
		want, _ := Place(w.view(t), &r, &p)
		w.copies = slices.DeleteFunc(w.copies, func(h heldCopy) bool {
			return !slices.ContainsFunc(r.Keys, func(k KeyUse) bool { return k.ID == h.key })
		})
		got, _ := Place(w.view(t), &r, &p)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("without other keys' copies (-want +got):\n%s", diff)
		}
	})
}

// TestCandidatesFollow checks that remembered orders equal those worked out anew, through any changes of the fleet.
func TestCandidatesFollow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := NewRankCache()
		all := fleet(14, 1)
		for range rapid.IntRange(1, 5).Draw(t, "changes") {
			w := world{}
			for i := range all {
				if rapid.IntRange(0, 3).Draw(t, "member") > 0 {
					d := all[i]
					d.Weight = rapid.SampledFrom([]uint32{1000, 1000, 1000, 300}).Draw(t, "weight")
					w.daemons = append(w.daemons, d)
				}
			}
			v := w.view(t)
			c.Follow(v)
			for k := range 8 {
				key := KeyOf("ns", fmt.Sprint(k))
				c.Learn(v, key)
				var want ranks
				v.ranking.top(key, maxRanks, &want)
				if diff := cmp.Diff(want.of[:want.n], c.ranks.get(key).of[:c.ranks.get(key).n],
					cmp.AllowUnexported(ranked{})); diff != "" {
					t.Fatalf("(-want +got):\n%s", diff)
				}
			}
		}
	})
}

// TestCandidatesChangeNothing checks that remembering orders only saves time.
func TestCandidatesChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, false)
		p := DefaultParams()
		want := Cycle(w.view(t), w.queue, &p)
		v := w.view(t)
		c := NewRankCache()
		c.Follow(v)
		for i := range w.queue {
			c.Learn(v, w.queue[i].Keys[0].ID)
		}
		if diff := cmp.Diff(want, Cycle(v, w.queue, &p)); diff != "" {
			t.Fatalf("with remembered candidates (-without +with):\n%s", diff)
		}
	})
}

// TestPlaceAllocatesNothing is invariant 20.
func TestPlaceAllocatesNothing(t *testing.T) {
	for name, volumes := range map[string][]int64{"equal volumes": {100e9}, "two sizes": {100e9, 200e9}} {
		t.Run(name, func(t *testing.T) {
			v, requests := benchView(t, 100, volumes...)
			p := DefaultParams()
			i := 0
			if n := testing.AllocsPerRun(1000, func() {
				_, _ = Place(v, &requests[i%len(requests)], &p)
				i++
			}); n != 0 {
				t.Errorf("%.1f allocations a placement, want 0", n)
			}
		})
	}
}
