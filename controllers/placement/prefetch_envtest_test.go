// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
	"github.com/openllb/hlb-operator/test/kit/fleettest"
)

// grown is a fleet of one daemon that was scaled to two. The one has built a key whose home is the other, 100 s cold
// and 10 s warm, and has a snapshot of the key's mount, of 1 GB. more changes the key's builds.
func grown(w *world, more ...func(*v1alpha1.HLBBuild)) *v1alpha1.BuildCache {
	w.T.Helper()
	cache := w.Fleet(1, 4)
	cache.Spec.Prefetch = &v1alpha1.PrefetchSpec{BandwidthPerHour: resource.MustParse("1Ti")}
	cache.Spec.Mounts = []v1alpha1.MountPolicy{{ID: "m", Prime: v1alpha1.PrimeOnFreshDaemon}}
	w.Must(w.Client.Update(w.T.Context(), cache))
	two := cache.DeepCopy()
	two.Spec.Replicas = new(int32(2))
	key := fleettest.KeyAt(w.T, two, "cache-1", 0)
	for i, took := range []time.Duration{100 * time.Second, 10 * time.Second, 10 * time.Second} {
		b := w.Build(fmt.Sprint("b", i), append(more, testbuild.WithCacheKey(key))...)
		w.place(cache)
		w.Start(b)
		w.Clock.Step(took)
		w.Report(b, func(b *v1alpha1.HLBBuild) {
			b.Status.Cache = &v1alpha1.CacheUseStatus{Fresh: i == 0}
			b.Status.Mounts = []v1alpha1.BuildMount{{ID: w.NS + "/m", Sharing: v1alpha1.MountLocked, Bytes: 2e9}}
			status.Succeed(b, w.Clock.Now())
		})
	}
	w.SetDaemon(0, testbuild.WithKey(key, w.Clock.Now(), 10, 100), func(d *v1alpha1.BuildDaemon) {
		d.Status.Mounts = []v1alpha1.MountUse{{ID: w.NS + "/m", Bytes: 1e9, Snapshot: &v1alpha1.MountSnapshotStatus{
			Outcome: v1alpha1.SnapshotPushed, Time: metav1.NewTime(w.Clock.Now()), Ref: "r/x@sha256:1", Bytes: 1e9,
		}}}
	})
	if again := w.place(cache).RequeueAfter; again != 0 {
		w.T.Errorf("at rest the loop looks again in %s", again)
	}
	cache.Spec.Replicas = new(int32(2))
	w.Must(w.Client.Update(w.T.Context(), cache))
	w.Create(testbuild.BuildDaemon(w.NS, "cache", 1))
	w.SetDaemon(1, testbuild.Serving)
	return cache
}

// rest has the loop look at a fleet that changed, and once more when it wants to.
func (w *world) rest(cache *v1alpha1.BuildCache) {
	w.T.Helper()
	again := w.place(cache).RequeueAfter
	if again != 2*time.Minute {
		w.T.Errorf("after a daemon has joined the loop looks again in %s, want %s", again, 2*time.Minute)
	}
	w.Clock.Step(again)
	w.place(cache)
}

// requested is what the second daemon is asked for.
func (w *world) requested() []v1alpha1.PrefetchRequest {
	w.T.Helper()
	return fleettest.Read(w, testbuild.BuildDaemon(w.NS, "cache", 1)).Spec.Prefetch
}

// bring has the second daemon report that it has brought in all that it was asked for.
func (w *world) bring() {
	w.T.Helper()
	w.SetDaemon(1, func(d *v1alpha1.BuildDaemon) {
		for _, r := range d.Spec.Prefetch {
			d.Status.Prefetch = append(d.Status.Prefetch, v1alpha1.PrefetchStatus{
				PrimeStatus: v1alpha1.PrimeStatus{
					ID: r.ID, Outcome: v1alpha1.PrimePrimed, Bytes: r.Bytes,
				}, RequestedAt: r.RequestedAt,
			})
			d.Status.Mounts = append(d.Status.Mounts, v1alpha1.MountUse{ID: r.ID, Bytes: r.Bytes})
		}
	})
}

