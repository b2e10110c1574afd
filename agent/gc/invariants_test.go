// SPDX-License-Identifier: Apache-2.0

package gc_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/openllb/hlb-operator/agent/gc"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// drawWorld is any world with a forest of layers and some mounts.
func drawWorld(t *rapid.T) gc.Input {
	w := roomy()
	w.LostSeconds = map[string]float64{}
	for i := range rapid.IntRange(0, 12).Draw(t, "mounts") {
		m := mount(fmt.Sprintf("%c%d", 'a'+rune(i%3), i), rapid.Int64Range(0, 200).Draw(t, "size"),
			rapid.IntRange(0, 99).Draw(t, "age"))
		m.InUse = rapid.Bool().Draw(t, "used")
		w.Records = append(w.Records, m)
		if rapid.Bool().Draw(t, "known") {
			w.LostSeconds[m.Mount] = rapid.Float64Range(0, 1000).Draw(t, "lost")
		}
	}
	for i := range rapid.IntRange(0, 12).Draw(t, "layers") {
		l := layer(fmt.Sprintf("l%d", i), rapid.Int64Range(0, 200).Draw(t, "size"),
			rapid.IntRange(0, 99).Draw(t, "age"))
		l.Class = gc.Class(rapid.IntRange(0, 2).Draw(t, "class"))
		l.InUse = rapid.IntRange(0, 4).Draw(t, "used") == 0
		if i > 0 && rapid.Bool().Draw(t, "stands") {
			l.Parents = []string{fmt.Sprintf("l%d", rapid.IntRange(0, i-1).Draw(t, "parent"))}
		}
		w.Records = append(w.Records, l)
	}
	w.Policies = []v1alpha1.MountPolicy{{
		ID: "a*", Eviction: &v1alpha1.MountEviction{Policy: v1alpha1.EvictNever},
	}, maxSize("b*", "100Mi"), maxAge("c*", 50)}
	w.Volume.FreeBytes = rapid.Int64Range(0, 500).Draw(t, "free") * mib
	return w
}

func TestPlansKeepTheirPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		plan := gc.Plan(w)
		gone := map[string]bool{}
		for _, v := range plan {
			if v.InUse || gone[v.ID] || v.Mount != "" && v.Mount[:4] == "ns/a" {
				t.Fatalf("%s goes, which is in use, pinned, or gone before: %v", v.ID, plan)
			}
			for _, r := range w.Records {
				if slices.Contains(r.Parents, v.ID) && !gone[r.ID] {
					t.Fatalf("%s goes before %s, which stands on it", v.ID, r.ID)
				}
			}
			gone[v.ID] = true
		}
		var mounts int64
		for _, r := range w.Records {
			if r.Mount == "" || gone[r.ID] {
				continue
			}
			mounts += r.Bytes
			if !r.InUse &&
				(r.Mount[:4] == "ns/b" && r.Bytes > 100*mib || r.Mount[:4] == "ns/c" &&
					now.Sub(r.LastUsed) > 50*time.Hour) {
				t.Fatalf("%s stays against its policy", r.ID)
			}
		}
		if stays := slices.ContainsFunc(w.Records, func(r gc.Record) bool {
			return r.Mount != "" && r.Mount[:4] != "ns/a" && !r.InUse && r.Bytes > 0 && !gone[r.ID]
		}); mounts > w.Budget.MountsBytes && stays {
			t.Fatalf("%d MiB of mounts stay, over their budget, though some may go", mounts/mib)
		}
		slices.Reverse(w.Records)
		if diff := cmp.Diff(plan, gc.Plan(w)); diff != "" {
			t.Fatalf("the order of records changes the plan:\n%s", diff)
		}
	})
}

// drawElsewhere gives each mount of a world a copy elsewhere or not.
func drawElsewhere(t *rapid.T, w gc.Input) map[string]time.Time {
	out := map[string]time.Time{}
	for _, r := range w.Records {
		if r.Mount != "" && rapid.Bool().Draw(t, "elsewhere") {
			out[r.Mount] = now.Add(-time.Duration(rapid.IntRange(0, 99).Draw(t, "hours")) * time.Hour)
		}
	}
	return out
}

