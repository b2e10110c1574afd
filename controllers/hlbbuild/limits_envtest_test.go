// SPDX-License-Identifier: Apache-2.0

package hlbbuild

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
	"github.com/openllb/hlb-operator/test/kit/fleettest"
)

// edit changes a build's spec and has the manager look at it.
func (w *world) edit(b *v1alpha1.HLBBuild, change func(*v1alpha1.HLBBuildSpec)) *v1alpha1.HLBBuild {
	w.T.Helper()
	fleettest.Read(w, b)
	change(&b.Spec)
	w.Must(w.Client.Update(w.T.Context(), b))
	return w.step(b)
}

func suspend(to bool) func(*v1alpha1.HLBBuildSpec) {
	return func(s *v1alpha1.HLBBuildSpec) { s.Suspend = to }
}

// pause is how long until the manager looks at the build by itself.
func (w *world) pause(b *v1alpha1.HLBBuild) time.Duration {
	w.T.Helper()
	result, err := w.builds.Reconcile(w.T.Context(), fleettest.Read(w, b))
	w.Must(err)
	return result.RequeueAfter
}

func TestEditsOfNoEffectOnTheResultLeaveTheRunAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(1, 1)
	b := w.open("b")
	b = w.edit(b, func(s *v1alpha1.HLBBuildSpec) { s.CacheKey = "other" })
	if b.Status.Run.Key != "other" {
		t.Errorf("a run that waits keeps the key %s", b.Status.Run.Key)
	}
	w.place(cache)
	w.Start(b)
	queued := b.Status.Run.QueuedAt
	w.Events.Take()
	w.Clock.Step(time.Minute)
	b = w.edit(b, func(s *v1alpha1.HLBBuildSpec) {
		s.Priority, s.Queue, s.CacheKey = 7, "team", "third"
		s.TimeoutSeconds, s.RetryLimit = 60, ptr.To[int32](1)
	})
	fleettest.ExpectState(t, b, v1alpha1.ReasonSolving, kstatus.InProgressStatus)
	run := b.Status.Run
	if run.ID != "g1" || !run.QueuedAt.Equal(&queued) || run.Key != "other" || b.Status.ObservedGeneration != 3 {
		t.Errorf("after edits the run is %+v, generation %d", run, b.Status.ObservedGeneration)
	}
	w.Report(b, func(b *v1alpha1.HLBBuild) { status.Succeed(b, w.Clock.Now()) })
	b = w.edit(b, func(s *v1alpha1.HLBBuildSpec) { s.Priority = 8 })
	fleettest.ExpectState(t, b, v1alpha1.ReasonSucceeded, kstatus.CurrentStatus)
	if reasons := w.Events.Reasons(); len(reasons) > 0 || len(b.Status.History) > 0 {
		t.Errorf("edits made the events %q and the history %+v", reasons, b.Status.History)
	}
}

func TestASuspendedBuildWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(1, 1)
	b := w.open("b", func(b *v1alpha1.HLBBuild) { b.Spec.Suspend = true })
	fleettest.ExpectState(t, b, v1alpha1.ReasonSuspended, kstatus.InProgressStatus)
	version := b.ResourceVersion
	w.place(cache)
	if b = w.step(b); b.ResourceVersion != version {
		t.Errorf("a suspended build is written again: %+v", b.Status)
	}
	b = w.edit(b, func(s *v1alpha1.HLBBuildSpec) { s.HLB.Targets = []string{"other"} })
	fleettest.ExpectState(t, b, v1alpha1.ReasonSuspended, kstatus.InProgressStatus)
	w.Clock.Step(time.Hour)
	b = w.edit(b, suspend(false))
	fleettest.ExpectState(t, b, v1alpha1.ReasonPending, kstatus.InProgressStatus)
	if at := b.Status.Run.QueuedAt.Time; !at.Equal(w.Clock.Now()) {
		t.Errorf("it waits since %s, want since now, %s", at, w.Clock.Now())
	}
	w.place(cache)
	fleettest.ExpectState(t, w.step(b), v1alpha1.ReasonAwaitingAgent, kstatus.InProgressStatus)
}

func TestSuspendTakesABuildFromItsDaemon(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		started    bool
		wantRun    string
		wantEvents []string
	}{
		"that has not started it":            {false, "g1", nil},
		"that builds it: the run is another": {true, "g2", []string{v1alpha1.ReasonCancelled}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			cache := w.Fleet(1, 1)
			b := w.open("b")
			w.place(cache)
			if tc.started {
				w.Start(b)
			}
			w.step(b)
			w.Events.Take()
			b = w.edit(b, suspend(true))
			fleettest.ExpectState(t, b, v1alpha1.ReasonSuspended, kstatus.InProgressStatus)
			if tc.started {
				w.acknowledge(b)
				fleettest.ExpectState(t, b, v1alpha1.ReasonSuspended, kstatus.InProgressStatus)
			}
			if b.Status.Placement != nil || b.Status.Run.StartedBy != "" || b.Status.Run.ID != tc.wantRun {
				t.Errorf("placement %+v of run %+v", b.Status.Placement, b.Status.Run)
			}
			if diff := cmp.Diff(tc.wantEvents, w.Events.Reasons()); diff != "" {
				t.Errorf("events differ (-want +got):\n%s", diff)
			}
			b = w.edit(b, suspend(false))
			w.place(cache)
			b = w.step(b)
			fleettest.ExpectState(t, b, v1alpha1.ReasonAwaitingAgent, kstatus.InProgressStatus)
			if b.Status.Run.ID != tc.wantRun || b.Status.Run.Attempt != 1 {
				t.Errorf("it goes on as run %+v", b.Status.Run)
			}
		})
	}
}

func TestSuspendLeavesWhatIsOverAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.end(w.open("b"))
	b = w.edit(b, suspend(true))
	fleettest.ExpectState(t, b, v1alpha1.ReasonSucceeded, kstatus.CurrentStatus)
	b = w.edit(b, suspend(false))
	fleettest.ExpectState(t, b, v1alpha1.ReasonSucceeded, kstatus.CurrentStatus)
}

func TestARunFailsAtItsDeadline(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"that waits", "that is placed", "that runs"} {
		t.Run(where, func(t *testing.T) {
			w := newWorld(t)
			cache := w.Fleet(1, 1)
			b := w.open("b", func(b *v1alpha1.HLBBuild) { b.Spec.ActiveDeadlineSeconds = ptr.To[int32](60) })
			if where != "that waits" {
				w.place(cache)
			}
			if where == "that runs" {
				w.Start(b)
			}
			w.Clock.Step(20 * time.Second)
			if got := w.pause(b); got != 40*time.Second {
				t.Errorf("it is looked at again in %s, want 40s", got)
			}
			w.Clock.Step(40 * time.Second)
			b = w.step(b)
			fleettest.ExpectState(t, b, v1alpha1.ReasonDeadlineExceeded, kstatus.FailedStatus)
			if f := b.Status.Failure; !strings.Contains(f.Message, "60 s") {
				t.Errorf("failure is %+v", f)
			}
		})
	}
}

func TestABuildIsDeletedAfterItsTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	short := func(b *v1alpha1.HLBBuild) { b.Spec.TTLSecondsAfterFinished = ptr.To[int32](30) }
	gone, scheduled := w.end(w.open("gone", short)), w.end(w.open("scheduled", short, hourly()))
	w.Clock.Step(10 * time.Second)
	if got := w.pause(gone); got != 20*time.Second {
		t.Errorf("it is looked at again in %s, want 20s", got)
	}
	w.Clock.Step(20 * time.Second)
	for _, b := range []*v1alpha1.HLBBuild{gone, scheduled} {
		w.pause(b)
	}
	if err := w.Client.Get(t.Context(), client.ObjectKeyFromObject(gone), gone); !apierrors.IsNotFound(err) {
		t.Errorf("half a minute after its end it is there: %v", err)
	}
	fleettest.Read(w, scheduled)
}

func TestABuildThatChangedIsNotDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.end(w.open("b", func(b *v1alpha1.HLBBuild) { b.Spec.TTLSecondsAfterFinished = ptr.To[int32](30) }))
	w.Clock.Step(30 * time.Second)
	old := b.DeepCopy()
	b.Spec.TTLSecondsAfterFinished = ptr.To[int32](3600)
	w.Must(w.Client.Update(t.Context(), b))
	_, err := w.builds.Reconcile(t.Context(), old)
	w.Must(err)
	fleettest.Read(w, b)
}

func TestAMissingSecretIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(1, 1)
	b := w.open("b", testbuild.WithRetryLimit(0))
	handBack := func() {
		w.place(cache)
		w.Start(b)
		w.Report(b, func(b *v1alpha1.HLBBuild) {
			status.HandBack(b, v1alpha1.ReasonSecretNotFound, "There is no Secret \"s\"", w.Clock.Now())
		})
		b = w.step(b)
	}
	handBack()
	fleettest.ExpectState(t, b, v1alpha1.ReasonSecretNotFound, kstatus.InProgressStatus)
	w.place(cache)
	if b = fleettest.Read(w, b); b.Status.Placement != nil {
		t.Error("it is placed before the Secret is worth another look")
	}
	if got := w.pause(b); got != 15*time.Second {
		t.Errorf("it is looked at again in %s, want 15s", got)
	}
	w.Clock.Step(15 * time.Second)
	b = w.step(b)
	handBack()
	fleettest.ExpectState(t, b, v1alpha1.ReasonSecretNotFound, kstatus.InProgressStatus)
	if got := w.pause(b); got != 30*time.Second {
		t.Errorf("it is looked at again in %s, want 30s", got)
	}
	if run := b.Status.Run; run.Attempt != 3 || run.UncountedAttempts != 2 {
		t.Errorf("after two looks the run is %+v", run)
	}
}
