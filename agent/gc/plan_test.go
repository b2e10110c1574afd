// SPDX-License-Identifier: Apache-2.0

package gc_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/agent/gc"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

const mib = 1 << 20

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// roomy is a volume that nothing needs to be pruned for: 1000 MiB, 500 free, budgets of 300 each.
func roomy(records ...gc.Record) gc.Input {
	return gc.Input{
		Records: records, Namespaces: []string{"ns"}, Now: now,
		Volume: gc.Volume{CapacityBytes: 1000 * mib, FreeBytes: 500 * mib, CapacityInodes: 1000, FreeInodes: 500},
		Budget: gc.Budget{
			CapacityBytes: 1000 * mib, MountsBytes: 300 * mib, LayersBytes: 300 * mib, FreeBytes: 200 * mib,
			FreeInodes: 200,
		},
	}
}

// mount is a cache mount of the namespace, last used so many hours ago.
func mount(id string, size int64, hoursAgo int) gc.Record {
	return gc.Record{ID: "r-" + id, Mount: "ns/" + id, Bytes: size * mib,
		LastUsed: now.Add(-time.Duration(hoursAgo) * time.Hour)}
}

func layer(id string, size int64, hoursAgo int, parents ...string) gc.Record {
	return gc.Record{ID: id, Class: gc.Layer, Bytes: size * mib,
		LastUsed: now.Add(-time.Duration(hoursAgo) * time.Hour), Parents: parents}
}

func with(r gc.Record, change func(*gc.Record)) gc.Record {
	change(&r)
	return r
}

func inUse(r *gc.Record) { r.InUse = true }

func (c planCase) world() gc.Input {
	w := roomy(c.records...)
	w.Policies = c.policies
	if c.change != nil {
		c.change(&w)
	}
	return w
}

type planCase struct {
	records  []gc.Record
	policies []v1alpha1.MountPolicy
	change   func(*gc.Input)
	want     []string
}

func maxSize(id, size string) v1alpha1.MountPolicy {
	return v1alpha1.MountPolicy{ID: id, Eviction: &v1alpha1.MountEviction{MaxSize: ptr.To(resource.MustParse(size))}}
}

func maxAge(id string, hours int) v1alpha1.MountPolicy {
	return v1alpha1.MountPolicy{ID: id, Eviction: &v1alpha1.MountEviction{MaxAgeSeconds: ptr.To(int32(hours) * 3600)}}
}

// elsewhere is that other daemons have copies of the namespace's mounts, last used so many hours ago.
func elsewhere(hoursAgo map[string]int) func(*gc.Input) {
	return func(w *gc.Input) {
		w.ReplicaLastUsed = map[string]time.Time{}
		for id, hours := range hoursAgo {
			w.ReplicaLastUsed["ns/"+id] = now.Add(-time.Duration(hours) * time.Hour)
		}
	}
}

// lost is what builds lose without mounts of the namespace, in seconds.
func lost(seconds map[string]float64) func(*gc.Input) {
	return func(w *gc.Input) {
		w.LostSeconds = map[string]float64{}
		for id, s := range seconds {
			w.LostSeconds["ns/"+id] = s
		}
	}
}

