// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// ignorePosition leaves out what depends on the order of a view's slice.
var ignorePosition = cmpopts.IgnoreFields(Option{}, "At")

// world is a drawn fleet, ledger content and queue. Ledger entries are kept as a list so that they can be put down in
// any order.
type world struct {
	daemons []Daemon
	copies  []heldCopy
	queue   []Request
}

type heldCopy struct {
	key  KeyID
	copy Copy
}

// view builds the world's view.
func (w *world) view(t *rapid.T) *View {
	l := NewLedger()
	for _, h := range w.copies {
		l.Restore(h.key, h.copy)
	}
	v, err := NewView(w.daemons, l, 1000)
	if err != nil {
		t.Fatal(err)
	}
	v.Queued = len(w.queue)
	return v
}

// drawWorld draws up to ten daemons in all phases, up to six keys, up to eight requests. quiet worlds have only Ready
// daemons of one platform.
func drawWorld(t *rapid.T, quiet bool) *world {
	w := &world{daemons: fleet(rapid.IntRange(1, 10).Draw(t, "daemons"), 0)}
	for i := range w.daemons {
		drawDaemon(t, &w.daemons[i], quiet)
	}
	keys := make([]KeyID, rapid.IntRange(1, 6).Draw(t, "keys"))
	for k := range keys {
		keys[k] = KeyOf("ns", fmt.Sprint("key-", k))
		for i := range w.daemons {
			if rapid.IntRange(0, 3).Draw(t, "held") == 0 {
				c := Copy{Daemon: w.daemons[i].ID, Epoch: w.daemons[i].Epoch,
					Version: rapid.Uint32Range(0, 20).Draw(t, "version")}
				if !quiet && rapid.IntRange(0, 5).Draw(t, "old volume") == 0 {
					c.Epoch++
				}
				w.copies = append(w.copies, heldCopy{keys[k], c})
			}
		}
	}
	for i := range rapid.IntRange(1, 8).Draw(t, "requests") {
		w.queue = append(w.queue, drawRequest(t, i, keys, quiet))
	}
	return w
}

func drawDaemon(t *rapid.T, d *Daemon, quiet bool) {
	d.Slots = rapid.Int32Range(1, 4).Draw(t, "slots")
	d.Epoch = Epoch(rapid.Uint64Range(1, 3).Draw(t, "epoch"))
	d.Phase = Ready
	if !quiet {
		d.Phase = rapid.SampledFrom([]Phase{Ready, Ready, Ready, NotReady, Cordoned, Draining, Dormant, Gone}).
			Draw(t, "phase")
		if rapid.Bool().Draw(t, "expected back") {
			d.Return = Busy{rapid.Float64Range(700, 1100).Draw(t, "back at"), rapid.Float64Range(1, 90).Draw(t, "away")}
		}
		d.Platforms = rapid.SampledFrom([][]string{nil, {"linux/amd64"}, {"linux/arm64"}}).Draw(t, "platforms")
		d.Weight = rapid.SampledFrom([]uint32{1000, 100}).Draw(t, "weight")
	}
	for range rapid.Int32Range(0, d.Slots).Draw(t, "running") {
		expected := rapid.Float64Range(1, 600).Draw(t, "expected")
		d.Running++
		d.Busy = append(d.Busy,
			Busy{EndsAtSeconds: 1000 + expected*rapid.Float64Range(-.2, 1).Draw(t, "rest"), ExpectedSeconds: expected})
	}
}

func drawRequest(t *rapid.T, i int, keys []KeyID, quiet bool) Request {
	r := Request{UID: fmt.Sprint("build-", i), WarmSeconds: rapid.Float64Range(1, 200).Draw(t, "warm"),
		Queue: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "queue")}
	r.ColdSeconds = r.WarmSeconds * rapid.Float64Range(1.2, 10).Draw(t, "ratio")
	r.Keys = []KeyUse{{ID: rapid.SampledFrom(keys).Draw(t, "key"), Gain: 1}}
	if quiet {
		return r
	}
	r.AgeSeconds = rapid.Float64Range(0, 3000).Draw(t, "age")
	r.Priority = rapid.Int32Range(0, 1).Draw(t, "priority")
	r.Platform = rapid.SampledFrom([]string{"", "linux/amd64"}).Draw(t, "platform")
	if second := rapid.SampledFrom(keys).Draw(t, "second key"); second != r.Keys[0].ID &&
		rapid.Bool().Draw(t, "two keys") {
		r.Keys = append(r.Keys, KeyUse{ID: second, Gain: .5, SnapshotBytes: 1e9, SnapshotFresh: 1})
	}
	return r
}

