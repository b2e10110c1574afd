// SPDX-License-Identifier: Apache-2.0

package hlbbuild

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/attempt"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
	"github.com/openllb/hlb-operator/test/kit/fleettest"
)

// supersede asks for another run of a build that was claimed, and returns it as it is afterwards.
func (w *world) supersede(b *v1alpha1.HLBBuild) *v1alpha1.HLBBuild {
	w.T.Helper()
	testbuild.WithRequest("again")(fleettest.Read(w, b))
	w.Must(w.Client.Update(w.T.Context(), b))
	_, err := w.builds.Reconcile(w.T.Context(), fleettest.Read(w, b))
	w.Must(err)
	return fleettest.Read(w, b)
}

// acknowledge has the agent of its daemon end the attempt that is to be released.
func (w *world) acknowledge(b *v1alpha1.HLBBuild) {
	w.T.Helper()
	w.Report(b, func(b *v1alpha1.HLBBuild) {
		s := attempt.Session{Daemon: b.DaemonName(), ID: fleettest.AgentOf(b.Status.Placement.Daemon)}
		if !attempt.AcknowledgeRelease(b, s, false, w.Clock.Now()) {
			w.T.Errorf("there is nothing to acknowledge: %+v", b.Status)
		}
	})
}

func TestASupersededAttemptIsReleasedBeforeTheNextIsPlaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(2, 1)
	b := w.open("b")
	w.place(cache)
	w.Start(b)
	first := b.Status.Placement.Daemon
	w.Events.Take()
	b = w.supersede(b)
	fleettest.ExpectState(t, b, v1alpha1.ReasonAwaitingRelease, kstatus.InProgressStatus)
	h := b.Status.History
	if len(h) != 1 || h[0].ID != "g1" || h[0].Reason != v1alpha1.ReasonCancelled || h[0].Daemon != first {
		t.Errorf("history is %+v", h)
	}
	if run := b.Status.Run; run.ID != "g1-2" || run.StartedAt != nil || run.Attempt != 1 {
		t.Errorf("the new run inherits from the old one: %+v", run)
	}
	if diff := cmp.Diff([]string{v1alpha1.ReasonCancelled}, w.Events.Reasons()); diff != "" {
		t.Errorf("events differ (-want +got):\n%s", diff)
	}
	for range 2 {
		w.place(cache)
		if b = w.step(b); status.PhaseOfBuild(b) != status.BuildReleasing || b.Status.Placement.Daemon != first {
			t.Fatalf("the attempt may execute, and the status is %+v", b.Status)
		}
	}
	w.acknowledge(b)
	w.place(cache)
	b = w.step(b)
	fleettest.ExpectState(t, b, v1alpha1.ReasonAwaitingAgent, kstatus.InProgressStatus)
	if b.Status.Run.Number != 2 || b.Status.Run.Attempt != 1 {
		t.Errorf("the run is %+v", b.Status.Run)
	}
}

func TestAReleaseEndsWithTheSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(2, 1)
	b := w.open("b")
	w.place(cache)
	w.Start(b)
	daemon := b.Status.Placement.Daemon
	b = w.supersede(b)
	w.SetDaemon(fleettest.Ordinal(daemon), testbuild.WithReady(metav1.ConditionUnknown, v1alpha1.ReasonLeaseExpired))
	if b = w.step(b); !status.IsReleasing(b) {
		t.Errorf("the agent holds its Lease, and the attempt counts as released: %+v", b.Status)
	}
	w.SetHolder(daemon, attempt.Taken)
	if b = w.step(b); !status.IsWaiting(b) {
		t.Errorf("the session is over, and the phase is %s", status.PhaseOfBuild(b))
	}
}

// TestALateLookLosesNoAttempt has the manager see a daemon as it was before its agent came back.
func TestALateLookLosesNoAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(1, 1)
	b := w.open("b")
	w.place(cache)
	w.Start(b)
	w.SetDaemon(0, testbuild.WithReady(metav1.ConditionUnknown, v1alpha1.ReasonLeaseExpired))
	for range 10 { // the agent renews all the time
		w.SetHolder("cache-0", fleettest.AgentOf("cache-0"))
		if b = w.step(b); !status.IsBound(b) || b.Status.Run.Attempt != 1 {
			t.Fatalf("the attempt executes, and the run is %+v", b.Status.Run)
		}
		w.Clock.Step(time.Second)
	}
	w.Clock.Step(fleettest.LeaseDuration) // now it is silent
	if b = w.step(b); b.Status.Run.Attempt != 2 {
		t.Errorf("the agent is gone, and the run is %+v", b.Status.Run)
	}
}

// TestAnAgentThatReportsNothingIsGivenUp has an agent renew its Lease and do nothing else.
func TestAnAgentThatReportsNothingIsGivenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(2, 1)
	b := w.open("b", testbuild.WithTimeout(60))
	w.place(cache)
	w.Start(b)
	daemon := b.Status.Placement.Daemon
	b = w.step(b) // the manager sees that it was claimed
	wait := func(d time.Duration) {
		t.Helper()
		w.Clock.Step(d - time.Second)
		w.SetHolder(daemon, fleettest.AgentOf(daemon))
		version := w.step(b).ResourceVersion
		if b.ResourceVersion != version {
			t.Fatalf("it was changed too early: %+v", b.Status)
		}
		w.Clock.Step(time.Second)
		b = w.step(b)
	}
	wait(time.Minute + attempt.ReportWithin)
	if run := b.Status.Run; run.Attempt != 2 || run.Lost.Attempt != 1 || !status.IsReleasing(b) {
		t.Fatalf("the status is %+v", b.Status)
	}
	b = w.step(b)
	wait(attempt.ReleaseWithin)
	w.Clock.Step(fleettest.LeaseDuration - time.Second)
	if b = w.step(b); !status.IsReleasing(b) {
		t.Fatal("the session is not over yet")
	}
	w.Clock.Step(time.Second)
	if b = w.step(b); status.IsReleasing(b) {
		t.Errorf("the session is over, and the status is %+v", b.Status)
	}
	w.place(cache)
	if b = w.step(b); !status.IsBound(b) {
		t.Errorf("the next attempt is not placed: %+v", b.Status)
	}
}
