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
)

// edit changes a build's spec and has the manager look at it.
func (w *world) edit(b *v1alpha1.HLBBuild, change func(*v1alpha1.HLBBuildSpec)) *v1alpha1.HLBBuild {
	w.t.Helper()
	read(w, b)
	change(&b.Spec)
	w.must(w.c.Update(w.t.Context(), b))
	return w.step(b)
}

func suspend(to bool) func(*v1alpha1.HLBBuildSpec) {
	return func(s *v1alpha1.HLBBuildSpec) { s.Suspend = to }
}

// pause is how long until the manager looks at the build by itself.
func (w *world) pause(b *v1alpha1.HLBBuild) time.Duration {
	w.t.Helper()
	result, err := w.builds.Reconcile(w.t.Context(), read(w, b))
	w.must(err)
	return result.RequeueAfter
}

func TestEditsOfNoEffectOnTheResultLeaveTheRunAlone(t *testing.T) {
	w := newWorld(t)
	cache := w.fleet(1, 1)
	b := w.open("b")
	b = w.edit(b, func(s *v1alpha1.HLBBuildSpec) { s.CacheKey = "other" })
	if b.Status.Run.Key != "other" {
		t.Errorf("a run that waits keeps the key %s", b.Status.Run.Key)
	}
	w.place(cache)
	w.takeUp(b)
	queued := b.Status.Run.QueuedAt
	w.events.Take()
	w.clock.Step(time.Minute)
	b = w.edit(b, func(s *v1alpha1.HLBBuildSpec) {
		s.Priority, s.Queue, s.CacheKey = 7, "team", "third"
		s.TimeoutSeconds, s.RetryLimit = 60, ptr.To[int32](1)
	})
	expectState(t, b, v1alpha1.ReasonSolving, kstatus.InProgressStatus)
	run := b.Status.Run
	if run.ID != "g1" || !run.QueuedAt.Equal(&queued) || run.Key != "other" || b.Status.ObservedGeneration != 3 {
		t.Errorf("after edits the run is %+v, generation %d", run, b.Status.ObservedGeneration)
	}
	w.report(b, func(b *v1alpha1.HLBBuild) { status.Succeed(b, w.clock.Now()) })
	b = w.edit(b, func(s *v1alpha1.HLBBuildSpec) { s.Priority = 8 })
	expectState(t, b, v1alpha1.ReasonSucceeded, kstatus.CurrentStatus)
	if reasons := w.events.Reasons(); len(reasons) > 0 || len(b.Status.History) > 0 {
		t.Errorf("edits made the events %q and the history %+v", reasons, b.Status.History)
	}
}

func TestASuspendedBuildWaits(t *testing.T) {
	w := newWorld(t)
	cache := w.fleet(1, 1)
	b := w.open("b", func(b *v1alpha1.HLBBuild) { b.Spec.Suspend = true })
	expectState(t, b, v1alpha1.ReasonSuspended, kstatus.InProgressStatus)
	version := b.ResourceVersion
	w.place(cache)
	if b = w.step(b); b.ResourceVersion != version {
		t.Errorf("a suspended build is written again: %+v", b.Status)
	}
	b = w.edit(b, func(s *v1alpha1.HLBBuildSpec) { s.HLB.Targets = []string{"other"} })
	expectState(t, b, v1alpha1.ReasonSuspended, kstatus.InProgressStatus)
	w.clock.Step(time.Hour)
	b = w.edit(b, suspend(false))
	expectState(t, b, v1alpha1.ReasonPending, kstatus.InProgressStatus)
	if at := b.Status.Run.QueuedAt.Time; !at.Equal(w.clock.Now()) {
		t.Errorf("it waits since %s, want since now, %s", at, w.clock.Now())
	}
	w.place(cache)
	expectState(t, w.step(b), v1alpha1.ReasonAwaitingAgent, kstatus.InProgressStatus)
}

func TestSuspendTakesABuildFromItsDaemon(t *testing.T) {
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
			cache := w.fleet(1, 1)
			b := w.open("b")
			w.place(cache)
			if tc.started {
				w.takeUp(b)
			}
			w.step(b)
			w.events.Take()
			b = w.edit(b, suspend(true))
			expectState(t, b, v1alpha1.ReasonSuspended, kstatus.InProgressStatus)
			if b.Status.Placement != nil || b.Status.Run.StartedBy != "" || b.Status.Run.ID != tc.wantRun {
				t.Errorf("placement %+v of run %+v", b.Status.Placement, b.Status.Run)
			}
			if diff := cmp.Diff(tc.wantEvents, w.events.Reasons()); diff != "" {
				t.Errorf("events differ (-want +got):\n%s", diff)
			}
			b = w.edit(b, suspend(false))
			w.place(cache)
			b = w.step(b)
			expectState(t, b, v1alpha1.ReasonAwaitingAgent, kstatus.InProgressStatus)
			if b.Status.Run.ID != tc.wantRun || b.Status.Run.Attempt != 1 {
				t.Errorf("it goes on as run %+v", b.Status.Run)
			}
		})
	}
}