// TestDeterminism is invariant 1: nothing depends on the order in which facts are given.
func TestDeterminism(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, false)
		p := DefaultParams()
		want := Cycle(w.view(t), w.queue, &p)
		other := &world{daemons: rapid.Permutation(w.daemons).Draw(t, "daemons"),
			copies: rapid.Permutation(w.copies).Draw(t, "copies"),
			queue:  rapid.Permutation(w.queue).Draw(t, "queue")}
		got := Cycle(other.view(t), other.queue, &p)
		byUID := func(a, b Decision) bool { return a.UID < b.UID }
		if diff := cmp.Diff(want, got, ignorePosition, cmpopts.SortSlices(byUID)); diff != "" {
			t.Fatalf("another order of the same facts (-want +got):\n%s", diff)
		}
	})
}

// TestAffinity is invariant 5: a free daemon with the newest copy gets the build.
func TestAffinity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, true)
		v, p, r := w.view(t), DefaultParams(), w.queue[0]
		at := rapid.IntRange(0, len(v.Daemons)-1).Draw(t, "holder")
		d := &v.Daemons[at]
		d.Running, d.Busy = 0, nil
		v.Recount()
		v.Ledger.Restore(r.Keys[0].ID, Copy{Daemon: d.ID, Epoch: d.Epoch, Version: 50})
		for range 2 {
			got, err := Place(v, &r, &p)
			if err != nil || got.Action != Run || got.Chosen.Name != d.Name || got.Chosen.Mode != Warm {
				t.Fatalf("%s holds the newest copy and is free, but: %s (%v)", d.Name, got.String(), err)
			}
		}
	})
}

// TestNoPointlessWaitOrSpill is invariant 6, against costs worked out for every daemon.
func TestNoPointlessWaitOrSpill(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, false)
		v, p, r := w.view(t), DefaultParams(), w.queue[0]
		r.AgeSeconds = 0
		got, err := Place(v, &r, &p)
		if err != nil {
			return
		}
		var weighed scoring
		weighed.prepare(v, &r, &p)
		for at := range v.Daemons {
			if lastingRefusal(&v.Daemons[at], &r) != Fits {
				continue
			}
			var o candidate
			weighed.score(int32(at), 0, weighed.copyOn(0, &v.Daemons[at]), &o)
			if cost, chosen := o.total-o.cost.RankSeconds, got.Chosen.Cost.Total(); cost < chosen-.01 {
				t.Fatalf("%s would cost %.2fs, but: %s (%.2fs)", v.Daemons[at].Name, cost, got.String(), chosen)
			}
		}
	})
}

// TestRoundIsSafe is invariants 7 and 14: no slot is given twice, and nothing goes where it must not.
func TestRoundIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, false)
		v, p := w.view(t), DefaultParams()
		before := fmt.Sprint(v.Daemons)
		given := map[string]int32{}
		for i, d := range Cycle(v, w.queue, &p) {
			if d.Action != Run {
				continue
			}
			given[d.Chosen.Name]++
			at, _ := v.Position(d.Chosen.Daemon)
			if why := refusal(&v.Daemons[at], &w.queue[i]); why != Fits {
				t.Errorf("%s runs on %s, which is refused: %s", d.UID, d.Chosen.Name, why)
			}
		}
		for i := range v.Daemons {
			d := &v.Daemons[i]
			if total := d.Running + d.Reserved + given[d.Name]; total > d.Slots {
				t.Errorf("%s gets %d builds for %d slots", d.Name, total, d.Slots)
			}
		}
		if after := fmt.Sprint(v.Daemons); after != before {
			t.Errorf("the round changed its view:\n%s\n%s", before, after)
		}
	})
}

// TestWorkConservation is invariant 8: what nobody holds does not wait while a slot it may take is free.
func TestWorkConservation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, false)
		w.copies = nil
		for i := range w.queue { // keys of their own, so that none waits for another's cold build
			w.queue[i].Keys = []KeyUse{{ID: KeyOf("ns", fmt.Sprint("own-", i))}}
		}
		v, p := w.view(t), DefaultParams()
		decisions := Cycle(v, w.queue, &p)
		for i := range v.Daemons {
			left := v.Daemons[i]
			for _, d := range decisions {
				if d.Action == Run && d.Chosen.Name == left.Name {
					left.Reserved++
				}
			}
			for k, d := range decisions {
				if d.Action != Run && refusal(&left, &w.queue[k]) == Fits {
					t.Fatalf("%s is left waiting though %s has a slot for it", d.UID, left.Name)
				}
			}
		}
	})
}

