// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
)

// after makes a build that has gone through some steps.
func after(names ...string) *v1alpha1.HLBBuild {
	b := newBuild()
	for _, name := range names {
		steps[name](b)
	}
	return b
}

func TestMissingInputsAreLookedForLessAndLessOften(t *testing.T) {
	b, now := after("open"), start
	var pauses []time.Duration
	for range 12 {
		steps["place"](b)
		steps["start"](b)
		status.HandBack(b, v1alpha1.ReasonSecretNotFound, "There is no Secret", now)
		left := status.CheckAgain(b, now)
		pauses = append(pauses, left)
		now = now.Add(left)
		if status.CheckAgain(b, now) != 0 || !status.IsWaiting(b) {
			t.Fatal("a check that is due does not queue the build")
		}
	}
	want := []time.Duration{15 * time.Second, 30 * time.Second}
	for len(want) < len(pauses) {
		want = append(want, time.Minute)
	}
	if diff := cmp.Diff(want, pauses); diff != "" {
		t.Errorf("pauses (-want +got):\n%s", diff)
	}
	if run := b.Status.Run; run.Attempt != 13 || status.CountedAttempts(run) != 1 || run.StartedBy != "" {
		t.Errorf("after twelve checks the run is %+v", run)
	}
}

func TestALookThatFindsEverythingEndsTheChecks(t *testing.T) {
	for _, end := range []string{"succeed", "fail", "lose"} {
		b := after("open", "place", "start", "miss", "check", "place", "start", end)
		if b.Status.Run.Missing != nil {
			t.Errorf("after %s the run still misses %+v", end, b.Status.Run.Missing)
		}
	}
}

func TestASuspendedRunHasNoDeadlineAndStartsOver(t *testing.T) {
	b := after("open")
	b.Spec.ActiveDeadlineSeconds = ptr.To[int32](60)
	if at, ok := status.Deadline(b); !ok || !at.Equal(start.Add(time.Minute)) {
		t.Errorf("the deadline is %v, %v", at, ok)
	}
	steps["suspend"](b)
	if at, ok := status.Deadline(b); ok {
		t.Errorf("a suspended run has the deadline %v", at)
	}
	steps["resume"](b) // a minute later
	if at, ok := status.Deadline(b); !ok || !at.Equal(start.Add(2*time.Minute)) {
		t.Errorf("after the suspension the deadline is %v, %v", at, ok)
	}
	steps["fail"](b)
	if at, ok := status.Deadline(b); ok {
		t.Errorf("a final run has the deadline %v", at)
	}
}

func TestExpiry(t *testing.T) {
	end := []string{"open", "place", "start", "fail"}
	cases := map[string]struct {
		path   []string
		change func(*v1alpha1.HLBBuild)
		want   bool
	}{
		"a build that is over expires": {end, func(*v1alpha1.HLBBuild) {}, true},
		"one without a limit stays": {end, func(b *v1alpha1.HLBBuild) {
			b.Spec.TTLSecondsAfterFinished = nil
		}, false},
		"one with a schedule stays": {end, func(b *v1alpha1.HLBBuild) {
			b.Spec.Schedule = &v1alpha1.ScheduleSpec{}
		}, false},
		"one that asks for another run stays": {end, func(b *v1alpha1.HLBBuild) {
			b.Generation, b.Spec.CacheRef.Name = 2, "other"
		}, false},
		"one that runs stays": {end[:3], func(*v1alpha1.HLBBuild) {}, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := newBuild()
			b.Spec.TTLSecondsAfterFinished = ptr.To[int32](30)
			for _, s := range tc.path {
				steps[s](b)
			}
			tc.change(b)
			at, ok := status.Expiry(b)
			if ok != tc.want || ok && !at.Equal(start.Add(30*time.Second)) {
				t.Errorf("expires %v at %v, want %v", ok, at, tc.want)
			}
		})
	}
}

func TestHistoryKeepsWhatTheSpecAsksFor(t *testing.T) {
	for limit, want := range map[int32]int{0: 0, 1: 1, 20: 9} {
		b := newBuild()
		b.Spec.HistoryLimit = ptr.To(limit)
		for i := range 10 {
			open(b, fmt.Sprintf("g%d", i), start)
		}
		if got := b.Status.History; len(got) != want || want > 0 && got[0].ID != "g8" {
			t.Errorf("a limit of %d keeps %d: %+v", limit, len(got), got)
		}
	}
}
