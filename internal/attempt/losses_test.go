// SPDX-License-Identifier: Apache-2.0

package attempt_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/attempt"
	"github.com/openllb/hlb-operator/internal/failure"
	"github.com/openllb/hlb-operator/internal/status"
)

// lose has a build's attempt begin and end with a reason, beside other builds.
func lose(b *v1alpha1.HLBBuild, reason string, neighbours int, now time.Time) {
	status.CheckAgain(b, now.Add(time.Hour))
	attempt.Place(b, v1alpha1.PlacementStatus{Daemon: "cache-0"}, now)
	status.Start(b, me.ID, now)
	attempt.Finish(b, attempt.Claimed{ID: attempt.Of(b), Session: me}, attempt.End{
		Lost: &attempt.Cause{Reason: reason, Message: "why"}, At: metav1.NewMicroTime(now),
	})
	attempt.Next(b, neighbours, now)
}

// ofNamespace is a build of another namespace's BuildCache.
func ofNamespace(b *v1alpha1.HLBBuild, namespace string) *v1alpha1.HLBBuild {
	b.Namespace = namespace
	return b
}

type loss struct {
	reason     string
	neighbours int
}

func TestWhatLossesComeTo(t *testing.T) {
	const (
		died, drained, memory = v1alpha1.ReasonDaemonLost, v1alpha1.ReasonDaemonDraining, v1alpha1.ReasonOutOfMemory
		remote                = v1alpha1.ReasonRemoteUnavailable
	)
	cases := map[string]struct {
		limit  int32
		losses []loss
		// want is the state after the last: waiting, alone, or the failure's reason; then attempts that count.
		want string
		says string // in the message
	}{
		"an innocent survives any number of drains": {
			0, []loss{{drained, 3}, {drained, 0}, {drained, 0}}, "waiting 0", "does not count",
		},
		"deaths beside others don't count":   {0, []loss{{died, 2}}, "waiting 0", "other builds ran there too (2)"},
		"a death alone counts":               {1, []loss{{died, 0}}, "waiting 1", ""},
		"and fails a build without retries":  {0, []loss{{died, 0}}, "DaemonLost", "the last of spec.retryLimit"},
		"after two deaths a build is alone":  {0, []loss{{died, 2}, {died, 1}}, "alone 0", "runs alone"},
		"a third while it is alone is final": {9, []loss{{died, 2}, {died, 1}, {died, 0}}, "PoisonBuild", "3 deaths"},
		"it stays alone after a drain": {
			0, []loss{{died, 2}, {died, 1}, {drained, 0}}, "alone 0", "does not count",
		},
		"what lacks memory is tried alone once": {3, []loss{{memory, 0}}, "alone 1", "runs alone"},
		"and fails then, whatever is left": {
			3, []loss{{memory, 0}, {memory, 0}}, "OutOfMemory", "ran alone on cache-0",
		},
		"a daemon that dies of it alone is final, too": {3, []loss{{memory, 0}, {died, 0}}, "PoisonBuild", ""},
		"registries are tried as often as the limit says": {
			2, []loss{{remote, 0}, {remote, 0}}, "waiting 2", "the next attempt is due at",
		},
		"and then the build fails": {1, []loss{{remote, 0}, {remote, 0}}, "RemoteUnavailable", "the last of"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := queued()
			b.Spec.RetryLimit = &tc.limit
			for i, l := range tc.losses {
				lose(b, l.reason, l.neighbours, start.Add(time.Duration(i)*time.Hour))
			}
			got, message := "", ""
			switch {
			case status.IsFinal(b):
				got, message = b.Status.Failure.Reason, b.Status.Failure.Message
			case b.Status.Run.Isolated:
				got = fmt.Sprintf("alone %d", status.CountedAttempts(b.Status.Run)-1)
			default:
				got = fmt.Sprintf("waiting %d", status.CountedAttempts(b.Status.Run)-1)
			}
			if message == "" {
				message = b.Status.Conditions[0].Message
			}
			if got != tc.want || !strings.Contains(message, tc.says) {
				t.Errorf("got %q, want %q; message %q, want %q in it", got, tc.want, message, tc.says)
			}
		})
	}
}

