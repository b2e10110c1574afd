// SPDX-License-Identifier: Apache-2.0

package buildstatus_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"pgregory.net/rapid"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/buildstatus"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newBuild() *v1alpha1.HLBBuild {
	b := &v1alpha1.HLBBuild{ObjectMeta: metav1.ObjectMeta{Name: "b", Namespace: "n", Generation: 1}}
	b.APIVersion, b.Kind = v1alpha1.GroupVersion.String(), "HLBBuild"
	b.Status.ObservedGeneration = -1
	return b
}

func open(b *v1alpha1.HLBBuild, id string, now time.Time) {
	buildstatus.Open(b, v1alpha1.RunStatus{ID: id, Cause: v1alpha1.CauseSpecChanged, Generation: b.Generation}, now)
}

// steps lists what can happen to a build, each taking it to where the next may follow.
var steps = map[string]func(*v1alpha1.HLBBuild){
	"open":    func(b *v1alpha1.HLBBuild) { open(b, "g1", start) },
	"wait":    func(b *v1alpha1.HLBBuild) { buildstatus.Wait(b, v1alpha1.ReasonNoDaemonFits, "0/0 daemons fit", start) },
	"place":   func(b *v1alpha1.HLBBuild) { buildstatus.Place(b, v1alpha1.PlacementStatus{Daemon: "c-0"}, start) },
	"start":   func(b *v1alpha1.HLBBuild) { buildstatus.Start(b, "agent", start) },
	"lose":    func(b *v1alpha1.HLBBuild) { buildstatus.Lose(b, v1alpha1.ReasonDaemonLost, "gone", start) },
	"retry":   func(b *v1alpha1.HLBBuild) { buildstatus.Retry(b, start) },
	"succeed": func(b *v1alpha1.HLBBuild) { buildstatus.Succeed(b, start.Add(1500*time.Millisecond)) },
	"fail": func(b *v1alpha1.HLBBuild) {
		buildstatus.Fail(b, v1alpha1.FailureStatus{Reason: v1alpha1.ReasonSolveFailed, Message: "exit code 3"}, start)
	},
}

func TestConditionsFollowFacts(t *testing.T) {
	cases := map[string]struct {
		path        string
		wantStatus  status.Status
		wantReason  string
		wantPresent map[string]metav1.ConditionStatus
	}{
		"a new run waits": {"open", status.InProgressStatus, v1alpha1.ReasonPending,
			map[string]metav1.ConditionStatus{"Scheduled": "False", "Finished": "False", "Succeeded": "Unknown", "Ready": "False", "Reconciling": "True"}},
		"a run without a fitting daemon waits": {"open wait", status.InProgressStatus, v1alpha1.ReasonNoDaemonFits,
			map[string]metav1.ConditionStatus{"Scheduled": "False", "Finished": "False", "Succeeded": "Unknown", "Ready": "False", "Reconciling": "True"}},
		"a placed run awaits the agent": {"open place", status.InProgressStatus, v1alpha1.ReasonAwaitingAgent,
			map[string]metav1.ConditionStatus{"Scheduled": "True", "Finished": "False", "Succeeded": "Unknown", "Running": "False", "Ready": "False", "Reconciling": "True"}},
		"a started run is solving": {"open place start", status.InProgressStatus, v1alpha1.ReasonSolving,
			map[string]metav1.ConditionStatus{"Scheduled": "True", "Finished": "False", "Succeeded": "Unknown", "Running": "True", "Ready": "False", "Reconciling": "True"}},
		"a lost attempt is being retried": {"open place start lose", status.InProgressStatus, v1alpha1.ReasonRetrying,
			map[string]metav1.ConditionStatus{"Scheduled": "True", "Finished": "False", "Succeeded": "Unknown", "Running": "False", "Ready": "False", "Reconciling": "True"}},
		"the next attempt waits again": {"open place start lose retry", status.InProgressStatus, v1alpha1.ReasonRetrying,
			map[string]metav1.ConditionStatus{"Scheduled": "False", "Finished": "False", "Succeeded": "Unknown", "Ready": "False", "Reconciling": "True"}},
		"a done run is ready": {"open place start succeed", status.CurrentStatus, v1alpha1.ReasonSucceeded,
			map[string]metav1.ConditionStatus{"Scheduled": "True", "Running": "False", "Finished": "True", "Succeeded": "True", "Ready": "True"}},
		"a failed run is stalled": {"open place start fail", status.FailedStatus, v1alpha1.ReasonSolveFailed,
			map[string]metav1.ConditionStatus{"Scheduled": "True", "Running": "False", "Finished": "True", "Succeeded": "False", "Ready": "False", "Stalled": "True"}},
		"a run that fails before it was placed is stalled": {"open fail", status.FailedStatus, v1alpha1.ReasonSolveFailed,
			map[string]metav1.ConditionStatus{"Scheduled": "False", "Running": "False", "Finished": "True", "Succeeded": "False", "Ready": "False", "Stalled": "True"}},
		"a new run after a failed one starts over": {"open place start fail open", status.InProgressStatus, v1alpha1.ReasonPending,
			map[string]metav1.ConditionStatus{"Scheduled": "False", "Finished": "False", "Succeeded": "Unknown", "Ready": "False", "Reconciling": "True"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := newBuild()
			for _, s := range strings.Fields(tc.path) {
				steps[s](b)
			}
			got := map[string]metav1.ConditionStatus{}
			for _, c := range b.Status.Conditions {
				got[c.Type] = c.Status
			}
			if diff := cmp.Diff(tc.wantPresent, got); diff != "" {
				t.Errorf("conditions (-want +got):\n%s", diff)
			}
			if ready := meta.FindStatusCondition(b.Status.Conditions, "Ready"); ready.Reason != tc.wantReason {
				t.Errorf("Ready has reason %s, want %s", ready.Reason, tc.wantReason)
			}
			if got := kstatus(t, b); got != tc.wantStatus {
				t.Errorf("kstatus reads %s, want %s", got, tc.wantStatus)
			}
		})
	}
}

