// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/fleet"
	"github.com/openllb/hlb-operator/fleet/record"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// manage runs the scheduling loop in a manager, with informers, and records it in dir. The manager sees this world's
// namespace only. The result stops it.
func (w *world) manage(dir string) (stop func()) {
	w.t.Helper()
	mgr, err := ctrl.NewManager(envtestkit.Get(w.t).Config, ctrl.Options{
		Scheme:     w.c.Scheme(),
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Cache:      cache.Options{DefaultNamespaces: map[string]cache.Config{w.ns: {}}},
		Controller: config.Controller{SkipNameValidation: new(true)}, // a manager is restarted in one process
	})
	w.must(err)
	recorder, err := record.Open(dir, 1<<30)
	w.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	byCache := func(o client.Object) []string { return []string{o.(*v1alpha1.HLBBuild).Spec.CacheRef.Name} }
	loop := &Reconciler{
		Client: mgr.GetClient(), Events: w.events, Clock: clock.RealClock{},
		Params: scheduler.DefaultParams(), Explain: &Explanations{}, Recorder: recorder,
	}
	w.must(mgr.Add(recorder), mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.HLBBuild{}, IndexCache, byCache),
		loop.SetupWithManager(mgr))
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	return func() {
		w.t.Helper()
		cancel()
		w.must(<-ended)
	}
}

// build has agents take builds and report them done, until there are n more that have ended.
func (w *world) build(n int) {
	w.t.Helper()
	envtestkit.Eventually(w.t, func() error {
		var builds v1alpha1.HLBBuildList
		w.must(w.c.List(w.t.Context(), &builds, client.InNamespace(w.ns)))
		for i := range builds.Items {
			b := &builds.Items[i]
			if n <= 0 {
				return nil
			}
			if !status.IsBound(b) {
				continue
			}
			if b.Status.Run.StartedAt == nil {
				status.Start(b, "agent-of-"+b.Status.Placement.Daemon, time.Now())
			} else {
				id := w.ns + "/m-" + b.Status.Run.Key
				b.Status.Cache = &v1alpha1.CacheUseStatus{Fresh: !b.Status.Placement.Warm}
				b.Status.Mounts = []v1alpha1.BuildMount{{ID: id, Sharing: v1alpha1.MountShared, Bytes: 1e9}}
				status.Succeed(b, time.Now())
				n--
			}
			w.must(w.c.Status().Update(w.t.Context(), b))
		}
		return fmt.Errorf("%d builds are still to end", n)
	})
}

// TestAManagerIsRecordedAndReplayed has a manager place a thousand builds and be restarted. Whatever the informers
// showed it in whichever order, the replay decides the same.
func TestAManagerIsRecordedAndReplayed(t *testing.T) {
	w := newWorld(t)
	w.fleet(3, 4)
	var all errgroup.Group
	all.SetLimit(16)
	const builds = 1100
	for i := range builds {
		all.Go(func() error {
			b := testbuild.HLBBuild(w.ns, fmt.Sprintf("b%04d", i), testbuild.WithCacheKey(fmt.Sprint("app-", i%40)))
			return w.c.Create(t.Context(), b)
		})
	}
	w.must(all.Wait())
	dir := t.TempDir()

	stop := w.manage(dir)
	w.build(30)
	w.setDaemon(1, testbuild.WithReady(metav1.ConditionFalse, v1alpha1.ReasonDaemonUnreachable))
	w.build(20)
	w.setDaemon(1, testbuild.Serving, testbuild.WithKey("app-7", time.Now(), 10, 100))
	w.build(20)
	stop()
	stop = w.manage(dir)
	w.build(30)
	for i := builds - 150; i < builds; i++ { // the queue is a short one now
		b := &v1alpha1.HLBBuild{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: fmt.Sprintf("b%04d", i)}}
		w.must(client.IgnoreNotFound(w.c.Delete(t.Context(), b)))
	}
	w.build(20)
	stop()

	changes, large := 0, 0
	p := &record.Player{Replayed: func(_ types.NamespacedName, obs *fleet.Observation, w *fleet.Writes) {
		if !obs.Full {
			changes++
		}
		if w.Queued > 1000 {
			large++
		}
	}}
	w.must(errors.Join(p.Play(dir), p.Err()))
	t.Log(p.Summary())
	if p.Gaps != 1 || p.Skipped != 0 || len(p.Cut) != 0 || changes == 0 || large == 0 || large == p.Cycles {
		t.Errorf("%d rounds observed changes alone and %d were large, want some of each and a restart: %s",
			changes, large, p.Summary())
	}
	if least := 5 * 20; p.Builds < least {
		t.Errorf("%d decisions were replayed, want %d at least", p.Builds, least)
	}
}
