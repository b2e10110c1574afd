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
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// withMounts is a run that tells of cache mounts.
func withMounts(b v1alpha1.HLBBuild, mounts ...v1alpha1.BuildMount) v1alpha1.HLBBuild {
	b.Status.Mounts = mounts
	return b
}

// withSnapshot has a daemon tell of a mount's snapshot.
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
	ask := func() []scheduler.KeyUse {
		t.Helper()
		f.now = f.now.Add(demandInterval)
		_, queue, _ := f.view()
		return queue[0].Keys
	}
	if diff := cmp.Diff(want, ask(), cmpopts.EquateApprox(0.001, 0)); diff != "" {
		t.Errorf("keys differ (-want +got):\n%s", diff)
	}
	for i := range 5 { // each build that has the mount makes the snapshot older
		f.builds = append(f.builds,
			withMounts(done(fmt.Sprint("again", i), "k", "c-0", 3*time.Second, false),
				v1alpha1.BuildMount{ID: "ns/primed", Bytes: 70}))
	}
	if got := ask()[1].SnapshotFresh; !near(got, 0.9) {
		t.Errorf("a snapshot that has missed 5 builds is worth %.2f, want 0.90", got)
	}
}

func TestAKeyInTheRegistryCanBeBroughtIn(t *testing.T) {
	for name, tc := range map[string]struct {
		registry *v1alpha1.RegistryCacheSpec
		export   string
		want     bool
	}{
		"one that was exported": {&v1alpha1.RegistryCacheSpec{}, "r/x:cache", true},
		"one that was not":      {&v1alpha1.RegistryCacheSpec{}, "", false},
		"one that is never imported": {
			&v1alpha1.RegistryCacheSpec{ImportPolicy: v1alpha1.ImportNever}, "r/x:cache", false,
		},
		"one of a cache that has no registry": {nil, "r/x:cache", false},
	} {
		t.Run(name, func(t *testing.T) {
			exported := done("a", "k", "c-0", time.Second, true)
			exported.Status.Cache.ExportRef = tc.export
			f := observe(t, exported, opened("waits", "k"))
			f.cache.Spec.Registry = tc.registry
			_, queue, _ := f.view()
			if got := queue[0].Keys[0].SnapshotBytes > 0; got != tc.want {
				t.Errorf("can be brought in: %v, want %v", got, tc.want)
			}
		})
	}
}

// TestACheapSnapshotMakesABuildSpill has a warm daemon that is busy for long, and a build whose mounts can be primed
// within seconds elsewhere.
func TestACheapSnapshotMakesABuildSpill(t *testing.T) {
	for name, tc := range map[string]struct {
		snapshot         int64
		waitSecondsPerGB int32
		want             scheduler.Action
	}{
		"without a snapshot it waits":      {0, 0, scheduler.Wait},
		"with one it is primed elsewhere":  {1 << 20, 0, scheduler.Run},
		"with a large one too":             {1 << 30, 0, scheduler.Run},
		"unless that is worth a long wait": {1 << 30, 600, scheduler.Wait},
	} {
		t.Run(name, func(t *testing.T) {
			f := observe(t)
			f.cache.Spec.BuildKit.MaxConcurrentBuilds = 1
			f.cache.Spec.Mounts = []v1alpha1.MountPolicy{{ID: "m", Prime: v1alpha1.PrimeOnFreshDaemon}}
			f.cache.Spec.Registry = &v1alpha1.RegistryCacheSpec{WaitSecondsPerGiB: tc.waitSecondsPerGB}
			if tc.snapshot > 0 {
				withSnapshot(&f.daemons[0], "ns/m", v1alpha1.SnapshotPushed, envtestkit.Epoch, tc.snapshot)
			}
			f.cycle()
			cold := withMounts(done("cold", "k", "c-0", 400*time.Second, true),
				v1alpha1.BuildMount{ID: "ns/m", Bytes: tc.snapshot})
			if tc.snapshot > 0 {
				cold.Status.Cache.ExportRef = "r/x:cache"
			}
			f.builds = []v1alpha1.HLBBuild{
				cold,
				withMounts(done("warm", "k", "c-0", 80*time.Second, false),
					v1alpha1.BuildMount{ID: "ns/m", Bytes: tc.snapshot}),
				placed("busy", "k", "c-0", true), opened("waits", "k"),
			}
			f.builds[2].Status.Placement.Warm = true
			view, queue, _ := f.view()
			params := f.state.Params()
			d, _ := scheduler.Place(view, &queue[0], &params)
			if d.Action != tc.want || tc.want == scheduler.Run && d.Chosen.Mode != scheduler.Primed {
				t.Errorf("%s", d.String())
			}
		})
	}
}

