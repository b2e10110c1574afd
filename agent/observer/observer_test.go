// SPDX-License-Identifier: Apache-2.0

package observer

import (
	"strings"
	"testing"
	"time"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/gc"
	"github.com/openllb/hlb-operator/agent/volume"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

func TestNothingIsEvictedForAPrefetch(t *testing.T) {
	dir := t.TempDir()
	vol, err := volume.Measure(dir)
	if err != nil {
		t.Fatal(err)
	}
	o := New(Config{StateDir: dir})
	o.facts.Seen = &daemon.Observation{MountBytes: map[string]int64{"ns/a": 4 << 20, "ns/b": 3 << 20}}
	for name, tc := range map[string]struct {
		bytes  int64
		budget gc.Budget
		want   string
	}{
		"room there is": {3 << 20, gc.Budget{MountsBytes: 10 << 20}, ""},
		"no room in the mounts' share": {
			4 << 20, gc.Budget{MountsBytes: 10 << 20}, "the mounts' share has no room for 4 MiB: 7 of 10 MiB are taken",
		},
		"no share is known yet": {4 << 20, gc.Budget{}, ""},
		"no room above what is kept free": {
			1 << 20, gc.Budget{FreeBytes: vol.CapacityBytes}, "the volume has no room for 1 MiB",
		},
		"more than the volume has free":      {vol.CapacityBytes + 1<<20, gc.Budget{}, "the volume has no room for"},
		"nothing is asked of a share at all": {0, gc.Budget{MountsBytes: 7 << 20}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o.facts.Budget = tc.budget
			err := o.RoomFor(tc.bytes)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the agent says %v, want %q", err, tc.want)
			}
		})
	}
}

func TestOtherDaemonsAreReadWhenItMatters(t *testing.T) {
	evicts := []gc.Victim{{Record: gc.Record{Mount: "ns/a"}, Reason: v1alpha1.PruneMountsOverBudget}}
	for name, tc := range map[string]struct {
		free, mounts int64
		plan         []gc.Victim
		want         time.Duration
	}{
		"with room":                      {90, 10, nil, 0},
		"with little room on the volume": {45, 10, nil, publishAge},
		"with little room for mounts":    {90, 25, nil, publishAge},
		"when a mount is evicted":        {90, 10, evicts, pruneAge},
		"when layers are pruned":         {90, 10, []gc.Victim{{Reason: v1alpha1.PruneLayersOverBudget}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			in := &gc.Input{
				Volume: gc.Volume{CapacityBytes: 100, FreeBytes: tc.free},
				Budget: gc.Budget{CapacityBytes: 100, MountsBytes: 50, FreeBytes: 20},
			}
			if got := replicasAge(in, tc.plan, tc.mounts); got != tc.want {
				t.Errorf("the list may be %s old, want %s", got, tc.want)
			}
		})
	}
}

func TestAClockThatJumpedAheadMakesNothingOld(t *testing.T) {
	noon := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		clock func() time.Time // the API server's
		want  time.Time
	}{
		"the machine's clock is ahead": {
			func() time.Time { return noon.Add(-time.Hour) }, noon.Add(-time.Hour),
		},
		"the machine's clock is behind":          {func() time.Time { return noon.Add(time.Hour) }, noon},
		"nothing is known of the server's clock": {nil, noon},
	} {
		t.Run(name, func(t *testing.T) {
			o := New(Config{Now: func() time.Time { return noon }, Clock: tc.clock})
			if got := o.agesNow(); !got.Equal(tc.want) {
				t.Errorf("ages count to %s, want %s", got, tc.want)
			}
		})
	}
}
