// SPDX-License-Identifier: Apache-2.0

package hlbbuild

import (
	"os"
	"testing"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/liveness"
	"github.com/openllb/hlb-operator/controllers/placement"
	"github.com/openllb/hlb-operator/internal/buildrun"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/fleettest"
)

func TestMain(m *testing.M) { os.Exit(envtestkit.Main(m)) }

// world is a namespace with the reconcilers of builds and of placement, called step by step.
type world struct {
	*fleettest.World
	builds    *Reconciler
	placement *placement.Reconciler
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{World: fleettest.New(t)}
	w.restart(w.Client)
	return w
}

// restart replaces the reconcilers by new ones that remember nothing, as a restart of the manager does. They reach
// the API through c.
func (w *world) restart(c client.Client) {
	w.builds = &Reconciler{
		Client: c, Events: w.Events, Clock: w.Clock,
		Liveness: &liveness.Watch{Client: c, Live: c, Clock: w.Clock},
	}
	w.placement = &placement.Reconciler{Client: c, Events: w.Events, Clock: w.Clock, Params: scheduler.DefaultParams()}
}

// open creates a build and has its run opened.
func (w *world) open(name string, options ...func(*v1alpha1.HLBBuild)) *v1alpha1.HLBBuild {
	w.T.Helper()
	return w.step(w.Build(name, options...))
}

// step reconciles one build and returns it as it then is. A run that it needs is opened before, as the loop of its
// BuildCache does if there is one.
func (w *world) step(b *v1alpha1.HLBBuild) *v1alpha1.HLBBuild {
	w.T.Helper()
	served, err := w.builds.isServed(w.T.Context(), fleettest.Read(w, b))
	w.Must(err)
	if served && status.NeedsRun(b) {
		w.Report(b, func(b *v1alpha1.HLBBuild) { status.Open(b, buildrun.New(b), w.Clock.Now()) })
	}
	_, err = w.builds.Reconcile(w.T.Context(), fleettest.Read(w, b))
	w.Must(err)
	return fleettest.Read(w, b)
}

// place runs the scheduling loop once.
func (w *world) place(cache *v1alpha1.BuildCache) ctrl.Result {
	w.T.Helper()
	result, err := w.placement.Reconcile(w.T.Context(), fleettest.Read(w, cache))
	w.Must(err)
	return result
}
