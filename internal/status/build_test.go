// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"pgregory.net/rapid"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/failure"
	"github.com/openllb/hlb-operator/internal/status"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newBuild() *v1alpha1.HLBBuild {
	b := &v1alpha1.HLBBuild{ObjectMeta: metav1.ObjectMeta{Name: "b", Namespace: "n", Generation: 1}}
	b.APIVersion, b.Kind = v1alpha1.GroupVersion.String(), "HLBBuild"
	b.Status.ObservedGeneration = -1
	return b
}

func open(b *v1alpha1.HLBBuild, id string, now time.Time) {
	status.Open(b, v1alpha1.RunStatus{ID: id, Cause: v1alpha1.CauseSpecChanged, Generation: b.Generation}, now)
}

// steps lists what can happen to a build, each taking it to where the next may follow.
var steps = map[string]func(*v1alpha1.HLBBuild){
	"open":  func(b *v1alpha1.HLBBuild) { open(b, "g1", start) },
	"wait":  func(b *v1alpha1.HLBBuild) { status.Wait(b, v1alpha1.ReasonNoDaemonFits, "0/0 daemons fit", start) },
	"place": func(b *v1alpha1.HLBBuild) { status.Place(b, v1alpha1.PlacementStatus{Daemon: "c-0"}, start) },
	"start": func(b *v1alpha1.HLBBuild) { status.Start(b, "agent", start) },
	"lose":  func(b *v1alpha1.HLBBuild) { status.Lose(b, v1alpha1.ReasonDaemonLost, "gone", start) },
	"retry": func(b *v1alpha1.HLBBuild) { status.Retry(b, failure.Verdict{Counts: true}, start) },
	"miss": func(b *v1alpha1.HLBBuild) {
		status.HandBack(b, v1alpha1.ReasonSecretNotFound, "There is no Secret \"s\"", start)
	},
	"check":   func(b *v1alpha1.HLBBuild) { status.CheckAgain(b, start.Add(time.Hour)) },
	"suspend": func(b *v1alpha1.HLBBuild) { status.Suspend(b, start) },
	"resume":  func(b *v1alpha1.HLBBuild) { status.Resume(b, start.Add(time.Minute)) },
	"succeed": func(b *v1alpha1.HLBBuild) { status.Succeed(b, start.Add(1500*time.Millisecond)) },
	"fail": func(b *v1alpha1.HLBBuild) {
		status.Fail(b, v1alpha1.FailureStatus{Reason: v1alpha1.ReasonSolveFailed, Message: "exit code 3"}, start)
	},
}

func TestConditionsFollowFacts(t *testing.T) {
	cases := map[string]struct {
		path       string
		wantStatus kstatus.Status
		wantReason string
		want       string // each condition with its status
	}{
		"a new run waits": {
			"open", kstatus.InProgressStatus, v1alpha1.ReasonPending,
			"Scheduled=False Ready=False Reconciling=True Succeeded=Unknown Finished=False",
		},
		"a run without a fitting daemon waits": {
			"open wait", kstatus.InProgressStatus, v1alpha1.ReasonNoDaemonFits,
			"Scheduled=False Ready=False Reconciling=True Succeeded=Unknown Finished=False",
		},
		"a placed run awaits the agent": {
			"open place", kstatus.InProgressStatus, v1alpha1.ReasonAwaitingAgent,
			"Scheduled=True Running=False Ready=False Reconciling=True Succeeded=Unknown Finished=False",
		},
		"a started run is solving": {
			"open place start", kstatus.InProgressStatus, v1alpha1.ReasonSolving,
			"Scheduled=True Running=True Ready=False Reconciling=True Succeeded=Unknown Finished=False",
		},
		"a lost attempt is being retried": {
			"open place start lose", kstatus.InProgressStatus, v1alpha1.ReasonRetrying,
			"Scheduled=True Running=False Ready=False Reconciling=True Succeeded=Unknown Finished=False",
		},
		"the next attempt waits again": {
			"open place start lose retry", kstatus.InProgressStatus, v1alpha1.ReasonRetrying,
			"Scheduled=False Ready=False Reconciling=True Succeeded=Unknown Finished=False",
		},
		"a run whose Secret is not there yet waits for it": {
			"open place start miss", kstatus.InProgressStatus, v1alpha1.ReasonSecretNotFound,
			"Scheduled=False Ready=False Reconciling=True Succeeded=Unknown Finished=False",
		},
		"it still says so when it is queued for another look": {
			"open place start miss check", kstatus.InProgressStatus, v1alpha1.ReasonSecretNotFound,
			"Scheduled=False Ready=False Reconciling=True Succeeded=Unknown Finished=False",
		},
		"a suspended run waits": {
			"open place suspend", kstatus.InProgressStatus, v1alpha1.ReasonSuspended,
			"Scheduled=False Ready=False Reconciling=True Succeeded=Unknown Finished=False",
		},
		"a run that was suspended waits anew": {
			"open suspend resume", kstatus.InProgressStatus, v1alpha1.ReasonPending,
			"Scheduled=False Ready=False Reconciling=True Succeeded=Unknown Finished=False",
		},
		"a done run is ready": {
			"open place start succeed", kstatus.CurrentStatus, v1alpha1.ReasonSucceeded,
			"Scheduled=True Running=False Succeeded=True Finished=True Ready=True",
		},
		"a failed run is stalled": {
			"open place start fail", kstatus.FailedStatus, v1alpha1.ReasonSolveFailed,
			"Scheduled=True Running=False Succeeded=False Finished=True Ready=False Stalled=True",
		},
		"a run that fails before it was placed is stalled": {
			"open fail", kstatus.FailedStatus, v1alpha1.ReasonSolveFailed,
			"Scheduled=False Running=False Succeeded=False Finished=True Ready=False Stalled=True",
		},
		"a new run after a failed one starts over": {
			"open place start fail open", kstatus.InProgressStatus, v1alpha1.ReasonPending,
			"Scheduled=False Ready=False Reconciling=True Succeeded=Unknown Finished=False",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := newBuild()
			for _, s := range strings.Fields(tc.path) {
				steps[s](b)
			}
			var got []string
			for _, c := range b.Status.Conditions {
				got = append(got, c.Type+"="+string(c.Status))
			}
			want := strings.Fields(tc.want)
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("conditions (-want +got):\n%s", diff)
			}
			if ready := meta.FindStatusCondition(b.Status.Conditions, "Ready"); ready.Reason != tc.wantReason {
				t.Errorf("Ready has reason %s, want %s", ready.Reason, tc.wantReason)
			}
			if got := computed(t, b); got != tc.wantStatus {
				t.Errorf("kstatus reads %s, want %s", got, tc.wantStatus)
			}
		})
	}
}

