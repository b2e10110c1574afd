// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/attempt"
	"github.com/openllb/hlb-operator/internal/buildrun"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
	"github.com/openllb/hlb-operator/test/kit/fleettest"
)

func TestSameKeyGoesToTheSameDaemon(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(5, 4)
	var homes []string
	for i := range 3 {
		b := w.Build(fmt.Sprintf("b%d", i), testbuild.WithCacheKey("app"))
		w.place(cache)
		w.Start(b)
		w.Report(b, func(b *v1alpha1.HLBBuild) { status.Succeed(b, w.Clock.Now()) })
		homes = append(homes, b.Status.Placement.Daemon)
	}
	if homes[0] != homes[1] || homes[1] != homes[2] {
		t.Errorf("builds of one key went to %v", homes)
	}
}

func TestReportedKeysDrawBuilds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(3, 4)
	home := w.Build("home", testbuild.WithCacheKey("app"))
	w.place(cache)
	ordinal := fleettest.Ordinal(fleettest.Read(w, home).Status.Placement.Daemon)
	holder := (ordinal + 1) % 3 // not where the key would go by itself
	w.SetDaemon(holder, testbuild.WithKey("app", w.Clock.Now(), 2, 60))
	w.Must(w.Client.Delete(t.Context(), home))
	b := w.Build("b", testbuild.WithCacheKey("app"))
	w.place(cache)
	if p := fleettest.Read(w, b).Status.Placement; p == nil || p.Daemon != fmt.Sprintf("cache-%d", holder) || !p.Warm {
		t.Errorf("placement is %+v, want warm on cache-%d", p, holder)
	}
}

func TestCapacityIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(2, 2)
	var last *v1alpha1.HLBBuild
	for i := range 6 {
		w.Clock.Step(time.Second)
		last = w.Build(fmt.Sprintf("b%d", i), testbuild.WithCacheKey(fmt.Sprintf("k%d", i)))
	}
	if w.place(cache).RequeueAfter == 0 {
		t.Error("builds wait and the loop does not look again")
	}
	if diff := cmp.Diff(map[string]int{"cache-0": 2, "cache-1": 2}, w.Bound()); diff != "" {
		t.Errorf("bound builds differ (-want +got):\n%s", diff)
	}
	w.place(cache)
	if diff := cmp.Diff(map[string]int{"cache-0": 2, "cache-1": 2}, w.Bound()); diff != "" {
		t.Errorf("after a second round, bound builds differ (-want +got):\n%s", diff)
	}
	if last = fleettest.Read(w, last); last.Status.Placement != nil {
		t.Error("the youngest build was placed before older ones")
	}
	if got := last.Status.Conditions; len(got) == 0 {
		t.Error("a waiting build says nothing")
	}
}

// showing is a client that lists these HLBBuilds, as the manager's cache may hold them, and all else as it is.
func showing(w *world, builds ...v1alpha1.HLBBuild) client.Client {
	return interceptor.NewClient(w.Client, interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList,
			options ...client.ListOption) error {
			if l, ok := list.(*v1alpha1.HLBBuildList); ok {
				l.Items = (&v1alpha1.HLBBuildList{Items: builds}).DeepCopy().Items
				return nil
			}
			return c.List(ctx, list, options...)
		},
	})
}

func TestAssumedPlacementsCountUntilTheyAreSeen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(1, 1)
	older := w.Build("older") // which would go first, if the cache showed it at once
	w.Clock.Step(time.Second)
	younger := w.Build("younger")
	w.placement.Client = showing(w, *younger)
	w.place(cache)
	before := younger.DeepCopy()
	if fleettest.Read(w, younger).Status.Placement == nil {
		t.Fatal("the younger build was not placed")
	}
	w.placement.Client = showing(w, *older, *before)
	w.place(cache)
	if p := fleettest.Read(w, older).Status.Placement; p != nil {
		t.Errorf("the only slot was given away twice: %+v", p)
	}
	w.placement.Client = w.Client
	w.place(cache)
	for _, k := range saved(t, w.placement, cache).Builds {
		if k.State.Assumed != nil {
			t.Errorf("%s is assumed although it was observed", k.State.Assumed)
		}
	}
}

