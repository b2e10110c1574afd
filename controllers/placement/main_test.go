// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"encoding/json"
	"os"
	"testing"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/fleettest"
)

func TestMain(m *testing.M) { os.Exit(envtestkit.Main(m)) }

// world is a namespace with a scheduling loop, called round by round.
type world struct {
	*fleettest.World
	placement *Reconciler
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{World: fleettest.New(t)}
	w.restart()
	return w
}

// restart replaces the loop by a new one that remembers nothing, as a restart of the manager does.
func (w *world) restart() {
	w.placement = &Reconciler{Client: w.Client, Events: w.Events, Clock: w.Clock, Params: scheduler.DefaultParams()}
}

// place runs the scheduling loop once.
func (w *world) place(cache *v1alpha1.BuildCache) ctrl.Result {
	w.T.Helper()
	result, err := w.placement.Reconcile(w.T.Context(), fleettest.Read(w, cache).DeepCopy())
	w.Must(err)
	return result
}

// savedState is what a loop has learned, as far as tests look at it.
type savedState struct {
	Builds []struct {
		State struct{ Assumed json.RawMessage }
	}
	Prefetch struct{ Budget struct{ Tokens float64 } }
}

// saved is what the loop of a BuildCache has learned; empty without a loop.
func saved(t *testing.T, r *Reconciler, cache *v1alpha1.BuildCache) (out savedState) {
	t.Helper()
	l := r.loops[client.ObjectKeyFromObject(cache)]
	if l == nil {
		return out
	}
	text, err := l.state.Save()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
