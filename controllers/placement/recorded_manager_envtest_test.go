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
	"github.com/openllb/hlb-operator/controllers/watches"
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
	w.T.Helper()
	mgr, err := ctrl.NewManager(envtestkit.Get(w.T).Config, ctrl.Options{
		Scheme:     w.Client.Scheme(),
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Cache:      cache.Options{DefaultNamespaces: map[string]cache.Config{w.NS: {}}},
		Controller: config.Controller{SkipNameValidation: new(true)}, // a manager is restarted in one process
	})
	w.Must(err)
	recorder, err := record.Open(dir, 1<<30)
	w.Must(err)
	ctx, cancel := context.WithCancel(context.Background())
	loop := &Reconciler{
		Client: mgr.GetClient(), Events: w.Events, Clock: clock.RealClock{},
		Params: scheduler.DefaultParams(), Explain: &Explanations{}, Recorder: recorder,
	}
	w.Must(mgr.Add(recorder), watches.AddIndexes(ctx, mgr.GetFieldIndexer()), loop.SetupWithManager(mgr))
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	return func() {
		w.T.Helper()
		cancel()
		w.Must(<-ended)
	}
}

// finish has agents take builds and report them done, until there are n more that have ended.
func (w *world) finish(n int) {
	w.T.Helper()
	envtestkit.Eventually(w.T, func() error {
		var builds v1alpha1.HLBBuildList
		w.Must(w.Client.List(w.T.Context(), &builds, client.InNamespace(w.NS)))
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
				id := w.NS + "/m-" + b.Status.Run.Key
				b.Status.Cache = &v1alpha1.CacheUseStatus{Fresh: !b.Status.Placement.Warm}
				b.Status.Mounts = []v1alpha1.BuildMount{{ID: id, Sharing: v1alpha1.MountShared, Bytes: 1e9}}
				status.Succeed(b, time.Now())
				n--
			}
			w.Must(w.Client.Status().Update(w.T.Context(), b))
		}
		return fmt.Errorf("%d builds are still to end", n)
	})
}

// TestAManagerIsRecordedAndReplayed has a manager place a thousand builds and be restarted. Whatever the informers
// showed it in whichever order, the replay decides the same.
func TestAManagerIsRecordedAndReplayed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Fleet(3, 4)
	var all errgroup.Group
	all.SetLimit(16)
	const builds = 1100
	for i := range builds {
		all.Go(func() error {
			b := testbuild.HLBBuild(w.NS, fmt.Sprintf("b%04d", i), testbuild.WithCacheKey(fmt.Sprint("app-", i%40)))
			return w.Client.Create(t.Context(), b)
		})
	}
	w.Must(all.Wait())
	dir := t.TempDir()

	stop := w.manage(dir)
	w.finish(30)
	w.SetDaemon(1, testbuild.WithReady(metav1.ConditionFalse, v1alpha1.ReasonDaemonUnreachable))
	w.finish(20)
	w.SetDaemon(1, testbuild.Serving, testbuild.WithKey("app-7", time.Now(), 10, 100))
	w.finish(20)
	stop()
	stop = w.manage(dir)
	w.finish(30)
	for i := builds - 150; i < builds; i++ { // the queue is a short one now
		b := &v1alpha1.HLBBuild{ObjectMeta: metav1.ObjectMeta{Namespace: w.NS, Name: fmt.Sprintf("b%04d", i)}}
		w.Must(client.IgnoreNotFound(w.Client.Delete(t.Context(), b)))
	}
	w.finish(20)
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
	w.Must(errors.Join(p.Play(dir), p.Err()))
	t.Log(p.Summary())
	if p.Gaps != 1 || p.Skipped != 0 || len(p.Cut) != 0 || changes == 0 || large == 0 || large == p.Cycles {
		t.Errorf("%d rounds observed changes alone and %d were large, want some of each and a restart: %s",
			changes, large, p.Summary())
	}
	if least := 5 * 20; p.Builds < least {
		t.Errorf("%d decisions were replayed, want %d at least", p.Builds, least)
	}
}