func TestSuspendLeavesWhatIsOverAlone(t *testing.T) {
	w := newWorld(t)
	b := w.end(w.open("b"))
	b = w.edit(b, suspend(true))
	expectState(t, b, v1alpha1.ReasonSucceeded, kstatus.CurrentStatus)
	b = w.edit(b, suspend(false))
	expectState(t, b, v1alpha1.ReasonSucceeded, kstatus.CurrentStatus)
}

func TestARunFailsAtItsDeadline(t *testing.T) {
	for _, where := range []string{"that waits", "that is placed", "that runs"} {
		t.Run(where, func(t *testing.T) {
			w := newWorld(t)
			cache := w.fleet(1, 1)
			b := w.open("b", func(b *v1alpha1.HLBBuild) { b.Spec.ActiveDeadlineSeconds = ptr.To[int32](60) })
			if where != "that waits" {
				w.place(cache)
			}
			if where == "that runs" {
				w.takeUp(b)
			}
			w.clock.Step(20 * time.Second)
			if got := w.pause(b); got != 40*time.Second {
				t.Errorf("it is looked at again in %s, want 40s", got)
			}
			w.clock.Step(40 * time.Second)
			b = w.step(b)
			expectState(t, b, v1alpha1.ReasonDeadlineExceeded, kstatus.FailedStatus)
			if f := b.Status.Failure; !strings.Contains(f.Message, "60 s") {
				t.Errorf("failure is %+v", f)
			}
		})
	}
}

func TestABuildIsDeletedAfterItsTime(t *testing.T) {
	w := newWorld(t)
	short := func(b *v1alpha1.HLBBuild) { b.Spec.TTLSecondsAfterFinished = ptr.To[int32](30) }
	gone, scheduled := w.end(w.open("gone", short)), w.end(w.open("scheduled", short, hourly()))
	w.clock.Step(10 * time.Second)
	if got := w.pause(gone); got != 20*time.Second {
		t.Errorf("it is looked at again in %s, want 20s", got)
	}
	w.clock.Step(20 * time.Second)
	for _, b := range []*v1alpha1.HLBBuild{gone, scheduled} {
		w.pause(b)
	}
	if err := w.c.Get(t.Context(), client.ObjectKeyFromObject(gone), gone); !apierrors.IsNotFound(err) {
		t.Errorf("half a minute after its end it is there: %v", err)
	}
	read(w, scheduled)
}

func TestABuildThatChangedIsNotDeleted(t *testing.T) {
	w := newWorld(t)
	b := w.end(w.open("b", func(b *v1alpha1.HLBBuild) { b.Spec.TTLSecondsAfterFinished = ptr.To[int32](30) }))
	w.clock.Step(30 * time.Second)
	old := b.DeepCopy()
	b.Spec.TTLSecondsAfterFinished = ptr.To[int32](3600)
	w.must(w.c.Update(t.Context(), b))
	_, err := w.builds.Reconcile(t.Context(), old)
	w.must(err)
	read(w, b)
}

func TestAMissingSecretIsWaitedFor(t *testing.T) {
	w := newWorld(t)
	cache := w.fleet(1, 1)
	b := w.open("b", testbuild.WithRetryLimit(0))
	handBack := func() {
		w.place(cache)
		w.takeUp(b)
		w.report(b, func(b *v1alpha1.HLBBuild) {
			status.HandBack(b, v1alpha1.ReasonSecretNotFound, "There is no Secret \"s\"", w.clock.Now())
		})
		b = w.step(b)
	}
	handBack()
	expectState(t, b, v1alpha1.ReasonSecretNotFound, kstatus.InProgressStatus)
	w.place(cache)
	if b = read(w, b); b.Status.Placement != nil {
		t.Error("it is placed before the Secret is worth another look")
	}
	if got := w.pause(b); got != 15*time.Second {
		t.Errorf("it is looked at again in %s, want 15s", got)
	}
	w.clock.Step(15 * time.Second)
	b = w.step(b)
	handBack()
	expectState(t, b, v1alpha1.ReasonSecretNotFound, kstatus.InProgressStatus)
	if got := w.pause(b); got != 30*time.Second {
		t.Errorf("it is looked at again in %s, want 30s", got)
	}
	if run := b.Status.Run; run.Attempt != 3 || run.UncountedAttempts != 2 {
		t.Errorf("after two looks the run is %+v", run)
	}
}
