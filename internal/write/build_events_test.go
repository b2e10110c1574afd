// SPDX-License-Identifier: Apache-2.0

package write_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/write"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// TestEachMountThatFailsHasAnEvent primes four mounts for one build. The events regard different fields, because
// recorders merge those that differ in their notes only.
func TestEachMountThatFailsHasAnEvent(t *testing.T) {
	told := &envtestkit.Recorder{}
	after := testbuild.HLBBuild("ns", "b", func(b *v1alpha1.HLBBuild) {
		b.Status.Prime = []v1alpha1.PrimeStatus{
			{ID: "ns/a", Outcome: v1alpha1.PrimeFailed, Message: "the registry is down"},
			{ID: "ns/new", Outcome: v1alpha1.PrimeNoSnapshot},
			{ID: "ns/primed", Outcome: v1alpha1.PrimePrimed, Bytes: 4 << 20, DurationSeconds: 1, Ref: "r/b"},
			{ID: "ns/b", Outcome: v1alpha1.PrimeTimedOut, Message: "not done after 1m0s"},
		}
		b.Status.Run = &v1alpha1.RunStatus{ID: "g1"}
	})
	before := testbuild.HLBBuild("ns", "b", func(b *v1alpha1.HLBBuild) { b.Status.Run = &v1alpha1.RunStatus{ID: "g1"} })
	write.Send(told, write.Changed(before, after)...)
	event := func(id, note string) envtestkit.Event {
		return envtestkit.Event{
			Object: "b", Field: "status.prime{" + id + "}",
			Type: "Warning", Reason: v1alpha1.ReasonPrimeFailed, Action: "PrimeMount", Note: note,
		}
	}
	want := []envtestkit.Event{
		event("ns/a", "ns/a was not primed: the registry is down"),
		event("ns/b", "ns/b was not primed: not done after 1m0s"),
	}
	if diff := cmp.Diff(want, told.Take()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

var at = metav1.NewMicroTime(envtestkit.Epoch)

// ready sets a build's Ready condition, False but for the reason Succeeded.
func ready(reason string) func(*v1alpha1.HLBBuild) {
	return func(b *v1alpha1.HLBBuild) {
		value := metav1.ConditionFalse
		if reason == v1alpha1.ReasonSucceeded {
			value = metav1.ConditionTrue
		}
		c := metav1.Condition{Type: v1alpha1.ConditionReady, Status: value, Reason: reason, Message: "x"}
		b.Status.Conditions = []metav1.Condition{c}
	}
}

// inRun gives a build a run and attempt.
func inRun(id string, attempt int32, options ...func(*v1alpha1.HLBBuild)) *v1alpha1.HLBBuild {
	return testbuild.HLBBuild("ns", "b", append([]func(*v1alpha1.HLBBuild){func(b *v1alpha1.HLBBuild) {
		b.Status.Run = &v1alpha1.RunStatus{ID: id, Attempt: attempt}
	}}, options...)...)
}

func placed(b *v1alpha1.HLBBuild) {
	b.Status.Placement = &v1alpha1.PlacementStatus{Daemon: "c-0", Reason: "why"}
}
func finished(b *v1alpha1.HLBBuild)  { b.Status.Run.FinishedAt = &at }
func suspended(b *v1alpha1.HLBBuild) { b.Status.Run.SuspendedAt = &at }
func missing(b *v1alpha1.HLBBuild) {
	b.Status.Run.Missing = &v1alpha1.MissingInput{Reason: "SecretNotFound", Message: "no Secret"}
}
func lost(attempt int32) func(*v1alpha1.HLBBuild) {
	return func(b *v1alpha1.HLBBuild) {
		b.Status.Run.Lost = &v1alpha1.LostAttempt{Attempt: attempt, Daemon: "c-0", Reason: v1alpha1.ReasonDaemonLost}
	}
}

func alone(b *v1alpha1.HLBBuild)  { b.Status.Run.Isolated = true }
func beside(b *v1alpha1.HLBBuild) { b.Status.Run.Lost.Neighbours = 2 }

func TestABuildsEvents(t *testing.T) {
	cases := map[string]struct {
		before, after *v1alpha1.HLBBuild
		want          []string
	}{
		"an opened run has none": {testbuild.HLBBuild("ns", "b"), inRun("g1", 1, ready("Pending")), nil},
		"a run that replaces one in flight": {
			inRun("g1", 1, ready("Solving")), inRun("g2", 1, ready("Pending")), []string{"Normal Cancelled"},
		},
		"a run that is suspended in flight": {
			inRun("g1", 1, ready("Solving")), inRun("g2", 1, ready("Suspended"), suspended),
			[]string{"Normal Cancelled"},
		},
		"a missing Secret": {
			inRun("g1", 1, ready("Solving"), placed), inRun("g1", 2, ready("SecretNotFound"), missing),
			[]string{"Warning SecretNotFound"},
		},
		"a Secret that is still missing": {
			inRun("g1", 2, ready("Solving"), placed, missing), inRun("g1", 3, ready("SecretNotFound"), missing), nil,
		},
		"a run after one that ended": {
			inRun("g1", 1, ready("Succeeded"), finished), inRun("g2", 1, ready("Pending")), nil,
		},
		"a run without its BuildCache": {
			testbuild.HLBBuild("ns", "b"), inRun("g1", 1, ready("CacheNotFound")), []string{"Warning CacheNotFound"},
		},
		"a first placement": {inRun("g1", 1, ready("Pending")), inRun("g1", 1, ready("AwaitingAgent"), placed), nil},
		"a later placement": {
			inRun("g1", 2, ready("Retrying")), inRun("g1", 2, ready("AwaitingAgent"), placed),
			[]string{"Normal DaemonChosen"},
		},
		"an attempt that is lost": {
			inRun("g1", 1, ready("Solving"), placed), inRun("g1", 1, ready("Retrying"), placed, lost(1)),
			[]string{"Warning Retrying"},
		},
		"a loss that other builds have a part in": {
			inRun("g1", 1, ready("Retrying"), placed, lost(1)), inRun("g1", 2, ready("Retrying"), lost(1), beside),
			[]string{"Warning Retrying"},
		},
		"a build that is to run alone": {
			inRun("g1", 1, ready("Retrying"), placed, lost(1)), inRun("g1", 2, ready("Retrying"), lost(1), alone),
			[]string{"Warning Retrying"},
		},
		"a build that ran alone, after its pause": {
			inRun("g1", 2, ready("Retrying"), lost(1), alone), inRun("g1", 2, ready("Retrying"), lost(1), alone), nil,
		},
		"an attempt that is lost and retried at once": {
			inRun("g1", 1, ready("Solving"), placed), inRun("g1", 2, ready("Retrying"), lost(1)),
			[]string{"Warning Retrying"},
		},
		"a lost attempt that is retried later": {
			inRun("g1", 1, ready("Retrying"), placed, lost(1)), inRun("g1", 2, ready("Retrying"), lost(1)), nil,
		},
		"a lost attempt that is the last": {
			inRun("g1", 1, ready("Solving"), placed), inRun("g1", 1, ready("DaemonLost"), lost(1), finished),
			[]string{"Warning DaemonLost"},
		},
		"success": {
			inRun("g1", 1, ready("Solving"), placed), inRun("g1", 1, ready("Succeeded"), placed, finished),
			[]string{"Normal Succeeded"},
		},
		"failure": {
			inRun("g1", 1, ready("Solving"), placed), inRun("g1", 1, ready("SolveFailed"), placed, finished),
			[]string{"Warning SolveFailed"},
		},
		"last words": {
			inRun("g1", 1, ready("Succeeded"), finished), inRun("g1", 1, ready("Succeeded"), finished, exported),
			[]string{"Warning CacheExportFailed"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, e := range write.Changed(tc.before, tc.after) {
				got = append(got, e.Type+" "+e.Reason)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

func exported(b *v1alpha1.HLBBuild) {
	b.Status.Conditions = append(b.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionCacheExported, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonCacheExportFailed,
	})
}
