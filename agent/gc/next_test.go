// SPDX-License-Identifier: Apache-2.0

package gc_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/openllb/hlb-operator/agent/gc"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

func TestNextEviction(t *testing.T) {
	pinned := []v1alpha1.MountPolicy{{ID: "*", Eviction: &v1alpha1.MountEviction{Policy: v1alpha1.EvictNever}}}
	cases := map[string]struct {
		planCase
		want *v1alpha1.NextEviction
	}{
		"with room, the mount that is evicted first": {
			planCase{records: []gc.Record{mount("new", 20, 1), mount("old", 10, 9)}},
			&v1alpha1.NextEviction{ID: "ns/old", Bytes: 10 * mib}},
		"lost seconds are rounded up": {
			planCase{records: []gc.Record{mount("a", 10, 9)}, change: lost(map[string]float64{"a": 0.2})},
			&v1alpha1.NextEviction{ID: "ns/a", Bytes: 10 * mib, LostSeconds: 1}},
		"a redundant copy": {
			planCase{
				records: []gc.Record{mount("only", 10, 9), mount("twice", 10, 2)},
				change:  elsewhere(map[string]int{"twice": 1}),
			},
			&v1alpha1.NextEviction{ID: "ns/twice", Bytes: 10 * mib, Redundant: true}},
		"after the plan is carried out": {
			planCase{records: []gc.Record{mount("old", 200, 9), mount("next", 90, 5), mount("new", 90, 1)}},
			&v1alpha1.NextEviction{ID: "ns/next", Bytes: 90 * mib}},
		"not one that its own policy evicts": {
			planCase{
				records:  []gc.Record{mount("big", 60, 9), mount("small", 10, 1)},
				policies: []v1alpha1.MountPolicy{maxSize("*", "50Mi")},
			},
			&v1alpha1.NextEviction{ID: "ns/small", Bytes: 10 * mib}},
		"without the base state, as in status.mounts": {
			planCase{records: []gc.Record{with(mount("x", 10, 5), func(r *gc.Record) {
				r.Mount = "ns/x:0123456789abcdefghijklmno"
			})}},
			&v1alpha1.NextEviction{ID: "ns/x", Bytes: 10 * mib}},
		"none while all are pinned":  {planCase{records: []gc.Record{mount("a", 10, 5)}, policies: pinned}, nil},
		"none while all are in use":  {planCase{records: []gc.Record{with(mount("a", 10, 5), inUse)}}, nil},
		"none that occupies nothing": {planCase{records: []gc.Record{mount("a", 0, 5)}}, nil},
		"none with an id that the API refuses": {
			planCase{records: []gc.Record{mount(strings.Repeat("x", 512), 10, 5)}}, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, gc.NextEviction(tc.world())); diff != "" {
				t.Errorf("next eviction (-want +got):\n%s", diff)
			}
		})
	}
}

// TestThePlanBeginsWithTheNextEviction makes room for one mount less than there was, once the plan is carried out.
func TestThePlanBeginsWithTheNextEviction(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		w.ReplicaLastUsed = drawElsewhere(t, w)
		w.Policies = nil
		w.Volume.FreeBytes = w.Budget.FreeBytes
		w.Budget.MountsBytes = 1 << 60
		next := gc.NextEviction(w)
		w.Budget.MountsBytes = 0
		for _, v := range gc.Plan(w) {
			if v.Mount == "" {
				continue
			}
			if next == nil || v.Mount != next.ID || v.Redundant != next.Redundant {
				t.Fatalf("%s is evicted first, published was %+v", v.Mount, next)
			}
			return
		}
		if next != nil {
			t.Fatalf("nothing is evicted, published was %+v", next)
		}
	})
}
