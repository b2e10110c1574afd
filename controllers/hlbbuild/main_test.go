// SPDX-License-Identifier: Apache-2.0

package hlbbuild

import (
	"context"
	"os"
	"testing"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/placement"
	"github.com/openllb/hlb-operator/internal/buildrun"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

func TestMain(m *testing.M) { os.Exit(envtestkit.Main(m)) }

// world is a namespace with the manager's reconcilers, called step by step.
type world struct {
	t      *testing.T
	ns     string
	c      client.WithWatch
	clock  *envtestkit.Clock
	events *envtestkit.Recorder

	builds    *Reconciler
	placement *placement.Reconciler
}

func newWorld(t *testing.T) *world {
	t.Helper()
	cluster := envtestkit.Get(t)
	w := &world{t: t, ns: cluster.Namespace(t), c: cluster.Client, clock: envtestkit.NewClock(),
		events: &envtestkit.Recorder{}}
	w.restart(w.c)
	return w
}

// restart replaces the reconcilers by new ones that remember nothing, as a restart of the manager does. They reach
// the API through c.
func (w *world) restart(c client.Client) {
	w.builds = &Reconciler{Client: c, Events: w.events, Clock: w.clock}
	w.placement = &placement.Reconciler{Client: c, Events: w.events, Clock: w.clock, Params: scheduler.DefaultParams()}
}

// must fails the test on any of the errors.
func (w *world) must(errs ...error) {
	w.t.Helper()
	for _, err := range errs {
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) create(objects ...client.Object) {
	w.t.Helper()
	for _, o := range objects {
		w.must(w.c.Create(w.t.Context(), o))
	}
}

// read refreshes o from the server and returns it.
func read[T client.Object](w *world, o T) T {
	w.t.Helper()
	w.must(w.c.Get(w.t.Context(), client.ObjectKeyFromObject(o), o))
	return o
}

// fleet makes a BuildCache "cache" of n serving daemons, without their pods.
func (w *world) fleet(n, slots int32) *v1alpha1.BuildCache {
	w.t.Helper()
	cache := testbuild.BuildCache(w.ns, "cache", testbuild.WithReplicas(n), testbuild.WithSlots(slots))
	w.create(cache)
	for ordinal := range n {
		w.create(testbuild.BuildDaemon(w.ns, "cache", ordinal))
		w.setDaemon(ordinal, testbuild.Serving)
	}
	return cache
}

// setDaemon reports on a daemon as its agent would.
func (w *world) setDaemon(ordinal int32, options ...func(*v1alpha1.BuildDaemon)) *v1alpha1.BuildDaemon {
	w.t.Helper()
	d := read(w, testbuild.BuildDaemon(w.ns, "cache", ordinal))
	for _, o := range options {
		o(d)
	}
	w.must(w.c.Status().Update(w.t.Context(), d))
	return d
}

// open creates a build and has its run opened.
func (w *world) open(name string, options ...func(*v1alpha1.HLBBuild)) *v1alpha1.HLBBuild {
	w.t.Helper()
	b := testbuild.HLBBuild(w.ns, name, options...)
	w.create(b)
	return w.step(b)
}

// step reconciles one build and returns it as it then is. A run that it needs is opened before, as the loop of its
// BuildCache does if there is one.
func (w *world) step(b *v1alpha1.HLBBuild) *v1alpha1.HLBBuild {
	w.t.Helper()
	served, err := w.builds.isServed(w.t.Context(), read(w, b))
	w.must(err)
	if served && status.NeedsRun(b) {
		w.report(b, func(b *v1alpha1.HLBBuild) { status.Open(b, buildrun.New(b), w.clock.Now()) })
	}
	_, err = w.builds.Reconcile(w.t.Context(), read(w, b))
	w.must(err)
	return read(w, b)
}

// place runs the scheduling loop once.
func (w *world) place(cache *v1alpha1.BuildCache) ctrl.Result {
	w.t.Helper()
	result, err := w.placement.Reconcile(w.t.Context(), read(w, cache))
	w.must(err)
	return result
}

// report changes a build's status as an agent does.
func (w *world) report(b *v1alpha1.HLBBuild, change func(*v1alpha1.HLBBuild)) *v1alpha1.HLBBuild {
	w.t.Helper()
	read(w, b)
	change(b)
	w.must(w.c.Status().Update(w.t.Context(), b))
	return b
}

// takeUp has an agent start the build.
func (w *world) takeUp(b *v1alpha1.HLBBuild) *v1alpha1.HLBBuild {
	w.t.Helper()
	return w.report(b, func(b *v1alpha1.HLBBuild) {
		status.Start(b, "agent-of-"+b.Status.Placement.Daemon, w.clock.Now())
	})
}

// daemonsOf counts the builds bound to each daemon.
func (w *world) daemonsOf(ctx context.Context) map[string]int {
	w.t.Helper()
	var builds v1alpha1.HLBBuildList
	w.must(w.c.List(ctx, &builds, client.InNamespace(w.ns)))
	count := map[string]int{}
	for i := range builds.Items {
		if status.IsBound(&builds.Items[i]) {
			count[builds.Items[i].Status.Placement.Daemon]++
		}
	}
	return count
}