func TestNothingGoesWhileASpareCopyThatMayGoStays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		before := gc.Plan(w)
		w.ReplicaLastUsed = drawElsewhere(t, w)
		isSpare := func(r gc.Record) bool { return r.Mount != "" && w.ReplicaLastUsed[r.Mount].After(r.LastUsed) }
		plan := gc.Plan(w)
		stays := map[string]bool{}
		for _, r := range w.Records {
			stays[r.ID] = isSpare(r) && !r.InUse && r.Bytes > 0 && r.Mount[:4] != "ns/a"
		}
		own := func(v gc.Victim) bool { return v.Reason == v1alpha1.PruneTooOld || v.Reason == v1alpha1.PruneTooLarge }
		for at, v := range plan {
			stays[v.ID] = false
			switch {
			case v.Redundant != (isSpare(v.Record) && !own(v)):
				t.Fatalf("%s is called spare: %v", v.ID, v.Redundant)
			case own(v) && (len(before) <= at || before[at].ID != v.ID):
				t.Fatalf("copies elsewhere change what goes for its own policy: %v instead of %v", plan, before)
			case v.Mount != "" && !v.Redundant && !own(v):
				for id, spare := range stays {
					if spare {
						t.Fatalf("%s goes while the spare %s stays: %v", v.ID, id, plan)
					}
				}
			}
		}
		if gc.ChoosesMounts(before) != gc.ChoosesMounts(plan) {
			t.Fatalf("copies elsewhere change whether mounts go: %v, %v", before, plan)
		}
	})
}

// used lists when a daemon's mounts were last used, as others know it.
func used(w gc.Input) map[string]time.Time {
	out := map[string]time.Time{}
	for _, r := range w.Records {
		if r.Mount != "" {
			out[r.Mount] = r.LastUsed
		}
	}
	return out
}

func TestTwoDaemonsNeverBothHoldACopyForSpare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawWorld(t), drawWorld(t)
		a.ReplicaLastUsed, b.ReplicaLastUsed = used(b), used(a)
		spare := map[string]bool{}
		for _, v := range append(gc.Plan(a), gc.Plan(b)...) {
			if !v.Redundant {
				continue
			}
			if spare[v.Mount] {
				t.Fatalf("both daemons take %s for spare", v.Mount)
			}
			spare[v.Mount] = true
			if last := a.ReplicaLastUsed[v.Mount]; last.Equal(b.ReplicaLastUsed[v.Mount]) || last.Before(v.LastUsed) &&
				b.ReplicaLastUsed[v.Mount].Before(v.LastUsed) {
				t.Fatalf("the copy of %s that was used last is taken for spare", v.Mount)
			}
		}
	})
}

func TestOnlyPlansForTheSakeOfOthersChooseMounts(t *testing.T) {
	victim := func(mount string, reason v1alpha1.PruneReason) gc.Victim {
		return gc.Victim{Record: gc.Record{Mount: mount}, Reason: reason}
	}
	cases := map[string]struct {
		plan []gc.Victim
		want bool
	}{
		"nothing goes": {nil, false},
		"layers go":    {[]gc.Victim{victim("", v1alpha1.PruneLowSpace)}, false},
		"mounts go for their own": {
			[]gc.Victim{victim("m", v1alpha1.PruneTooOld), victim("m", v1alpha1.PruneTooLarge)}, false,
		},
		"one goes for the budget": {
			[]gc.Victim{victim("m", v1alpha1.PruneTooOld), victim("m", v1alpha1.PruneMountsOverBudget)}, true,
		},
		"one goes for space": {
			[]gc.Victim{victim("", v1alpha1.PruneLowSpace), victim("m", v1alpha1.PruneLowSpace)}, true,
		},
		"one goes for inodes": {[]gc.Victim{victim("m", v1alpha1.PruneLowInodes)}, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := gc.ChoosesMounts(tc.plan); got != tc.want {
				t.Errorf("chooses mounts: %v", got)
			}
		})
	}
}