func TestPlan(t *testing.T) {
	lowSpace := func(w *gc.Input) { w.Volume.FreeBytes = 150 * mib }
	cases := map[string]planCase{
		"nothing goes while all have room": {records: []gc.Record{mount("a", 200, 9999), layer("l", 200, 9999)}},

		"a mount over its size goes alone": {
			records:  []gc.Record{mount("big", 60, 1), mount("small", 50, 100), layer("l", 10, 100)},
			policies: []v1alpha1.MountPolicy{maxSize("*", "50Mi")}, want: []string{"r-big TooLarge"}},
		"a mount over its size stays while in use": {
			records: []gc.Record{
				with(mount("big", 60, 1), inUse),
			}, policies: []v1alpha1.MountPolicy{maxSize("*", "50Mi")}},
		"a mount over its age goes": {
			records:  []gc.Record{mount("old", 1, 25), mount("young", 1, 23), mount("other", 1, 99)},
			policies: []v1alpha1.MountPolicy{maxAge("old", 24), maxAge("young", 24)}, want: []string{"r-old TooOld"}},
		"age is that of the last build, not of BuildKit's last touch": {
			records: []gc.Record{mount("old", 1, 0)}, policies: []v1alpha1.MountPolicy{maxAge("*", 24)},
			change: func(w *gc.Input) { w.MountUsed = map[string]time.Time{"ns/old": now.Add(-25 * time.Hour)} },
			want:   []string{"r-old TooOld"}},
		"a mount that began with a state has its policy and its use too": {
			records: []gc.Record{
				with(mount("x", 1, 99), func(r *gc.Record) { r.Mount = "ns/x:0123456789abcdefghijklmno" }),
			},
			policies: []v1alpha1.MountPolicy{maxAge("x", 24)},
			change:   func(w *gc.Input) { w.MountUsed = map[string]time.Time{"ns/x": now.Add(-25 * time.Hour)} },
			want:     []string{"r-x TooOld"}},
		"policies are not about mounts of another namespace": {
			records:  []gc.Record{with(mount("x", 99, 99), func(r *gc.Record) { r.Mount = "other/x" })},
			policies: []v1alpha1.MountPolicy{maxSize("*", "1Mi")}},

		"mounts over their budget go, unused for longest first": {
			records: []gc.Record{
				mount("new", 150, 1), mount("old", 100, 3), mount("older", 100, 5),
			}, want: []string{"r-older MountsOverBudget"}},
		"layers do not count for the budget of mounts": {records: []gc.Record{mount("a", 290, 1), layer("l", 290, 9)}},
		"a pinned mount counts for the budget and stays": {
			records: []gc.Record{mount("pin", 290, 9), mount("young", 20, 1)},
			policies: []v1alpha1.MountPolicy{
				{ID: "pin", Eviction: &v1alpha1.MountEviction{Policy: v1alpha1.EvictNever}},
			}, want: []string{"r-young MountsOverBudget"}},
		"a mount that takes nothing is not worth pruning": {
			records: []gc.Record{mount("empty", 0, 99), mount("pin", 310, 1)},
			policies: []v1alpha1.MountPolicy{
				{ID: "pin", Eviction: &v1alpha1.MountEviction{Policy: v1alpha1.EvictNever}},
			}},
		"a mount that went for its size makes room for the others": {
			records:  []gc.Record{mount("big", 200, 1), mount("old", 150, 9)},
			policies: []v1alpha1.MountPolicy{maxSize("big", "100Mi")}, want: []string{"r-big TooLarge"}},

		"of mounts that save as much, one of twice the size goes before one unused for a third longer": {
			records: []gc.Record{mount("old", 100, 8), mount("large", 200, 6), mount("new", 50, 1)},
			change:  lost(map[string]float64{"old": 60, "large": 60, "new": 60}),
			want:    []string{"r-large MountsOverBudget"}},
		"one that saves twice as much for twice the bytes goes by its age": {
			records: []gc.Record{mount("old", 100, 8), mount("large", 200, 6), mount("new", 50, 1)},
			change:  lost(map[string]float64{"old": 60, "large": 120, "new": 60}),
			want:    []string{"r-old MountsOverBudget"}},
		"what is not known is taken to be as for the others": {
			records: []gc.Record{mount("old", 100, 10), mount("unknown", 200, 6), mount("new", 50, 1)},
			change:  lost(map[string]float64{"old": 60, "new": 30}), want: []string{"r-old MountsOverBudget"}},
		"what a mount saves that began with a state is known too": {
			records: []gc.Record{
				with(mount("x", 200, 5), func(r *gc.Record) { r.Mount = "ns/x:0123456789abcdefghijklmno" }),
				mount("old", 150, 9),
			},
			change: lost(map[string]float64{"x": 10, "old": 60}), want: []string{"r-x MountsOverBudget"}},
		"a mount used this moment or in the future may go too": {
			records: []gc.Record{mount("worthless", 200, -1), mount("old", 150, 9)},
			change:  lost(map[string]float64{"worthless": 1e-9, "old": 60}),
			want:    []string{"r-worthless MountsOverBudget"}},
		"a spare copy goes first whatever it saves": {
			records: []gc.Record{mount("spare", 150, 2), mount("only", 200, 9)},
			change: func(w *gc.Input) {
				elsewhere(map[string]int{"spare": 1})(w)
				lost(map[string]float64{"spare": 600, "only": 1})(w)
			},
			want: []string{"r-spare MountsOverBudget spare"}},

		"a spare copy goes before a mount that nobody else has, however long that was unused": {
			records: []gc.Record{
				mount("spare", 150, 2), mount("only", 100, 99), mount("new", 100, 1),
			}, change: elsewhere(map[string]int{"spare": 1}),
			want: []string{"r-spare MountsOverBudget spare"}},
		"the copy used last is not spare, nor are copies used at the same time": {
			records: []gc.Record{mount("last", 150, 2), mount("even", 100, 5), mount("only", 100, 4)},
			change:  elsewhere(map[string]int{"last": 3, "even": 5}), want: []string{"r-even MountsOverBudget"}},
		"spare copies go unused for longest first, then the others do": {
			records: []gc.Record{mount("s1", 60, 3), mount("s2", 60, 7), mount("o1", 250, 9), mount("o2", 250, 5)},
			change:  elsewhere(map[string]int{"s1": 0, "s2": 6}),
			want:    []string{"r-s2 MountsOverBudget spare", "r-s1 MountsOverBudget spare", "r-o1 MountsOverBudget"}},
		"a spare copy in use or pinned stays": {
			records: []gc.Record{with(mount("busy", 150, 9), inUse), mount("pin", 100, 8), mount("only", 100, 1)},
			policies: []v1alpha1.MountPolicy{
				{ID: "pin", Eviction: &v1alpha1.MountEviction{Policy: v1alpha1.EvictNever}},
			}, change: elsewhere(map[string]int{"busy": 0, "pin": 0}),
			want: []string{"r-only MountsOverBudget"}},
		"spare is by the last build, not by BuildKit's last touch": {
			records: []gc.Record{mount("spare", 200, 0), mount("only", 150, 9)},
			change: func(w *gc.Input) {
				elsewhere(map[string]int{"spare": 3})(w)
				w.MountUsed = map[string]time.Time{"ns/spare": now.Add(-4 * time.Hour)}
			},
			want: []string{"r-spare MountsOverBudget spare"}},
		"a mount that was brought in a moment ago is neither spare nor unused": {
			records: []gc.Record{mount("brought", 200, 99), mount("only", 150, 9)},
			change: func(w *gc.Input) {
				elsewhere(map[string]int{"brought": 1})(w)
				w.MountUsed = map[string]time.Time{"ns/brought": now.Add(-time.Minute)}
			},
			want: []string{"r-only MountsOverBudget"}},
		"a mount that began with a state can be spare": {
			records: []gc.Record{
				with(mount("x", 200, 5), func(r *gc.Record) { r.Mount = "ns/x:0123456789abcdefghijklmno" }),
				mount("only", 150, 9),
			},
			change: elsewhere(map[string]int{"x": 1}), want: []string{"r-x MountsOverBudget spare"}},
		"spare copies stay while all have room": {
			records: []gc.Record{mount("spare", 200, 5)}, change: elsewhere(map[string]int{"spare": 1})},
		"a mount goes for its own policy whoever else has it, and is not called spare": {
			records: []gc.Record{mount("big", 60, 9), mount("spare", 40, 99)},
			policies: []v1alpha1.MountPolicy{
				maxSize("*", "50Mi"),
			}, change: elsewhere(map[string]int{"spare": 1, "big": 1}), want: []string{"r-big TooLarge"}},
		"low space takes spare copies first too, but after layers": {
			records: []gc.Record{mount("only", 30, 99), mount("spare", 30, 1), layer("l", 20, 1)},
			change:  func(w *gc.Input) { lowSpace(w); elsewhere(map[string]int{"spare": 0})(w) },
			want:    []string{"l LowSpace", "r-spare LowSpace spare"}},
		"low inodes take spare copies first": {
			records: []gc.Record{mount("only", 80, 99), mount("spare", 80, 1)},
			change:  func(w *gc.Input) { w.Volume.FreeInodes = 100; elsewhere(map[string]int{"spare": 0})(w) },
			want:    []string{"r-spare LowInodes spare"}},

		"layers over their budget go, sources first": {
			records: []gc.Record{
				layer("old", 200, 9), with(layer("src", 120, 1), func(r *gc.Record) { r.Class = gc.Source }),
			},
			want: []string{"src LayersOverBudget"}},
		"mounts do not go for layers": {
			records: []gc.Record{mount("a", 10, 99), with(layer("l", 400, 1), inUse)}},
		"a layer goes after what stands on it": {
			records: []gc.Record{layer("base", 200, 9), layer("top", 150, 1, "base"), layer("used", 1, 9)},
			want:    []string{"used LayersOverBudget", "top LayersOverBudget"}},
		"a layer stays under one in use": {
			records: []gc.Record{layer("base", 400, 9), with(layer("top", 1, 1, "base"), inUse)}},
		"a layer under a cache mount stays": {
			records: []gc.Record{
				layer("base", 400, 9), with(mount("m", 1, 1), func(r *gc.Record) { r.Parents = []string{"base"} }),
			}},
		"shared records neither count nor go": {
			records: []gc.Record{with(layer("l", 400, 9), func(r *gc.Record) { r.Shared = true })}},
		"internal records go last": {
			records: []gc.Record{
				with(layer("git", 200, 99), func(r *gc.Record) { r.Class = gc.Internal }), layer("l", 200, 1),
			},
			want: []string{"l LayersOverBudget"}},

		"low space takes sources, then layers, then mounts": {
			records: []gc.Record{
				mount("m", 30, 99), layer("l", 20, 1),
				with(layer("src", 10, 0), func(r *gc.Record) { r.Class = gc.Source }),
			},
			change: lowSpace, want: []string{"src LowSpace", "l LowSpace", "r-m LowSpace"}},
		"low space takes no more than it must": {
			records: []gc.Record{layer("a", 60, 5), layer("b", 60, 4)}, change: lowSpace, want: []string{"a LowSpace"}},
		"a pinned mount stays even when space is low": {
			records: []gc.Record{
				mount("pin", 100, 99),
			},
			policies: []v1alpha1.MountPolicy{
				{ID: "p*", Eviction: &v1alpha1.MountEviction{Policy: v1alpha1.EvictNever}},
			}, change: lowSpace},
		"low inodes take what holds as many by the volume's mean": {
			records: []gc.Record{layer("a", 30, 5), layer("b", 30, 4), layer("c", 30, 3)},
			change:  func(w *gc.Input) { w.Volume.FreeInodes = 100 }, // 900 hold 500 MiB; 100 more are wanted: 56 MiB
			want:    []string{"a LowInodes", "b LowInodes"}},
		"a file system that does not count inodes never lacks them": {
			records: []gc.Record{layer("a", 30, 5)},
			change:  func(w *gc.Input) { w.Volume.CapacityInodes, w.Volume.FreeInodes, w.Budget.FreeInodes = 0, 0, 0 }},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, v := range gc.Plan(tc.world()) {
				line := fmt.Sprintf("%s %s", v.ID, v.Reason)
				if v.Redundant {
					line += " spare"
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}