// TestACopyThatIsFarBehindIsRefreshed has one daemon that holds a key's copy and can bring in a newer one.
func TestACopyThatIsFarBehindIsRefreshed(t *testing.T) {
	for behind, want := range map[int]bool{1: false, 30: true} {
		f := observe(t)
		f.cache.Spec.Registry = &v1alpha1.RegistryCacheSpec{}
		f.cycle()
		cold := done("cold", "k", "c-0", 400*time.Second, true)
		f.builds = []v1alpha1.HLBBuild{cold, done("warm", "k", "c-0", 60*time.Second, false)}
		f.cycle()
		for i := range behind {
			f.builds = append(f.builds, done(fmt.Sprint("b", i), "k", "c-1", 60*time.Second, i == 0))
			f.cycle()
		}
		last := done("last", "k", "c-1", 60*time.Second, false)
		last.Status.Cache.ExportRef = "r/x:cache"
		f.builds = append(f.builds, last, opened("waits", "k"))
		testbuild.WithCondition(v1alpha1.ConditionDraining, metav1.ConditionTrue,
			v1alpha1.ReasonShuttingDown)(&f.daemons[1])
		view, queue, _ := f.view()
		params := f.state.learnedParams()
		d, _ := scheduler.Place(view, &queue[0], &params)
		got := placementOf(&v1alpha1.HLBBuild{}, &d)
		if d.Action != scheduler.Run || got.Daemon != "c-0" || got.Refresh != want {
			t.Errorf("%d builds behind: %+v (%s), want refresh %v", behind, got, d.String(), want)
		}
	}
}

// TestARefreshedBuildIsNoColdOne tells what lengths of builds are learned as.
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

func TestPrimingTellsHowFastCachesComeIn(t *testing.T) {
	f := observe(t)
	f.cycle()
	small := v1alpha1.PrimeStatus{ID: "ns/small", Outcome: v1alpha1.PrimePrimed, Bytes: 1000, DurationSeconds: 3}
	// 2.5 s and 40 s
	large := v1alpha1.PrimeStatus{ID: "ns/large", Outcome: v1alpha1.PrimePrimed, Bytes: 4_000_000_000,
		DurationSeconds: 43}
	failed := v1alpha1.PrimeStatus{ID: "ns/gone", Outcome: v1alpha1.PrimeFailed, Bytes: 4_000_000_000,
		DurationSeconds: 900}
	b := done("a", "k", "c-0", time.Minute, true)
	b.Status.Prime = []v1alpha1.PrimeStatus{small, large, failed}
	f.builds = []v1alpha1.HLBBuild{b}
	if got := f.daemon("c-0").PullBytesPerSecond; !near(got, 1e8) {
		t.Errorf("c-0 brings in %.0f bytes a second, want 100 MB", got)
	}
	if got := f.daemon("c-1").PullBytesPerSecond; got != 0 {
		t.Errorf("c-1, of which nothing is known, brings in %.0f bytes a second", got)
	}
	p := f.state.learnedParams()
	if !near(p.PullBytesPerSecond, 1e8) || !near(p.PrimeFixedSeconds, 2.5) {
		t.Errorf("a daemon is expected to need %.1f s and to bring in %.0f bytes a second", p.PrimeFixedSeconds,
			p.PullBytesPerSecond)
	}
	// After a restart the same is known from the API.
	again := observe(t, b)
	again.cycle()
	if got := again.state.learnedParams(); got.PullBytesPerSecond != p.PullBytesPerSecond ||
		got.PrimeFixedSeconds != p.PrimeFixedSeconds {
		t.Errorf("after a restart: %+v", got)
	}
}

// TestALockedMountIsWaitedFor has a daemon with free slots, one of whose builds has the mount that another build of
// the key wants.
func TestALockedMountIsWaitedFor(t *testing.T) {
	for sharing, runs := range map[v1alpha1.MountSharing]bool{v1alpha1.MountShared: true, v1alpha1.MountLocked: false} {
		f := observe(t)
		f.cycle()
		mount := v1alpha1.BuildMount{ID: "ns/m", Sharing: sharing}
		f.builds = []v1alpha1.HLBBuild{
			withMounts(done("cold", "k", "c-0", 400*time.Second, true), mount),
			withMounts(done("warm", "k", "c-0", 60*time.Second, false), mount),
			placed("busy", "k", "c-0", true), opened("waits", "k"),
		}
		f.builds[2].Status.Placement.Warm = true
		f.daemons[0].Status.Mounts = []v1alpha1.MountUse{{ID: "ns/m"}}
		view, queue, _ := f.view()
		d := scheduler.Cycle(view, queue, &f.state.params)[0]
		if got := d.Action == scheduler.Run && d.Chosen.Name == "c-0" && d.Chosen.Cost.WaitSeconds == 0; got != runs ||
			d.Chosen.Name != "c-0" {
			t.Errorf("with a %s mount: %s", sharing, d.String())
		}
	}
}
