// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"context"
	"encoding/json"
	"os"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

func TestMain(m *testing.M) { os.Exit(envtestkit.Main(m)) }

// world is a namespace with a scheduling loop, called round by round.
type world struct {
	t         *testing.T
	ns        string
	c         client.WithWatch
	clock     *envtestkit.Clock
	events    *envtestkit.Recorder
	placement *Reconciler
}

func newWorld(t *testing.T) *world {
	t.Helper()
	cluster := envtestkit.Get(t)
	w := &world{t: t, ns: cluster.Namespace(t), c: cluster.Client, clock: envtestkit.NewClock()}
	w.events = &envtestkit.Recorder{}
	w.restart()
	return w
}

// restart replaces the loop by a new one that remembers nothing, as a restart of the manager does.
func (w *world) restart() {
	w.placement = &Reconciler{Client: w.c, Events: w.events, Clock: w.clock, Params: scheduler.DefaultParams()}
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
	return w.fleetIn(w.ns, "cache", n, slots)
}

// fleetIn makes a BuildCache of this name with n serving daemons.
func (w *world) fleetIn(namespace, name string, n, slots int32) *v1alpha1.BuildCache {
	w.t.Helper()
	cache := testbuild.BuildCache(namespace, name, testbuild.WithReplicas(n), testbuild.WithSlots(slots))
	w.create(cache)
	for ordinal := range n {
		d := testbuild.BuildDaemon(namespace, name, ordinal)
		w.create(d)
		testbuild.Serving(d)
		w.must(w.c.Status().Update(w.t.Context(), d))
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

// open creates a build. Its run is opened when it is placed.
func (w *world) open(name string, options ...func(*v1alpha1.HLBBuild)) *v1alpha1.HLBBuild {
	w.t.Helper()
	b := testbuild.HLBBuild(w.ns, name, options...)
	w.create(b)
	return b
}

// place runs the scheduling loop once.
func (w *world) place(cache *v1alpha1.BuildCache) ctrl.Result {
	w.t.Helper()
	result, err := w.placement.Reconcile(w.t.Context(), read(w, cache).DeepCopy())
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

// expectState checks Ready's reason and how kstatus reads the build.
func expectState(t *testing.T, b *v1alpha1.HLBBuild, reason string, want kstatus.Status) {
	t.Helper()
	ready := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Reason != reason {
		t.Errorf("Ready is %+v, want reason %s", ready, reason)
	}
	if got := envtestkit.Kstatus(t, b); got != want {
		t.Errorf("kstatus is %s, want %s", got, want)
	}
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

// savedState is what a loop has learned, as far as tests look at it.
type savedState struct {
	Builds []struct {
		State struct{ Assumed json.RawMessage }
	}
	Prefetch struct{ Budget struct{ Tokens float64 } }
}

// saved is what the loop of a BuildCache has learned; empty without a loop.
func saved(w *world, cache *v1alpha1.BuildCache) (out savedState) {
	w.t.Helper()
	l := w.placement.loops[client.ObjectKeyFromObject(cache)]
	if l == nil {
		return out
	}
	text, err := l.state.Save()
	w.must(err)
	w.must(json.Unmarshal(text, &out))
	return out
}
