// SPDX-License-Identifier: Apache-2.0

package builddaemon

import (
	"os"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

func TestMain(m *testing.M) { os.Exit(envtestkit.Main(m)) }

// world is a namespace with the reconciler of BuildDaemons, called step by step.
type world struct {
	t       *testing.T
	ns      string
	c       client.WithWatch
	clock   *envtestkit.Clock
	events  *envtestkit.Recorder
	daemons *Reconciler
}

func newWorld(t *testing.T) *world {
	t.Helper()
	cluster := envtestkit.Get(t)
	w := &world{t: t, ns: cluster.Namespace(t), c: cluster.Client, clock: envtestkit.NewClock(),
		events: &envtestkit.Recorder{}}
	w.daemons = &Reconciler{Client: w.c, Events: w.events, Clock: w.clock, leases: newLeaseWatch()}
	return w
}

// must fails the test on an error.
func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// read refreshes o from the server and returns it.
func read[T client.Object](w *world, o T) T {
	w.t.Helper()
	w.must(w.c.Get(w.t.Context(), client.ObjectKeyFromObject(o), o))
	return o
}

// setDaemon reports on a daemon as its agent would.
func (w *world) setDaemon(ordinal int32, options ...func(*v1alpha1.BuildDaemon)) {
	w.t.Helper()
	d := read(w, testbuild.BuildDaemon(w.ns, "cache", ordinal))
	for _, o := range options {
		o(d)
	}
	w.must(w.c.Status().Update(w.t.Context(), d))
}