func TestMountsAreBroughtInAheadOfBuilds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := grown(w)
	w.rest(cache)
	want := []v1alpha1.PrefetchRequest{{
		ID: w.NS + "/m", Sharing: v1alpha1.MountLocked, Bytes: 1e9,
		RequestedAt: metav1.NewTime(w.Clock.Now()).Rfc3339Copy(),
	}}
	if diff := cmp.Diff(want, w.requested()); diff != "" {
		t.Fatalf("requests differ (-want +got):\n%s", diff)
	}
	if d := fleettest.Read(w, testbuild.BuildDaemon(w.NS, "cache", 0)); len(d.Spec.Prefetch) > 0 {
		t.Errorf("the daemon that holds the mount is asked for %+v", d.Spec.Prefetch)
	}
	w.bring()
	w.place(cache)
	if got := w.requested(); len(got) > 0 {
		t.Errorf("what the daemon is done with is not taken back: %+v", got)
	}
	w.Clock.Step(time.Minute)
	version := fleettest.Read(w, testbuild.BuildDaemon(w.NS, "cache", 1)).ResourceVersion
	if again := w.place(cache).RequeueAfter; again != 0 {
		t.Errorf("at rest the loop looks again in %s", again)
	}
	if fleettest.Read(w, testbuild.BuildDaemon(w.NS, "cache", 1)).ResourceVersion != version {
		t.Error("at rest the loop writes")
	}
}

// TestMountsAreForDaemonsThatBuildTheirKey has a daemon join that builds for one platform only.
func TestMountsAreForDaemonsThatBuildTheirKey(t *testing.T) {
	t.Parallel()
	for platform, want := range map[string]int{"linux/arm64/v8": 1, "linux/amd64": 0} {
		t.Run(platform, func(t *testing.T) {
			w := newWorld(t)
			cache := grown(w, func(b *v1alpha1.HLBBuild) { b.Spec.Platforms = []string{platform} })
			w.SetDaemon(1, func(d *v1alpha1.BuildDaemon) { d.Status.Platforms = []string{"linux/arm64"} })
			w.rest(cache)
			if got := w.requested(); len(got) != want {
				t.Errorf("it is asked for %+v, want %d mounts", got, want)
			}
		})
	}
}

func TestRequestsAreTakenBackWithTheSpec(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := grown(w)
	w.rest(cache)
	if len(w.requested()) != 1 {
		t.Fatalf("requests are %+v, want one", w.requested())
	}
	fleettest.Read(w, cache).Spec.Prefetch = nil
	w.Must(w.Client.Update(t.Context(), cache))
	if again := w.place(cache).RequeueAfter; again != 0 || len(w.requested()) > 0 {
		t.Errorf("without spec.prefetch the loop looks again in %s and asks for %+v", again, w.requested())
	}
}

// TestAConflictMeansTheNextPlan has the agent report between the loop's look and its write.
func TestAConflictMeansTheNextPlan(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := grown(w)
	patches := 0
	w.placement.Client = interceptor.NewClient(w.Client, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch,
			options ...client.PatchOption) error {
			if patches++; patches == 1 {
				w.SetDaemon(1, func(d *v1alpha1.BuildDaemon) { d.Status.UsedBytes++ })
			}
			return c.Patch(ctx, o, p, options...)
		},
	})
	w.rest(cache)
	left := saved(t, w.placement, cache).Prefetch.Budget.Tokens
	if got := w.requested(); patches != 1 || len(got) > 0 || left <= 0 {
		t.Errorf("%d writes, with the requests %+v; %g bytes are left", patches, got, left)
	}
	w.Clock.Step(time.Minute)
	before := left
	w.place(cache)
	left = saved(t, w.placement, cache).Prefetch.Budget.Tokens
	if got := w.requested(); len(got) != 1 || left >= before+1<<40/60 {
		t.Errorf("after the next plan the requests are %+v, and %g bytes are left of %g", got, left, before)
	}
}

// TestANewManagerTakesRequestsBack restarts the manager with a request under way.
func TestANewManagerTakesRequestsBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := grown(w)
	w.rest(cache)
	w.restart()
	if again := w.place(cache).RequeueAfter; again != 10*time.Minute || len(w.requested()) != 1 {
		t.Errorf("the new manager looks again in %s, want %s, and the requests are %+v", again, 10*time.Minute,
			w.requested())
	}
	w.bring()
	if again := w.place(cache).RequeueAfter; again != 0 || len(w.requested()) > 0 {
		t.Errorf("when all is done the new manager looks again in %s, and the requests are %+v", again, w.requested())
	}
}
