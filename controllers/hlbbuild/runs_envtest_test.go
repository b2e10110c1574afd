// SPDX-License-Identifier: Apache-2.0

package hlbbuild

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/attempt"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
	"github.com/openllb/hlb-operator/test/kit/fleettest"
)

func TestRunGoesFromQueueToSuccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(1, 1)
	b := testbuild.HLBBuild(w.NS, "b")
	w.Create(b)
	if got := envtestkit.Kstatus(t, b); got != kstatus.InProgressStatus {
		t.Errorf("an unseen build's kstatus is %s", got)
	}
	b = w.step(b)
	fleettest.ExpectState(t, b, v1alpha1.ReasonPending, kstatus.InProgressStatus)
	if run := b.Status.Run; run.ID != "g1" || run.Attempt != 1 || run.Cause != v1alpha1.CauseSpecChanged ||
		run.Key != "build:b" {
		t.Errorf("the first run is %+v", run)
	}
	version := b.ResourceVersion
	if again := w.step(b); again.ResourceVersion != version {
		t.Error("a second look at the same world wrote something")
	}
	w.place(cache)
	b = w.step(b)
	fleettest.ExpectState(t, b, v1alpha1.ReasonAwaitingAgent, kstatus.InProgressStatus)
	w.Start(b)
	b = w.step(b)
	fleettest.ExpectState(t, b, v1alpha1.ReasonSolving, kstatus.InProgressStatus)
	w.Clock.Step(1500 * time.Millisecond)
	w.Report(b, func(b *v1alpha1.HLBBuild) { status.Succeed(b, w.Clock.Now()) })
	version = b.ResourceVersion
	b = w.step(b)
	fleettest.ExpectState(t, b, v1alpha1.ReasonSucceeded, kstatus.CurrentStatus)
	if b.ResourceVersion != version || b.Status.Run.DurationSeconds != 2 {
		t.Errorf("after the end: version %s → %s, %d s", version, b.ResourceVersion, b.Status.Run.DurationSeconds)
	}
	if w.place(cache).RequeueAfter != 0 {
		t.Error("the loop goes on without builds to place")
	}
}

func TestEachSpecAndRequestIsARun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(1, 4)
	b := w.open("b")
	finish := func() {
		w.place(cache)
		w.Start(b)
		w.Report(b, func(b *v1alpha1.HLBBuild) { status.Succeed(b, w.Clock.Now()) })
		w.step(b)
	}
	finish()
	request := func(value string) {
		testbuild.WithRequest(value)(b)
		w.Must(w.Client.Update(t.Context(), b))
		b = w.step(b)
		fleettest.ExpectState(t, b, v1alpha1.ReasonPending, kstatus.InProgressStatus)
	}
	request("2026-01-01T00:00:00Z")
	if b.Status.Run.Cause != v1alpha1.CauseRequested || b.Status.Run.Generation != 1 {
		t.Errorf("the requested run is %+v", b.Status.Run)
	}
	finish()
	b.Spec.CacheKey, b.Spec.HLB.Targets = "other", []string{"other"}
	w.Must(w.Client.Update(t.Context(), b))
	b = w.step(b)
	run := b.Status.Run
	if run.Cause != v1alpha1.CauseSpecChanged || run.Generation != 2 || run.Key != "other" ||
		b.Status.ObservedGeneration != 2 {
		t.Errorf("the run of the second generation is %+v", run)
	}
	var ends []string
	for _, r := range b.Status.History {
		ends = append(ends, r.ID[:2]+" "+r.Reason+" "+r.Daemon)
	}
	if diff := cmp.Diff([]string{"g1 Succeeded cache-0", "g1 Succeeded cache-0"}, ends); diff != "" {
		t.Errorf("history differs (-want +got):\n%s", diff)
	}
}

func TestLongRequestIsOneRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.open("b", testbuild.WithRequest(strings.Repeat("ö", 100)))
	first := b.Status.Run.ID
	if b = w.step(b); status.NeedsRun(b) || b.Status.Run.ID != first || len(b.Status.History) > 0 {
		t.Errorf("a long annotation opens runs again and again: %+v", b.Status)
	}
	testbuild.WithRequest(strings.Repeat("ö", 100) + "x")(b)
	w.Must(w.Client.Update(t.Context(), b))
	if b = w.step(b); b.Status.Run.ID == first {
		t.Error("a change beyond the 64th character opens no run")
	}
}

func TestBuildWaitsForItsCache(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.open("b")
	fleettest.ExpectState(t, b, v1alpha1.ReasonCacheNotFound, kstatus.InProgressStatus)
	if e := w.Events.Take(); len(e) != 1 || e[0].Type != "Warning" ||
		!strings.Contains(e[0].Note, `no BuildCache "cache"`) {
		t.Errorf("events are %+v", e)
	}
	version := b.ResourceVersion
	if b = w.step(b); b.ResourceVersion != version || len(w.Events.Take()) > 0 {
		t.Error("waiting for a cache writes or tells it again")
	}
	cache := w.Fleet(1, 1)
	w.place(cache)
	fleettest.ExpectState(t, w.step(b), v1alpha1.ReasonAwaitingAgent, kstatus.InProgressStatus)
}