// TestMonotony is invariant 9: improving the chosen daemon keeps it chosen, and a higher price never makes a build
// colder.
func TestMonotony(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, true)
		v, p, r := w.view(t), DefaultParams(), w.queue[0]
		first, err := Place(v, &r, &p)
		if err != nil {
			return
		}
		dear := p
		dear.PriceSlope, dear.PriceFull = p.PriceSlope*4, p.PriceFull*4
		if second, _ := Place(v, &r, &dear); second.Chosen.Mode < first.Chosen.Mode {
			t.Errorf("a higher price turns %q into %q", first.String(), second.String())
		}
		d := &v.Daemons[first.Chosen.At]
		for i := range d.Busy {
			earlier := rapid.Float64Range(0, d.Busy[i].ExpectedSeconds).Draw(t, "earlier") // it began when it began
			d.Busy[i].EndsAtSeconds -= earlier
			d.Busy[i].ExpectedSeconds -= earlier
		}
		if first.Chosen.Mode == Warm {
			v.Ledger.Restore(r.Keys[0].ID, Copy{Daemon: d.ID, Epoch: d.Epoch, Version: v.Ledger.Version(r.Keys[0].ID)})
		}
		if second, _ := Place(v, &r, &p); second.Chosen.Name != d.Name {
			t.Errorf("%s got better, yet %q becomes %q", d.Name, first.String(), second.String())
		}
	})
}

// TestOverdueGoesFirst is the rule behind invariant 10: what an overdue build gets does not depend on anyone who may
// not go before it.
func TestOverdueGoesFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, false)
		p := DefaultParams()
		// the length of the queue itself must not matter here
		p.PriceSlope, p.PriceSteep, p.PriceFull, p.StayLoad = 0, 0, 0, 0
		all := Cycle(w.view(t), w.queue, &p)
		for i := range all {
			if !all[i].Overdue {
				continue
			}
			old := w.queue[i]
			mayGoBefore := slices.DeleteFunc(slices.Clone(w.queue), func(r Request) bool {
				return r.UID != old.UID &&
					(r.Priority < old.Priority || r.Priority == old.Priority &&
						(!p.overdue(&r) || r.AgeSeconds < old.AgeSeconds))
			})
			for _, d := range Cycle(w.view(t), mayGoBefore, &p) {
				if diff := cmp.Diff(all[i], d, cmpopts.IgnoreFields(Decision{}, "Load", "Refused")); d.UID == old.UID &&
					diff != "" {
					t.Fatalf("without those who come later (-with +without):\n%s", diff)
				}
			}
		}
	})
}

// TestFairness is invariant 11: two queues with work for ever get the same slot-seconds, to within a longest build
// for each slot.
func TestFairness(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slots := rapid.Int32Range(1, 4).Draw(t, "slots")
		v, err := NewView(fleet(2, slots), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		v.Shares = NewShares()
		p := DefaultParams()
		p.OverdueSeconds = 1e9 // every build is as old as the other: only shares decide
		longest := map[string]float64{"a": rapid.Float64Range(5, 300).Draw(t, "a"),
			"b": rapid.Float64Range(5, 300).Draw(t, "b")}
		given := map[string]float64{}
		for step := range 200 {
			queue := make([]Request, 0, 4)
			for _, q := range []string{"a", "b"} {
				for i := range 2 {
					queue = append(queue,
						Request{UID: fmt.Sprint(q, step, i), Queue: q, WarmSeconds: longest[q],
							ColdSeconds: longest[q]})
				}
			}
			// One slot is free at a time, so that the choice is between the queues.
			v.Daemons[0].Running, v.Daemons[1].Running = slots-1, slots
			for _, d := range DecideStarts(v, queue, &p) {
				name := d.UID[:1]
				given[name] += longest[name]
				v.Shares.Begin(name, longest[name])
			}
		}
		if gap := math.Abs(given["a"] - given["b"]); gap > max(longest["a"], longest["b"])+1e-6 {
			t.Fatalf("slot-seconds differ by %.0f with builds of %v", gap, longest)
		}
	})
}

// TestSingleFlight is invariant 12: a round starts a second cold build of a key only if waiting for the first would
// take longer.
func TestSingleFlight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, err := NewView(fleet(4, 2), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		p := DefaultParams()
		first := request("first", "app")
		elapsed := rapid.Float64Range(0, 99).Draw(t, "elapsed")
		d, _ := Place(v, &first, &p)
		home := &v.Daemons[d.Chosen.At]
		home.Running = 1
		home.Busy = []Busy{{EndsAtSeconds: 100 - elapsed, ExpectedSeconds: 100}}
		v.Ledger.Begin(first.Keys[0].ID, home.ID, home.Epoch, 0, 100-elapsed, 1000)
		v.Queued = 1
		v.Recount()
		second := request("second", "app")
		got, _ := Place(v, &second, &p)
		waiting := max(100-elapsed, p.OverdueShare*20) + 20
		elsewhere := 100 + p.price(v.Load())*80
		if want := waiting < elsewhere-.1; want && got.Action != Wait || waiting > elsewhere+.1 && got.Action != Run {
			t.Fatalf("waiting takes %.1fs, another cold build costs %.1fs, but: %s", waiting, elsewhere, got.String())
		}
	})
}