func TestAttemptsAreRecorded(t *testing.T) {
	b := queued()
	b.Spec.RetryLimit = ptr.To[int32](3)
	lose(b, v1alpha1.ReasonDaemonLost, 1, start)
	at, later := metav1.NewMicroTime(start), metav1.NewMicroTime(start.Add(time.Minute))
	for range 3 { // looked at again and again, the message is the same
		status.CheckAgain(b, later.Add(time.Hour))
		attempt.Place(b, v1alpha1.PlacementStatus{Daemon: "cache-1"}, later.Time)
		status.Start(b, me.ID, later.Time)
		status.HandBack(b, v1alpha1.ReasonSecretNotFound, "no Secret s", later.Time)
	}
	want := []v1alpha1.AttemptRecord{{
		Attempt: 4, Daemon: "cache-1", StartedAt: &later, StartedBy: me.ID, FinishedAt: &later,
		Reason: v1alpha1.ReasonSecretNotFound, Message: "no Secret s",
	}, {
		Attempt: 1, Daemon: "cache-0", StartedAt: &at, StartedBy: me.ID, FinishedAt: &at,
		Reason: v1alpha1.ReasonDaemonLost, Message: "why",
	}}
	if diff := cmp.Diff(want, b.Status.Run.Attempts); diff != "" {
		t.Errorf("attempts differ (-want +got):\n%s", diff)
	}
	for i := range 20 {
		lose(b, v1alpha1.ReasonDaemonDraining, 0, start.Add(time.Duration(i)*time.Hour))
	}
	if got := b.Status.Run.Attempts; len(got) != 10 || got[0].Attempt != b.Status.Run.Attempt-1 {
		t.Errorf("%d attempts are kept, the latest is %d of %d", len(got), got[0].Attempt, b.Status.Run.Attempt)
	}
	attempt.Open(b, v1alpha1.RunStatus{ID: "g2", Generation: 2}, start)
	if got := b.Status.Run; got.Attempts != nil || got.Isolated || got.DaemonDeaths != 0 || got.Lost != nil {
		t.Errorf("another run knows of the attempts before: %+v", got)
	}
}

// TestNoRunIsRetriedForEver holds for whatever happens to a run apart from drains, which people end.
func TestNoRunIsRetriedForEver(t *testing.T) {
	reasons := []string{"unknown"}
	for reason, rule := range failure.Rules {
		if rule.Class == failure.Infrastructure {
			reasons = append(reasons, reason)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		b := queued()
		limit := rapid.Int32Range(0, 16).Draw(t, "retryLimit")
		b.Spec.RetryLimit = &limit
		for n := 0; !status.IsFinal(b); n++ {
			if n > int(limit)+3 {
				t.Fatalf("%d attempts were lost, and another one follows: %+v", n, b.Status.Run)
			}
			was := b.Status.Run.Isolated
			lose(b, rapid.SampledFrom(reasons).Draw(t, "reason"), rapid.IntRange(0, 2).Draw(t, "beside"), start)
			if was && !b.Status.Run.Isolated {
				t.Fatal("a suspect is no longer alone")
			}
		}
	})
}

func TestNeighboursAreThoseOfTheSameDeath(t *testing.T) {
	claimedBy := func(s attempt.Session) *v1alpha1.HLBBuild {
		b := bound()
		startedBy(s)(b)
		return b
	}
	lostAt := func(at time.Time, decided bool) *v1alpha1.HLBBuild {
		b := claimedBy(me)
		b.Spec.RetryLimit = ptr.To[int32](3)
		status.Lose(b, v1alpha1.ReasonDaemonLost, "gone", at)
		if decided {
			attempt.Next(b, 0, at)
		}
		return b
	}
	finished := claimedBy(me)
	status.Succeed(finished, start)
	superseding := claimedBy(me)
	openNext(superseding)
	poisoned := claimedBy(me)
	poisoned.Status.Run.Isolated = true
	attempt.DeclareLost(poisoned, true, died, 0, start)
	cases := map[string]struct {
		other *v1alpha1.HLBBuild
		want  int
	}{
		"one that the session still has":               {claimedBy(me), 1},
		"one of another session":                       {claimedBy(earlier), 0},
		"one that was lost with it":                    {lostAt(start.Add(10*time.Second), false), 1},
		"one of which is decided already":              {lostAt(start.Add(-10*time.Second), true), 1},
		"one that an earlier death of buildkitd ended": {lostAt(start.Add(-time.Hour), true), 0},
		"one that ended before":                        {finished, 0},
		"one whose attempt is being released":          {superseding, 1},
		"one that failed by it":                        {poisoned, 1},
		"one of a daemon of that name elsewhere":       {ofNamespace(claimedBy(me), "elsewhere"), 0},
		"one that has not begun":                       {queued(), 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := lostAt(start, false)
			tc.other.UID = types.UID("other")
			got := attempt.Neighbours(b, []v1alpha1.HLBBuild{*b, *tc.other}, start.Add(time.Minute))
			if got != tc.want {
				t.Errorf("%d neighbours, want %d", got, tc.want)
			}
		})
	}
}