func TestABuildWaitsUntilItsNamespaceIsAdmitted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	builders := envtestkit.Get(t).Namespace(t)
	cache := w.FleetIn(builders, "cache", 1, 1)
	b := w.Build("b", func(b *v1alpha1.HLBBuild) { b.Spec.CacheRef.Namespace = builders })
	w.place(cache)
	b = w.step(b)
	fleettest.ExpectState(t, b, v1alpha1.ReasonNamespaceNotAllowed, kstatus.InProgressStatus)
	if e := w.Events.Take(); len(e) != 1 || e[0].Type != "Warning" ||
		!strings.Contains(e[0].Note, "does not admit builds of namespace") {
		t.Errorf("events are %+v", e)
	}
	cache.Spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll}
	w.Must(w.Client.Update(t.Context(), cache))
	w.place(cache)
	fleettest.ExpectState(t, w.step(b), v1alpha1.ReasonPending, kstatus.InProgressStatus)
	cache = fleettest.Read(w, cache)
	cache.Status.Namespaces = []v1alpha1.ServedNamespace{{Name: w.NS, Admitted: true}}
	w.Must(w.Client.Status().Update(t.Context(), cache))
	w.Clock.Step(time.Second)
	w.place(cache)
	b = w.step(b)
	fleettest.ExpectState(t, b, v1alpha1.ReasonAwaitingAgent, kstatus.InProgressStatus)
	if name := b.DaemonName(); name.Namespace != builders || name.Name != "cache-0" {
		t.Errorf("the build is on %s", name)
	}
	if key := b.Status.Run.Key; !strings.HasPrefix(key, "/"+w.NS+"/") {
		t.Errorf("its key is %q, as builds of the fleet's own namespace have", key)
	}
}

func TestLostAttemptsAreRetriedElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(3, 1)
	b := w.open("b", testbuild.WithRetryLimit(1))
	w.place(cache)
	w.Start(b)
	first := b.Status.Placement.Daemon
	lose := func() {
		d := w.Daemon(b.Status.Placement.Daemon)
		testbuild.WithReady(metav1.ConditionUnknown, v1alpha1.ReasonLeaseExpired)(d)
		w.SetHolder(d.Name, attempt.Taken)
		w.Must(w.Client.Status().Update(t.Context(), d))
		b = w.step(b)
	}
	lose()
	fleettest.ExpectState(t, b, v1alpha1.ReasonRetrying, kstatus.InProgressStatus)
	if run := b.Status.Run; run.Attempt != 2 || run.StartedBy != "" || run.Lost.Daemon != first ||
		run.Lost.Reason != v1alpha1.ReasonDaemonLost {
		t.Errorf("after the loss the run is %+v", run)
	}
	w.place(cache)
	w.Start(b)
	if b.Status.Placement.Daemon == first {
		t.Errorf("the second attempt went to the lost daemon %s", first)
	}
	lose()
	fleettest.ExpectState(t, b, v1alpha1.ReasonDaemonLost, kstatus.FailedStatus)
	if f := b.Status.Failure; f == nil || !strings.Contains(f.Message, "Attempt 2, the last of spec.retryLimit") {
		t.Errorf("failure is %+v", f)
	}
	version := b.ResourceVersion
	w.place(cache)
	if b = w.step(b); b.ResourceVersion != version {
		t.Error("a failed run goes on")
	}
}

func TestUntakenBuildsAreTakenBackAtNoCost(t *testing.T) {
	t.Parallel()
	cases := map[string]func(w *world, daemon int32){
		"from a draining daemon": func(w *world, daemon int32) {
			w.SetDaemon(daemon,
				testbuild.WithCondition(v1alpha1.ConditionDraining, metav1.ConditionTrue, v1alpha1.ReasonShuttingDown))
		},
		"from a silent daemon": func(w *world, daemon int32) {
			w.SetDaemon(daemon, testbuild.WithReady(metav1.ConditionUnknown, v1alpha1.ReasonLeaseExpired))
		},
		"from a daemon that is gone": func(w *world, daemon int32) {
			w.Must(w.Client.Delete(w.T.Context(), testbuild.BuildDaemon(w.NS, "cache", daemon)))
		},
	}
	for name, stop := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			cache := w.Fleet(2, 1)
			b := w.open("b")
			w.place(cache)
			first := fleettest.Read(w, b).Status.Placement.Daemon
			stop(w, fleettest.Ordinal(first))
			b = w.step(b)
			fleettest.ExpectState(t, b, v1alpha1.ReasonPending, kstatus.InProgressStatus)
			w.place(cache) // by the same loop that placed it before: what it assumed then must not hold it
			b = fleettest.Read(w, b)
			if b.Status.Placement == nil || b.Status.Placement.Daemon == first || b.Status.Run.Attempt != 1 ||
				b.Status.Run.Lost != nil {
				t.Errorf("placement %+v of run %+v, want the other daemon and the first attempt", b.Status.Placement,
					b.Status.Run)
			}
		})
	}
}

func TestTakenBuildOfADrainingDaemonStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(1, 1)
	b := w.open("b")
	w.place(cache)
	w.Start(b)
	w.SetDaemon(0,
		testbuild.WithCondition(v1alpha1.ConditionDraining, metav1.ConditionTrue, v1alpha1.ReasonShuttingDown))
	fleettest.ExpectState(t, w.step(b), v1alpha1.ReasonSolving, kstatus.InProgressStatus)
}

func TestDeletedBuildIsLeftAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := testbuild.HLBBuild(w.NS, "b", func(b *v1alpha1.HLBBuild) { b.Finalizers = []string{"example.com/hold"} })
	w.Create(b)
	w.Must(w.Client.Delete(t.Context(), b))
	if b = w.step(b); b.Status.Run != nil {
		t.Error("a deleted build got a run")
	}
	b.Finalizers = nil
	w.Must(client.IgnoreNotFound(w.Client.Update(t.Context(), b)))
}