func kstatus(t interface{ Fatal(...any) }, b *v1alpha1.HLBBuild) status.Status {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(b)
	if err != nil {
		t.Fatal(err)
	}
	result, err := status.Compute(&unstructured.Unstructured{Object: content})
	if err != nil {
		t.Fatal(err)
	}
	return result.Status
}

func TestAnUnseenObjectIsInProgress(t *testing.T) {
	if got := kstatus(t, newBuild()); got != status.InProgressStatus {
		t.Errorf("kstatus reads %s, want InProgress", got)
	}
}

// next lists which steps may follow which; "" is the new object.
var next = map[string][]string{
	"":        {"open"},
	"open":    {"wait", "place", "fail"},
	"wait":    {"wait", "place", "fail", "open"},
	"place":   {"start", "wait", "lose", "open"},
	"start":   {"succeed", "fail", "lose", "open"},
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
			steps[at](b)
			verdicts := 0
			for _, kind := range []string{"Ready", "Reconciling", "Stalled"} {
				if meta.IsStatusConditionTrue(b.Status.Conditions, kind) {
					verdicts++
				}
			}
			if verdicts != 1 {
				t.Fatalf("after %s %d of Ready, Reconciling, Stalled are True", at, verdicts)
			}
			if len(b.Status.History) > 5 {
				t.Fatalf("history holds %d runs", len(b.Status.History))
			}
			kstatus(t, b)
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

func TestNeedsRun(t *testing.T) {
	cases := map[string]struct {
		change func(*v1alpha1.HLBBuild)
		want   bool
	}{
		"not while nothing changed":        {func(*v1alpha1.HLBBuild) {}, false},
		"when the generation moved on":     {func(b *v1alpha1.HLBBuild) { b.Generation++ }, true},
		"when a run was requested":         {func(b *v1alpha1.HLBBuild) { b.Annotations = map[string]string{v1alpha1.AnnotationRequestedAt: "now"} }, true},
		"not when the spec's peer changed": {func(b *v1alpha1.HLBBuild) { b.Labels = map[string]string{"a": "b"} }, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := newBuild()
			if !buildstatus.NeedsRun(b) {
				t.Fatal("a new object needs no run")
			}
			open(b, "g1", start)
			tc.change(b)
			if got := buildstatus.NeedsRun(b); got != tc.want {
				t.Errorf("NeedsRun is %v, want %v", got, tc.want)
			}
		})
	}
}

func TestClip(t *testing.T) {
	cases := map[string]struct{ got, want string }{
		"short text stays":                 {buildstatus.Clip("abc", 3), "abc"},
		"long text is cut at a character":  {buildstatus.Clip("aäöü", 6), "aä…"},
		"the head is cut at a character":   {buildstatus.ClipHead("äöüz", 6), "…üz"},
		"bytes that are no text are shown": {buildstatus.Clip("a\xffb", 9), "a\uFFFDb"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if tc.got != tc.want {
				t.Errorf("got %q, want %q", tc.got, tc.want)
			}
		})
	}
}
