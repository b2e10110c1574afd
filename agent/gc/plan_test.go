// SPDX-License-Identifier: Apache-2.0

package gc_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/openllb/hlb-operator/agent/gc"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

const mib = 1 << 20

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// roomy is a volume that nothing needs to be pruned for: 1000 MiB, 500 free, budgets of 300 each.
func roomy(records ...gc.Record) gc.World {
	return gc.World{
		Records: records, Namespace: "ns", Now: now,
		Volume: gc.Volume{CapacityBytes: 1000 * mib, FreeBytes: 500 * mib, CapacityInodes: 1000, FreeInodes: 500},
		Budget: gc.Budget{CapacityBytes: 1000 * mib, MountsBytes: 300 * mib, LayersBytes: 300 * mib, FreeBytes: 200 * mib, FreeInodes: 200},
	}
}

// mount is a cache mount of the namespace, last used so many hours ago.
func mount(id string, size int64, hoursAgo int) gc.Record {
	return gc.Record{ID: "r-" + id, Mount: "ns/" + id, Bytes: size * mib, LastUsed: now.Add(-time.Duration(hoursAgo) * time.Hour)}
}

func layer(id string, size int64, hoursAgo int, parents ...string) gc.Record {
	return gc.Record{ID: id, Class: gc.Layer, Bytes: size * mib, LastUsed: now.Add(-time.Duration(hoursAgo) * time.Hour), Parents: parents}
}

func with(r gc.Record, change func(*gc.Record)) gc.Record {
	change(&r)
	return r
}

func inUse(r *gc.Record) { r.InUse = true }

func (c planCase) world() gc.World {
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
	change   func(*gc.World)
	want     []string
}

func maxSize(id, size string) v1alpha1.MountPolicy {
	return v1alpha1.MountPolicy{ID: id, MaxSize: ptr.To(resource.MustParse(size))}
}

func maxAge(id string, hours int) v1alpha1.MountPolicy {
	return v1alpha1.MountPolicy{ID: id, MaxAge: &metav1.Duration{Duration: time.Duration(hours) * time.Hour}}
}

