// SPDX-License-Identifier: Apache-2.0

// Package fleettest surrounds the manager's reconcilers in tests: a namespace of a real API server, a clock that stands
// still, recorded events, and what users, agents and Kubernetes do there. Tests call the reconcilers step by step.
//
// The package knows no reconciler, so that their own packages can use it.
package fleettest

import (
	"strconv"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// World is the namespace of one test. Its methods fail the test on any error.
type World struct {
	T  *testing.T
	NS string
	// Client reads and writes directly, without a cache.
	Client client.WithWatch
	Clock  *envtestkit.Clock
	Events *envtestkit.Recorder
}

// New makes a namespace for t; its clock stands at envtestkit.Epoch. TestMain of the package must call
// envtestkit.Main.
func New(t *testing.T) *World {
	t.Helper()
	cluster := envtestkit.Get(t)
	return &World{
		T: t, NS: cluster.Namespace(t), Client: cluster.Client, Clock: envtestkit.NewClock(),
		Events: &envtestkit.Recorder{},
	}
}

// Must fails the test on any of the errors.
func (w *World) Must(errs ...error) {
	w.T.Helper()
	for _, err := range errs {
		if err != nil {
			w.T.Fatal(err)
		}
	}
}

// Named is the metadata of an object of the namespace.
func (w *World) Named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: w.NS, Name: name}
}

// Create creates the objects, in order.
func (w *World) Create(objects ...client.Object) {
	w.T.Helper()
	for _, o := range objects {
		w.Must(w.Client.Create(w.T.Context(), o))
	}
}

// Get reads o, which must exist.
func (w *World) Get(o client.Object) {
	w.T.Helper()
	w.Must(w.Client.Get(w.T.Context(), client.ObjectKeyFromObject(o), o))
}

// Read reads o, which must exist, and returns it.
func Read[T client.Object](w interface{ Get(client.Object) }, o T) T {
	w.Get(o)
	return o
}

// Exists reads o if it exists, and reports whether it does.
func (w *World) Exists(o client.Object) bool {
	w.T.Helper()
	err := w.Client.Get(w.T.Context(), client.ObjectKeyFromObject(o), o)
	w.Must(client.IgnoreNotFound(err))
	return err == nil
}

// Fleet makes a BuildCache "cache" of n serving daemons, without their pods.
func (w *World) Fleet(n, slots int32) *v1alpha1.BuildCache {
	w.T.Helper()
	return w.FleetIn(w.NS, "cache", n, slots)
}

// FleetIn makes a BuildCache of this namespace and name with n serving daemons, without their pods.
func (w *World) FleetIn(namespace, name string, n, slots int32) *v1alpha1.BuildCache {
	w.T.Helper()
	cache := testbuild.BuildCache(namespace, name, testbuild.WithReplicas(n), testbuild.WithSlots(slots))
	w.Create(cache)
	for ordinal := range n {
		d := testbuild.BuildDaemon(namespace, name, ordinal)
		w.Create(d)
		testbuild.Serving(d)
		w.Must(w.Client.Status().Update(w.T.Context(), d))
		w.Create(w.lease(d))
	}
	return cache
}

// LeaseDuration is that of the Leases of Fleet's daemons.
const LeaseDuration = 5 * time.Second

// AgentOf is the agent ID that Fleet and Start give to a daemon's agent.
func AgentOf(daemon string) string { return "agent-of-" + daemon }

// lease is a daemon's Lease, which its agent holds.
func (w *World) lease(d *v1alpha1.BuildDaemon) *coordinationv1.Lease {
	now := metav1.NewMicroTime(w.Clock.Now())
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: d.Name},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: ptr.To(AgentOf(d.Name)), RenewTime: &now,
			LeaseDurationSeconds: ptr.To(int32(LeaseDuration / time.Second)),
		},
	}
}

// SetHolder changes who holds a daemon's Lease. With the agent's own ID it renews the Lease.
func (w *World) SetHolder(daemon, holder string) {
	w.T.Helper()
	l := Read(w, &coordinationv1.Lease{ObjectMeta: w.Named(daemon)})
	now := metav1.NewMicroTime(w.Clock.Now())
	l.Spec.HolderIdentity, l.Spec.RenewTime = &holder, &now
	w.Must(w.Client.Update(w.T.Context(), l))
}

// SetDaemon reports on a daemon of the BuildCache "cache", as its agent does.
func (w *World) SetDaemon(ordinal int32, options ...func(*v1alpha1.BuildDaemon)) *v1alpha1.BuildDaemon {
	w.T.Helper()
	d := Read(w, testbuild.BuildDaemon(w.NS, "cache", ordinal))
	for _, o := range options {
		o(d)
	}
	w.Must(w.Client.Status().Update(w.T.Context(), d))
	return d
}

// Ordinal is the ordinal at the end of a daemon's name, -1 without one.
func Ordinal(daemon string) int32 {
	n, err := strconv.ParseInt(daemon[strings.LastIndex(daemon, "-")+1:], 10, 32)
	if err != nil {
		return -1
	}
	return int32(n)
}

// Build creates a build for the BuildCache "cache". It has no run yet.
func (w *World) Build(name string, options ...func(*v1alpha1.HLBBuild)) *v1alpha1.HLBBuild {
	w.T.Helper()
	b := testbuild.HLBBuild(w.NS, name, options...)
	w.Create(b)
	return b
}

// Report changes a build's status, as its agent does.
func (w *World) Report(b *v1alpha1.HLBBuild, change func(*v1alpha1.HLBBuild)) *v1alpha1.HLBBuild {
	w.T.Helper()
	change(Read(w, b))
	w.Must(w.Client.Status().Update(w.T.Context(), b))
	return b
}

// Start has the agent of its daemon start the build.
func (w *World) Start(b *v1alpha1.HLBBuild) *v1alpha1.HLBBuild {
	w.T.Helper()
	return w.Report(b, func(b *v1alpha1.HLBBuild) {
		status.Start(b, AgentOf(b.Status.Placement.Daemon), w.Clock.Now())
	})
}

// Bound counts the builds that are bound to each daemon of the namespace; a daemon without any is left out.
func (w *World) Bound() map[string]int {
	w.T.Helper()
	var builds v1alpha1.HLBBuildList
	w.Must(w.Client.List(w.T.Context(), &builds, client.InNamespace(w.NS)))
	count := map[string]int{}
	for i := range builds.Items {
		if b := &builds.Items[i]; status.IsBound(b) {
			count[b.Status.Placement.Daemon]++
		}
	}
	return count
}

// ExpectState checks the reason of a build's Ready condition, and how kstatus reads the build.
func ExpectState(t testing.TB, b *v1alpha1.HLBBuild, reason string, want kstatus.Status) {
	t.Helper()
	if ready := envtestkit.Condition(b, v1alpha1.ConditionReady); ready == nil || ready.Reason != reason {
		t.Errorf("Ready is %+v, want reason %s", ready, reason)
	}
	if got := envtestkit.Kstatus(t, b); got != want {
		t.Errorf("kstatus is %s, want %s", got, want)
	}
}