// expectOneVerdict checks that exactly one of the standing conditions is True.
func expectOneVerdict(t interface{ Fatalf(string, ...any) }, conditions []metav1.Condition) {
	var verdicts []string
	for _, kind := range []string{"Ready", "Reconciling", "Stalled"} {
		if meta.IsStatusConditionTrue(conditions, kind) {
			verdicts = append(verdicts, kind)
		}
	}
	if len(verdicts) != 1 {
		t.Fatalf("%q are True, want exactly one of Ready, Reconciling and Stalled", verdicts)
	}
}

// expectTheEnd checks what the conditions say about the run's end against its phase.
func expectTheEnd(t interface{ Fatalf(string, ...any) }, b *v1alpha1.HLBBuild) {
	want := metav1.ConditionUnknown
	switch {
	case status.IsFinal(b) && b.Status.Failure == nil:
		want = metav1.ConditionTrue
	case status.IsFinal(b):
		want = metav1.ConditionFalse
	}
	finished := meta.IsStatusConditionTrue(b.Status.Conditions, v1alpha1.ConditionFinished)
	succeeded := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionSucceeded)
	if finished != status.IsFinal(b) || succeeded == nil || succeeded.Status != want {
		phase := status.PhaseOfBuild(b)
		t.Fatalf("phase %s: Finished is %v and Succeeded %+v, want %s", phase, finished, succeeded, want)
	}
}

// computed is how kstatus reads the object.
func computed(t interface{ Fatal(...any) }, o runtime.Object) kstatus.Status {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		t.Fatal(err)
	}
	result, err := kstatus.Compute(&unstructured.Unstructured{Object: content})
	if err != nil {
		t.Fatal(err)
	}
	return result.Status
}

func TestAnUnseenObjectIsInProgress(t *testing.T) {
	if got := computed(t, newBuild()); got != kstatus.InProgressStatus {
		t.Errorf("kstatus reads %s, want InProgress", got)
	}
}

// next lists which steps may follow which; "" is the new object.
var next = map[string][]string{
	"":        {"open"},
	"open":    {"wait", "place", "fail", "suspend"},
	"wait":    {"wait", "place", "fail", "open", "suspend"},
	"place":   {"start", "wait", "lose", "open", "suspend"},
	"start":   {"succeed", "fail", "lose", "miss", "open"},
	"miss":    {"check", "fail", "open", "suspend"},
	"check":   {"place", "wait", "fail", "open", "suspend"},
	"suspend": {"resume", "open"},
	"resume":  {"place", "wait", "fail", "open"},
	"lose":    {"retry", "fail", "open"},
	"retry":   {"place", "wait", "open"},
	"succeed": {"open"},
	"fail":    {"open"},
}