func TestPlan(t *testing.T) {
	lowSpace := func(w *gc.World) { w.Volume.FreeBytes = 150 * mib }
	cases := map[string]planCase{
		"nothing goes while all have room": {records: []gc.Record{mount("a", 200, 9999), layer("l", 200, 9999)}},

		"a mount over its size goes alone": {
			records:  []gc.Record{mount("big", 60, 1), mount("small", 50, 100), layer("l", 10, 100)},
			policies: []v1alpha1.MountPolicy{maxSize("*", "50Mi")}, want: []string{"r-big TooLarge"}},
		"a mount over its size stays while in use": {
			records: []gc.Record{with(mount("big", 60, 1), inUse)}, policies: []v1alpha1.MountPolicy{maxSize("*", "50Mi")}},
		"a mount over its age goes": {
			records:  []gc.Record{mount("old", 1, 25), mount("young", 1, 23), mount("other", 1, 99)},
			policies: []v1alpha1.MountPolicy{maxAge("old", 24), maxAge("young", 24)}, want: []string{"r-old TooOld"}},
		"age is that of the last build, not of BuildKit's last touch": {
			records: []gc.Record{mount("old", 1, 0)}, policies: []v1alpha1.MountPolicy{maxAge("*", 24)},
			change: func(w *gc.World) { w.MountUsed = map[string]time.Time{"ns/old": now.Add(-25 * time.Hour)} },
			want:   []string{"r-old TooOld"}},
		"a mount that began with a state has its policy and its use too": {
			records:  []gc.Record{with(mount("x", 1, 99), func(r *gc.Record) { r.Mount = "ns/x:0123456789abcdefghijklmno" })},
			policies: []v1alpha1.MountPolicy{maxAge("x", 24)},
			change:   func(w *gc.World) { w.MountUsed = map[string]time.Time{"ns/x": now.Add(-25 * time.Hour)} },
			want:     []string{"r-x TooOld"}},
		"policies are not about mounts of another namespace": {
			records:  []gc.Record{with(mount("x", 99, 99), func(r *gc.Record) { r.Mount = "other/x" })},
			policies: []v1alpha1.MountPolicy{maxSize("*", "1Mi")}},

		"mounts over their budget go, unused for longest first": {
			records: []gc.Record{mount("new", 150, 1), mount("old", 100, 3), mount("older", 100, 5)}, want: []string{"r-older MountsOverBudget"}},
		"layers do not count for the budget of mounts": {records: []gc.Record{mount("a", 290, 1), layer("l", 290, 9)}},
		"a pinned mount counts for the budget and stays": {
			records:  []gc.Record{mount("pin", 290, 9), mount("young", 20, 1)},
			policies: []v1alpha1.MountPolicy{{ID: "pin", Pinned: true}}, want: []string{"r-young MountsOverBudget"}},
		"a mount that takes nothing is not worth pruning": {
			records:  []gc.Record{mount("empty", 0, 99), mount("pin", 310, 1)},
			policies: []v1alpha1.MountPolicy{{ID: "pin", Pinned: true}}},
		"a mount that went for its size makes room for the others": {
			records:  []gc.Record{mount("big", 200, 1), mount("old", 150, 9)},
			policies: []v1alpha1.MountPolicy{maxSize("big", "100Mi")}, want: []string{"r-big TooLarge"}},

		"layers over their budget go, sources first": {
			records: []gc.Record{layer("old", 200, 9), with(layer("src", 120, 1), func(r *gc.Record) { r.Class = gc.Source })},
			want:    []string{"src LayersOverBudget"}},
		"mounts do not go for layers": {
			records: []gc.Record{mount("a", 10, 99), with(layer("l", 400, 1), inUse)}},
		"a layer goes after what stands on it": {
			records: []gc.Record{layer("base", 200, 9), layer("top", 150, 1, "base"), layer("used", 1, 9)},
			want:    []string{"used LayersOverBudget", "top LayersOverBudget"}},
		"a layer stays under one in use": {
			records: []gc.Record{layer("base", 400, 9), with(layer("top", 1, 1, "base"), inUse)}},
		"a layer under a cache mount stays": {
			records: []gc.Record{layer("base", 400, 9), with(mount("m", 1, 1), func(r *gc.Record) { r.Parents = []string{"base"} })}},
		"shared records neither count nor go": {
			records: []gc.Record{with(layer("l", 400, 9), func(r *gc.Record) { r.Shared = true })}},
		"internal records go last": {
			records: []gc.Record{with(layer("git", 200, 99), func(r *gc.Record) { r.Class = gc.Internal }), layer("l", 200, 1)},
			want:    []string{"l LayersOverBudget"}},

		"low space takes sources, then layers, then mounts": {
			records: []gc.Record{mount("m", 30, 99), layer("l", 20, 1), with(layer("src", 10, 0), func(r *gc.Record) { r.Class = gc.Source })},
			change:  lowSpace, want: []string{"src LowSpace", "l LowSpace", "r-m LowSpace"}},
		"low space takes no more than it must": {
			records: []gc.Record{layer("a", 60, 5), layer("b", 60, 4)}, change: lowSpace, want: []string{"a LowSpace"}},
		"a pinned mount stays even when space is low": {
			records: []gc.Record{mount("pin", 100, 99)}, policies: []v1alpha1.MountPolicy{{ID: "p*", Pinned: true}}, change: lowSpace},
		"low inodes take what holds as many by the volume's mean": {
			records: []gc.Record{layer("a", 30, 5), layer("b", 30, 4), layer("c", 30, 3)},
			change:  func(w *gc.World) { w.Volume.FreeInodes = 100 }, // 900 hold 500 MiB; 100 more are wanted: 56 MiB
			want:    []string{"a LowInodes", "b LowInodes"}},
		"a file system that does not count inodes never lacks them": {
			records: []gc.Record{layer("a", 30, 5)},
			change:  func(w *gc.World) { w.Volume.CapacityInodes, w.Volume.FreeInodes, w.Budget.FreeInodes = 0, 0, 0 }},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, v := range gc.Plan(tc.world()) {
				got = append(got, fmt.Sprintf("%s %s", v.ID, v.Reason))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

// drawWorld is any world with a forest of layers and some mounts.
func drawWorld(t *rapid.T) gc.World {
	w := roomy()
	for i := range rapid.IntRange(0, 12).Draw(t, "mounts") {
		m := mount(fmt.Sprintf("%c%d", 'a'+rune(i%3), i), rapid.Int64Range(0, 200).Draw(t, "size"), rapid.IntRange(0, 99).Draw(t, "age"))
		m.InUse = rapid.Bool().Draw(t, "used")
		w.Records = append(w.Records, m)
	}
	for i := range rapid.IntRange(0, 12).Draw(t, "layers") {
		l := layer(fmt.Sprintf("l%d", i), rapid.Int64Range(0, 200).Draw(t, "size"), rapid.IntRange(0, 99).Draw(t, "age"))
		l.Class = gc.Class(rapid.IntRange(0, 2).Draw(t, "class"))
		l.InUse = rapid.IntRange(0, 4).Draw(t, "used") == 0
		if i > 0 && rapid.Bool().Draw(t, "stands") {
			l.Parents = []string{fmt.Sprintf("l%d", rapid.IntRange(0, i-1).Draw(t, "parent"))}
		}
		w.Records = append(w.Records, l)
	}
	w.Policies = []v1alpha1.MountPolicy{{ID: "a*", Pinned: true}, maxSize("b*", "100Mi"), maxAge("c*", 50)}
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
			if !r.InUse && (r.Mount[:4] == "ns/b" && r.Bytes > 100*mib || r.Mount[:4] == "ns/c" && now.Sub(r.LastUsed) > 50*time.Hour) {
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
