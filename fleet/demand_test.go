// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
)

// withMounts is a run that reports cache mounts.
func withMounts(b v1alpha1.HLBBuild, mounts ...v1alpha1.BuildMount) v1alpha1.HLBBuild {
	b.Status.Mounts = mounts
	return b
}

// withSnapshot has a daemon report a mount's snapshot.
func withSnapshot(d *v1alpha1.BuildDaemon, mount string, outcome v1alpha1.SnapshotOutcome, at time.Time, bytes int64) {
	d.Status.Mounts = append(d.Status.Mounts, v1alpha1.MountUse{
		ID: mount, Bytes: bytes,
		Snapshot: &v1alpha1.MountSnapshotStatus{Outcome: outcome, Time: metav1.NewTime(at), Ref: "r/x@sha256:1",
			Bytes: bytes},
	})
}

func TestRequestsKnowSharingAndSnapshotsOfMounts(t *testing.T) {
	f := observe(t)
	f.cache.Spec.Mounts = []v1alpha1.MountPolicy{{ID: "primed", Prime: v1alpha1.PrimeOnFreshDaemon}}
	f.builds = []v1alpha1.HLBBuild{
		withMounts(done("a", "k", "c-0", time.Second, true),
			v1alpha1.BuildMount{ID: "ns/primed", Bytes: 70},
			v1alpha1.BuildMount{ID: "ns/other", Sharing: v1alpha1.MountLocked},
			v1alpha1.BuildMount{ID: "ns/own", Sharing: v1alpha1.MountPrivate}),
		opened("waits", "k"),
	}
	// the other has snapshots, and no policy to be primed from them
	for _, id := range []string{"ns/primed", "ns/other"} {
		withSnapshot(&f.daemons[0], id, v1alpha1.SnapshotPushed, envtestkit.Epoch.Add(-time.Hour), 50)
		withSnapshot(&f.daemons[1], id, v1alpha1.SnapshotUnchanged, envtestkit.Epoch.Add(time.Second), 60)
	}
	want := []scheduler.KeyUse{
		{ID: f.keyID("k"), Gain: 1},
		{ID: f.mountID("ns/primed"), Gain: 0.5 / 3, Bytes: 70, SnapshotBytes: 60, SnapshotFresh: 1},
		{ID: f.mountID("ns/other"), Gain: 0.5 / 3, Sharing: scheduler.Locked},
		{ID: f.mountID("ns/own"), Gain: 0.5 / 3, Sharing: scheduler.Private},
	}
	keys := func() []scheduler.KeyUse {
		t.Helper()
		f.now = f.now.Add(demandInterval)
		_, queue, _ := f.view()
		return queue[0].Keys
	}
	if diff := cmp.Diff(want, keys(), cmpopts.EquateApprox(0.001, 0)); diff != "" {
		t.Errorf("keys differ (-want +got):\n%s", diff)
	}
	for i := range 5 { // each build that has the mount makes the snapshot older
		f.builds = append(f.builds,
			withMounts(done(fmt.Sprint("again", i), "k", "c-0", 3*time.Second, false),
				v1alpha1.BuildMount{ID: "ns/primed", Bytes: 70}))
	}
	if got := keys()[1].SnapshotFresh; !near(got, 0.9) {
		t.Errorf("a snapshot that has missed 5 builds is worth %.2f, want 0.90", got)
	}
}

// TestARefreshedBuildIsNoColdOne is about the mode whose lengths a build teaches.
func TestARefreshedBuildIsNoColdOne(t *testing.T) {
	cases := map[string]struct {
		change func(b *v1alpha1.HLBBuild)
		want   scheduler.Mode
	}{
		"a fresh daemon without anything to bring in": {func(*v1alpha1.HLBBuild) {}, scheduler.Cold},
		"one with a cache in the registry": {func(b *v1alpha1.HLBBuild) {
			b.Status.Conditions = []metav1.Condition{{
				Type: v1alpha1.ConditionCacheImported, Reason: v1alpha1.ReasonImported,
			}}
		}, scheduler.Primed},
		"one whose mount was replaced": {func(b *v1alpha1.HLBBuild) {
			b.Status.Prime = []v1alpha1.PrimeStatus{{ID: "ns/m", Outcome: v1alpha1.PrimeRefreshed}}
		}, scheduler.Primed},
		"a warm one whose mounts proved to be new enough": {func(b *v1alpha1.HLBBuild) {
			b.Status.Placement.Warm, b.Status.Placement.Refresh = true, true
		}, scheduler.Warm},
		"a warm one": {func(b *v1alpha1.HLBBuild) { b.Status.Cache.Fresh = false }, scheduler.Warm},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := done("a", "k", "c-0", time.Minute, true)
			if tc.change(&b); modeOf(&b) != tc.want {
				t.Errorf("it is learned as %v, want %v", modeOf(&b), tc.want)
			}
		})
	}
}