func TestExactlyOneVerdictHoldsOnEveryPath(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, at := newBuild(), ""
		for range rapid.IntRange(1, 30).Draw(t, "length") {
			at = rapid.SampledFrom(next[at]).Draw(t, "step")
			claimed := status.IsBound(b) && b.Status.Run.StartedBy != ""
			steps[at](b)
			if releasing := at == "open" && claimed; status.IsReleasing(b) != releasing {
				t.Fatalf("after %s releasing is %v", at, !releasing)
			}
			if status.IsReleasing(b) {
				if b.Status.Placement == nil || status.PhaseOfBuild(b) != status.BuildReleasing {
					t.Fatalf("phase %s, placement %+v", status.PhaseOfBuild(b), b.Status.Placement)
				}
				expectOneVerdict(t, b.Status.Conditions)
				status.Released(b, start)
			}
			expectOneVerdict(t, b.Status.Conditions)
			expectTheEnd(t, b)
			if len(b.Status.History) > 5 {
				t.Fatalf("history holds %d runs", len(b.Status.History))
			}
			if held := at == "miss" || at == "suspend"; status.IsHeld(b) != held {
				t.Fatalf("after %s held is %v", at, !held)
			}
			computed(t, b)
		}
	})
}

func TestHistoryTellsHowRunsEnded(t *testing.T) {
	b := newBuild()
	for _, s := range []string{"open", "place", "start", "succeed"} {
		steps[s](b)
	}
	b.Status.Steps = &v1alpha1.StepsStatus{Total: 3, Cached: 2, Display: "2/3"}
	open(b, "g2", start)
	open(b, "g3", start.Add(time.Hour))
	var got []string
	for _, r := range b.Status.History {
		got = append(got, strings.Join([]string{r.ID, r.Reason, r.Daemon, r.Cached}, " "))
	}
	want := []string{"g2 Cancelled  ", "g1 Succeeded c-0 2/3"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
	if got := b.Status.History[1].DurationSeconds; got != 2 {
		t.Errorf("the first run took %d s, want 2 (1.5 rounded up)", got)
	}
	if b.Status.Steps != nil || b.Status.Placement != nil {
		t.Error("a new run kept the steps or the placement of the old one")
	}
}

func TestAnAttemptThatMayExecuteIsReleasedFirst(t *testing.T) {
	cases := map[string]struct {
		take                  func(*v1alpha1.HLBBuild)
		wantPhase, wantAfter  status.BuildPhase
		wantReason, wantLater string
	}{
		"a new run": {
			steps["open"], status.BuildReleasing, status.BuildWaiting,
			v1alpha1.ReasonAwaitingRelease, v1alpha1.ReasonPending,
		},
		"a new run that is held": {
			func(b *v1alpha1.HLBBuild) { steps["open"](b); steps["suspend"](b) },
			status.BuildReleasing, status.BuildHeld, v1alpha1.ReasonSuspended, v1alpha1.ReasonSuspended,
		},
		"a run that took too long": {
			func(b *v1alpha1.HLBBuild) {
				status.FailOverdue(b, v1alpha1.FailureStatus{Reason: v1alpha1.ReasonDeadlineExceeded}, start)
			},
			status.BuildFinal, status.BuildFinal,
			v1alpha1.ReasonDeadlineExceeded, v1alpha1.ReasonDeadlineExceeded,
		},
		"an attempt without a report": {
			func(b *v1alpha1.HLBBuild) {
				status.LoseOverdue(b, v1alpha1.ReasonDaemonLost, "no report", start)
				status.Retry(b, failure.Verdict{Counts: true}, start)
			},
			status.BuildReleasing, status.BuildWaiting, v1alpha1.ReasonRetrying, v1alpha1.ReasonRetrying,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := newBuild()
			for _, s := range []string{"open", "place", "start"} {
				steps[s](b)
			}
			tc.take(b)
			expect := func(phase status.BuildPhase, reason string) {
				t.Helper()
				ready := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionReady)
				if got := status.PhaseOfBuild(b); got != phase || ready.Reason != reason {
					t.Errorf("phase %s with reason %s, want %s with %s", got, ready.Reason, phase, reason)
				}
			}
			expect(tc.wantPhase, tc.wantReason)
			want := &v1alpha1.ReleasingAttempt{Run: "g1", Attempt: 1, StartedBy: "agent"}
			if diff := cmp.Diff(want, b.Status.Releasing); diff != "" {
				t.Errorf("releasing (-want +got):\n%s", diff)
			}
			if b.Status.Placement == nil || b.Status.Placement.Daemon != "c-0" {
				t.Error("the agent sees the build no longer")
			}
			status.Released(b, start)
			expect(tc.wantAfter, tc.wantLater)
			if (b.Status.Placement == nil) != (tc.wantAfter != status.BuildFinal) {
				t.Errorf("afterwards the placement is %+v", b.Status.Placement)
			}
		})
	}
}

func TestClip(t *testing.T) {
	cases := map[string]struct{ got, want string }{
		"short text stays":                 {status.Clip("abc", 3), "abc"},
		"long text is cut at a character":  {status.Clip("aäöü", 6), "aä…"},
		"the head is cut at a character":   {status.ClipHead("äöüz", 6), "…üz"},
		"bytes that are no text are shown": {status.Clip("a\xffb", 9), "a\uFFFDb"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if tc.got != tc.want {
				t.Errorf("got %q, want %q", tc.got, tc.want)
			}
		})
	}
}
