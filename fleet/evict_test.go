// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
)

func TestRoomBeforeAMountIsDropped(t *testing.T) {
	for name, c := range map[string]struct {
		gc   *v1alpha1.GCStatus
		want int64
	}{
		"all that is free while no bounds are known": {nil, 400},
		"what is above the space that is kept free": {
			&v1alpha1.GCStatus{FreeBytes: 250, MountsBudgetBytes: 500, MountsBytes: 100}, 150,
		},
		"what the mounts' bound leaves": {
			&v1alpha1.GCStatus{FreeBytes: 100, MountsBudgetBytes: 500, MountsBytes: 420}, 80,
		},
		"nothing over a bound": {&v1alpha1.GCStatus{FreeBytes: 100, MountsBudgetBytes: 500, MountsBytes: 600}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := roomBytes(&v1alpha1.BuildDaemonStatus{CapacityBytes: 1000, UsedBytes: 600,
				GC: c.gc}); got != c.want {
				t.Errorf("room for %d bytes, want %d", got, c.want)
			}
		})
	}
}

// full makes a daemon one of 10 GB without room, that holds mounts of 1 GB each and evicts the first next, without
// which a build loses 60 s.
func full(d *v1alpha1.BuildDaemon, mounts ...string) {
	d.Status.CapacityBytes, d.Status.UsedBytes = 10e9, 9e9
	d.Status.GC = &v1alpha1.GCStatus{
		MountsBudgetBytes: int64(len(mounts)) * 1e9,
		MountsBytes:       int64(len(mounts)) * 1e9,
		NextEviction:      &v1alpha1.NextEviction{ID: mounts[0], Bytes: 1e9, LostSeconds: 60},
	}
	for _, id := range mounts {
		used := metav1.NewTime(envtestkit.Epoch.Add(-24 * time.Hour))
		d.Status.Mounts = append(d.Status.Mounts, v1alpha1.MountUse{ID: id, Bytes: 1e9, LastUsed: &used})
	}
}

// TestAFullDaemonHasItsPrice has builds use mount ns/busy every minute, and none use mount ns/idle.
func TestAFullDaemonHasItsPrice(t *testing.T) {
	for name, c := range map[string]struct {
		change   func(f *observed)
		min, max float64 // seconds a GB on daemon 0
	}{
		"the next eviction is reused: what its agent says is lost": {
			func(f *observed) { full(&f.daemons[0], "ns/busy", "ns/idle") }, 55, 60},
		"the next eviction is not reused": {func(f *observed) { full(&f.daemons[0], "ns/idle", "ns/busy") }, 0, 0},
		"a redundant copy costs a quarter": {func(f *observed) {
			full(&f.daemons[0], "ns/busy", "ns/idle")
			f.daemons[0].Status.GC.NextEviction.Redundant = true
		}, 13, 15},
		"nothing may be evicted": {func(f *observed) {
			full(&f.daemons[0], "ns/busy", "ns/idle")
			f.daemons[0].Status.GC.NextEviction = nil
		}, 0, 0},
		"the agent has not reported": {func(f *observed) {
			full(&f.daemons[0], "ns/busy", "ns/idle")
			f.daemons[0].Status.GC = nil
		}, 0, 0},
		"a daemon with room evicts nothing": {func(f *observed) {
			full(&f.daemons[0], "ns/busy", "ns/idle")
			f.daemons[0].Status.GC.MountsBudgetBytes, f.daemons[0].Status.UsedBytes = 9e9, 2e9
		}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f := observe(t)
			f.cycle() // from now on ends are news
			f.builds = []v1alpha1.HLBBuild{done("cold", "k", "c-1", 100*time.Second, true)}
			for i := range 60 {
				b := withMounts(done(fmt.Sprint("b", i), "k", "c-1", 10*time.Second, false),
					v1alpha1.BuildMount{ID: "ns/busy", Bytes: 1e9})
				f.builds = append(f.builds, b)
			}
			c.change(f)
			var got float64
			for range 2 { // the sweep of the second round has a view to look at
				f.now = f.now.Add(sweepInterval)
				view, _, _ := f.view()
				at, _ := view.Position(f.daemonID(0))
				got = view.Daemons[at].EvictSecondsPerGB
			}
			if got < c.min || got > c.max {
				t.Errorf("dropping a GB costs %.1f s, want %.0f to %.0f", got, c.min, c.max)
			}
		})
	}
}

// TestANewMountGoesWhereNothingIsLost: of two daemons without room, the build that brings a new mount goes to the one
// whose next victim nobody wants.
func TestANewMountGoesWhereNothingIsLost(t *testing.T) {
	for precious := range 2 {
		f := observe(t)
		f.cycle()
		f.builds = []v1alpha1.HLBBuild{withMounts(done("other", "new", "c-9", 10*time.Second, true),
			v1alpha1.BuildMount{ID: "ns/new", Bytes: 2e9})}
		for i := range 60 {
			f.builds = append(f.builds,
				withMounts(done(fmt.Sprint("b", i), "k", "c-9", 10*time.Second, false),
					v1alpha1.BuildMount{ID: "ns/busy", Bytes: 1e9}))
		}
		full(&f.daemons[precious], "ns/busy", "ns/idle")
		full(&f.daemons[1-precious], "ns/idle")
		f.builds = append(f.builds, opened("waits", "new"))
		var got scheduler.Decision
		for range 2 {
			f.now = f.now.Add(sweepInterval)
			view, queue, _ := f.view()
			got = scheduler.Cycle(view, queue, &f.state.params)[0]
		}
		if want := f.daemons[1-precious].Name; got.Chosen.Name != want {
			t.Errorf("the build goes to %s, want %s: %s", got.Chosen.Name, want, got.String())
		}
	}
}