// TestTakenBackBuildIsNotAssumed is about a build that was placed and taken back between two looks of the loop.
func TestTakenBackBuildIsNotAssumed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(2, 1)
	b := w.Build("b")
	w.place(cache)
	w.Report(b, func(b *v1alpha1.HLBBuild) { status.Wait(b, v1alpha1.ReasonPending, "taken back", w.Clock.Now()) })
	w.place(cache)
	if fleettest.Read(w, b).Status.Placement == nil {
		t.Error("a build that was taken back is never placed again")
	}
}

func TestRestartInMidRoundLosesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(2, 2)
	for i := range 4 {
		w.Build(fmt.Sprintf("b%d", i), testbuild.WithCacheKey(fmt.Sprintf("k%d", i)))
	}
	// The manager dies after two writes.
	var writes atomic.Int32
	died := errors.New("the manager died")
	w.placement.Client = interceptor.NewClient(w.Client, interceptor.Funcs{
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch,
			options ...client.SubResourcePatchOption) error {
			if writes.Add(1) > 2 {
				return died
			}
			return c.SubResource(sub).Patch(ctx, o, p, options...)
		},
	})
	if _, err := w.placement.Reconcile(t.Context(), fleettest.Read(w, cache)); !errors.Is(err, died) {
		t.Fatalf("the round ended with %v", err)
	}
	w.restart()
	w.place(cache)
	if diff := cmp.Diff(map[string]int{"cache-0": 2, "cache-1": 2}, w.Bound()); diff != "" {
		t.Errorf("after the restart, bound builds differ (-want +got):\n%s", diff)
	}
}

func TestTwoManagersNeverPlaceABuildTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(2, 8)
	const n = 12
	for i := range n {
		w.Build(fmt.Sprintf("b%d", i), testbuild.WithCacheKey(fmt.Sprintf("k%d", i)))
	}
	var mu sync.Mutex
	placed := map[string]int{}
	counting := interceptor.NewClient(w.Client, interceptor.Funcs{
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch,
			options ...client.SubResourcePatchOption) error {
			err := c.SubResource(sub).Patch(ctx, o, p, options...)
			if err == nil {
				mu.Lock()
				placed[o.GetName()]++
				mu.Unlock()
			}
			return err
		},
	})
	fleettest.Read(w, cache)
	var wg sync.WaitGroup
	for range 2 {
		r := &Reconciler{Client: counting, Events: w.Events, Clock: w.Clock, Params: scheduler.DefaultParams()}
		wg.Go(func() {
			if _, err := r.Reconcile(t.Context(), cache.DeepCopy()); err != nil {
				t.Errorf("a conflict is an error: %v", err)
			}
		})
	}
	wg.Wait()
	for name, times := range placed {
		if times != 1 {
			t.Errorf("%s was placed %d times", name, times)
		}
	}
	if len(placed) != n {
		t.Errorf("%d builds were placed, want %d", len(placed), n)
	}
}

func TestNobodyFits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(1, 1)
	w.SetDaemon(0, testbuild.WithReady(metav1.ConditionFalse, v1alpha1.ReasonDaemonUnreachable))
	b := w.Build("b")
	if w.place(cache).RequeueAfter != waitingCheck {
		t.Error("the loop does not look again")
	}
	b = fleettest.Read(w, b)
	fleettest.ExpectState(t, b, v1alpha1.ReasonNoDaemonFits, kstatus.InProgressStatus)
	version := b.ResourceVersion
	w.place(cache)
	if fleettest.Read(w, b).ResourceVersion != version {
		t.Error("the same news is written twice")
	}
	w.SetDaemon(0, testbuild.Serving)
	w.place(cache)
	if fleettest.Read(w, b).Status.Placement == nil {
		t.Error("the build was not placed when its daemon came up")
	}
}

func TestAPlatformThatNobodyBuildsForIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(3, 1)
	for i := range int32(3) {
		w.SetDaemon(i, func(d *v1alpha1.BuildDaemon) { d.Status.Platforms = []string{"linux/amd64", "linux/386"} })
	}
	b := w.Build("b", func(b *v1alpha1.HLBBuild) { b.Spec.Platforms = []string{"linux/arm64"} })
	w.place(cache)
	c := meta.FindStatusCondition(fleettest.Read(w, b).Status.Conditions, v1alpha1.ConditionScheduled)
	if c == nil || c.Reason != v1alpha1.ReasonNoDaemonFits || c.Message != "0/3 daemons fit: 3 WrongPlatform" {
		t.Errorf("the build is told %+v", c)
	}
	w.SetDaemon(2, func(d *v1alpha1.BuildDaemon) { d.Status.Platforms = []string{"linux/arm64"} })
	w.place(cache)
	if p := fleettest.Read(w, b).Status.Placement; p == nil || p.Daemon != "cache-2" {
		t.Errorf("placement is %+v, want cache-2", p)
	}
}

func TestDeletedCacheGetsNoBuilds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(1, 1)
	b := w.Build("b")
	cache.Finalizers = []string{"example.com/hold"}
	w.Must(w.Client.Update(t.Context(), cache), w.Client.Delete(t.Context(), cache))
	w.place(cache)
	if fleettest.Read(w, b).Status.Placement != nil {
		t.Error("a build was placed on a fleet that is being deleted")
	}
	cache.Finalizers = nil
	w.Must(w.Client.Update(t.Context(), cache))
}

// TestEditInFlightIsLeftAlone edits a build that executes. Its attempt is released first, by the reconciler of builds.
func TestEditInFlightIsLeftAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(1, 4)
	b := w.Build("b")
	w.place(cache)
	w.Start(b)
	b.Spec.HLB.Targets = []string{"other"}
	w.Must(w.Client.Update(t.Context(), b))
	version := b.ResourceVersion
	w.place(cache)
	if b = fleettest.Read(w, b); b.ResourceVersion != version {
		t.Errorf("the attempt executes, and the status was changed: %+v", b.Status)
	}
	w.Report(b, func(b *v1alpha1.HLBBuild) { attempt.Open(b, buildrun.New(b), w.Clock.Now()) })
	version = b.ResourceVersion
	w.place(cache)
	if b = fleettest.Read(w, b); b.ResourceVersion != version {
		t.Errorf("the attempt is being released, and the status was changed: %+v", b.Status)
	}
	w.Report(b, func(b *v1alpha1.HLBBuild) { attempt.Release(b, true, w.Clock.Now()) })
	w.place(cache)
	fleettest.ExpectState(t, fleettest.Read(w, b), v1alpha1.ReasonAwaitingAgent, kstatus.InProgressStatus)
}

// TestARunIsOpenedWithItsFirstDecision counts the writes of a build that is placed at once, and of one that waits
// first.
func TestARunIsOpenedWithItsFirstDecision(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(1, 1)
	writes := map[string]int{}
	w.placement.Client = interceptor.NewClient(w.Client, interceptor.Funcs{
		SubResourcePatch: func(
			ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch,
			options ...client.SubResourcePatchOption,
		) error {
			writes[o.GetName()]++
			return c.SubResource(sub).Patch(ctx, o, p, options...)
		},
	})
	first := w.Build("first")
	w.place(cache)
	w.Clock.Step(time.Second)
	waits := w.Build("waits")
	w.place(cache)
	w.Clock.Step(time.Second)
	w.place(cache) // with nothing to report
	fleettest.Read(w, first)
	if run := first.Status.Run; run == nil || run.ID != "g1" || first.Status.Placement == nil {
		t.Errorf("the first build has the run %+v and the placement %+v", run, first.Status.Placement)
	}
	fleettest.ExpectState(t, fleettest.Read(w, waits), v1alpha1.ReasonNoDaemonFits, kstatus.InProgressStatus)
	if waited := w.Clock.Now().Sub(waits.Status.Run.QueuedAt.Time); waited != time.Second {
		t.Errorf("the second build was queued %s ago, want 1 s", waited)
	}
	if diff := cmp.Diff(map[string]int{"first": 1, "waits": 1}, writes); diff != "" {
		t.Errorf("writes differ (-want +got):\n%s", diff)
	}
	if events := w.Events.Reasons(); len(events) > 0 {
		t.Errorf("ordinary placements have the events %q", events)
	}
}
