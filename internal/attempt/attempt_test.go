// SPDX-License-Identifier: Apache-2.0

package attempt_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/attempt"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

var (
	start   = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	daemon  = types.NamespacedName{Namespace: "ns", Name: "cache-0"}
	other   = types.NamespacedName{Namespace: "ns", Name: "cache-1"}
	me      = attempt.Session{Daemon: daemon, ID: "pod/a"}
	earlier = attempt.Session{Daemon: daemon, ID: "pod/z"}
	died    = attempt.Cause{Reason: v1alpha1.ReasonDaemonLost, Message: "its Lease has expired"}
	first   = attempt.ID{UID: "u", Run: "g1", Attempt: 1}
)

// queued is a build whose first attempt waits.
func queued() *v1alpha1.HLBBuild {
	b := testbuild.HLBBuild("ns", "b")
	b.UID, b.Generation = "u", 1
	attempt.Open(b, v1alpha1.RunStatus{ID: "g1", Cause: v1alpha1.CauseSpecChanged, Generation: 1}, start)
	return b
}

// bound is a build whose first attempt is placed on a daemon.
func bound() *v1alpha1.HLBBuild {
	b := queued()
	attempt.Place(b, v1alpha1.PlacementStatus{Daemon: "cache-0"}, start)
	return b
}

func startedBy(s attempt.Session) func(*v1alpha1.HLBBuild) {
	return func(b *v1alpha1.HLBBuild) { status.Start(b, s.ID, start) }
}

// mine changes a build that the session has claimed.
func mine(change func(*v1alpha1.HLBBuild)) func(*v1alpha1.HLBBuild) {
	return func(b *v1alpha1.HLBBuild) {
		startedBy(me)(b)
		change(b)
	}
}

func openNext(b *v1alpha1.HLBBuild) {
	attempt.Open(b, v1alpha1.RunStatus{ID: "g2", Cause: v1alpha1.CauseRequested, Generation: 1}, start)
}

func TestWhatAnAgentDoes(t *testing.T) {
	cases := map[string]struct {
		change                 func(*v1alpha1.HLBBuild)
		known                  *attempt.ID
		want                   attempt.Action
		mayFinish, mayAmend    bool
		mayClaim, mayAcknowlge bool
	}{
		"a bound build is claimed": {
			change: func(*v1alpha1.HLBBuild) {}, want: attempt.Start, mayClaim: true,
		},
		"one that the agent is on continues": {
			change: startedBy(me), known: &first, want: attempt.Continue, mayFinish: true, mayAmend: true,
		},
		"a stale look at one that it is on changes nothing": {
			change: func(*v1alpha1.HLBBuild) {}, known: &first, want: attempt.Continue, mayClaim: true,
		},
		"a claim whose answer was lost is resumed": {
			change: startedBy(me), want: attempt.Resume, mayFinish: true, mayAmend: true,
		},
		"an earlier session's attempt is orphaned": {change: startedBy(earlier), want: attempt.Orphan},
		"a new attempt is claimed after an old one": {
			change: mine(func(b *v1alpha1.HLBBuild) {
				attempt.DeclareLost(b, true, died, 0, start)
				attempt.Place(b, v1alpha1.PlacementStatus{Daemon: "cache-0"}, start)
			}), known: &first, want: attempt.Start,
		},
		"a lost attempt is left": {
			change: mine(func(b *v1alpha1.HLBBuild) { status.Lose(b, v1alpha1.ReasonDaemonLost, "gone", start) }),
			known:  &first, want: attempt.Leave,
		},
		"a build of another daemon is left": {
			change: func(b *v1alpha1.HLBBuild) { b.Status.Placement.Daemon = "cache-1" }, want: attempt.Leave,
		},
		"a build of a daemon of that name in another namespace is left": {
			change: func(b *v1alpha1.HLBBuild) { b.Status.Placement.Namespace = "other" }, want: attempt.Leave,
		},
		"a build that was withdrawn is left": {
			change: func(b *v1alpha1.HLBBuild) { attempt.Withdraw(b, "", start) }, want: attempt.Leave,
		},
		"a claimed build whose program was edited is left, and may end": {
			change: mine(func(b *v1alpha1.HLBBuild) { b.Generation, b.Spec.HLB.Targets = 2, []string{"other"} }),
			known:  &first, want: attempt.Leave, mayFinish: true, mayAmend: true,
		},
		"a build whose priority was edited goes on": {
			change: mine(func(b *v1alpha1.HLBBuild) { b.Generation, b.Spec.Priority = 2, 7 }),
			known:  &first, want: attempt.Continue, mayFinish: true, mayAmend: true,
		},
		"a superseded attempt is to be released": {
			change: mine(openNext), known: &first, want: attempt.Acknowledge, mayAcknowlge: true,
		},
		"so is one whose run took too long": {
			change: mine(func(b *v1alpha1.HLBBuild) { attempt.Expire(b, v1alpha1.FailureStatus{}, start) }),
			known:  &first, want: attempt.Acknowledge, mayAcknowlge: true,
		},
		"and one that was given up": {
			change: mine(func(b *v1alpha1.HLBBuild) { attempt.GiveUp(b, "no report", start) }),
			known:  &first, want: attempt.Acknowledge, mayAcknowlge: true,
		},
		"a deleted build is left": {
			change: mine(func(b *v1alpha1.HLBBuild) { b.DeletionTimestamp = &metav1.Time{Time: start} }),
			known:  &first, want: attempt.Leave,
		},
		"an ended run needs nothing, but its report can be amended": {
			change: mine(func(b *v1alpha1.HLBBuild) { status.Succeed(b, start) }),
			known:  &first, want: attempt.Leave, mayAmend: true,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := bound()
			tc.change(b)
			if got := attempt.Decide(b, me, tc.known); got != tc.want {
				t.Errorf("action %d, want %d", got, tc.want)
			}
			c := attempt.Claimed{ID: first, Session: me}
			got := [4]bool{
				attempt.MayClaim(b, c), attempt.MayFinish(b, c), attempt.MayAmend(b, c),
				attempt.MayAcknowledge(b, me, false),
			}
			if want := [4]bool{tc.mayClaim, tc.mayFinish, tc.mayAmend, tc.mayAcknowlge}; got != want {
				t.Errorf("may claim, finish, amend, acknowledge: %v, want %v", got, want)
			}
		})
	}
}

// TestWhoMayNot tries each transition of an agent where one precondition does not hold.
func TestWhoMayNot(t *testing.T) {
	superseded, ended := mine(openNext), mine(func(b *v1alpha1.HLBBuild) { status.Succeed(b, start) })
	lost := attempt.Claimed{ID: first, Session: earlier}
	cases := map[string]struct {
		change func(*v1alpha1.HLBBuild)
		try    func(*v1alpha1.HLBBuild) bool
	}{
		"claim without a session": {func(*v1alpha1.HLBBuild) {}, func(b *v1alpha1.HLBBuild) bool {
			return attempt.Claim(b, attempt.Claimed{ID: first, Session: attempt.Session{Daemon: daemon}}, start)
		}},
		"claim another attempt": {func(*v1alpha1.HLBBuild) {}, func(b *v1alpha1.HLBBuild) bool {
			next := attempt.ID{UID: "u", Run: "g1", Attempt: 2}
			return attempt.Claim(b, attempt.Claimed{ID: next, Session: me}, start)
		}},
		"claim a build of that name made anew": {func(b *v1alpha1.HLBBuild) { b.UID = "v" },
			func(b *v1alpha1.HLBBuild) bool {
				return attempt.Claim(b, attempt.Claimed{ID: first, Session: me}, start)
			}},
		"finish what another session has claimed": {startedBy(earlier), func(b *v1alpha1.HLBBuild) bool {
			return attempt.Finish(b, attempt.Claimed{ID: first, Session: me}, attempt.End{})
		}},
		"finish a superseded attempt": {superseded, func(b *v1alpha1.HLBBuild) bool {
			return attempt.Finish(b, attempt.Claimed{ID: first, Session: me}, attempt.End{})
		}},
		"finish twice": {ended, func(b *v1alpha1.HLBBuild) bool {
			return attempt.Finish(b, attempt.Claimed{ID: first, Session: me}, attempt.End{})
		}},
		"disown without a session": {startedBy(earlier), func(b *v1alpha1.HLBBuild) bool {
			return attempt.Disown(b, lost, attempt.Session{Daemon: daemon}, "", start)
		}},
		"disown the session's own": {startedBy(me), func(b *v1alpha1.HLBBuild) bool {
			return attempt.Disown(b, attempt.Claimed{ID: first, Session: me}, me, "", start)
		}},
		"disown another daemon's": {startedBy(earlier), func(b *v1alpha1.HLBBuild) bool {
			return attempt.Disown(b, lost, attempt.Session{Daemon: other, ID: "pod/b"}, "", start)
		}},
		"acknowledge while it executes": {superseded, func(b *v1alpha1.HLBBuild) bool {
			return attempt.AcknowledgeRelease(b, me, true, start)
		}},
		"acknowledge for another daemon": {superseded, func(b *v1alpha1.HLBBuild) bool {
			return attempt.AcknowledgeRelease(b, attempt.Session{Daemon: other, ID: "pod/b"}, false, start)
		}},
		"place what is being released": {superseded, func(b *v1alpha1.HLBBuild) bool {
			return attempt.Place(b, v1alpha1.PlacementStatus{Daemon: "cache-1"}, start)
		}},
		"withdraw what is claimed": {startedBy(me), func(b *v1alpha1.HLBBuild) bool {
			return attempt.Withdraw(b, "", start)
		}},
		"declare lost what may execute": {startedBy(me), func(b *v1alpha1.HLBBuild) bool {
			return attempt.DeclareLost(b, false, died, 0, start)
		}},
		"declare lost what was not claimed": {func(*v1alpha1.HLBBuild) {}, func(b *v1alpha1.HLBBuild) bool {
			return attempt.DeclareLost(b, true, died, 0, start)
		}},
		"end a release whose session goes on": {superseded, func(b *v1alpha1.HLBBuild) bool {
			return attempt.Release(b, false, start)
		}},
		"give up what was not claimed": {func(*v1alpha1.HLBBuild) {}, func(b *v1alpha1.HLBBuild) bool {
			return attempt.GiveUp(b, "", start)
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := bound()
			tc.change(b)
			before := b.DeepCopy()
			if tc.try(b) {
				t.Error("it was permitted")
			}
			if diff := cmp.Diff(before, b); diff != "" {
				t.Errorf("it was refused, and changed the build (-before +after):\n%s", diff)
			}
		})
	}
}

func TestRetriesAreCounted(t *testing.T) {
	cases := map[string]struct {
		limit   *int32
		attempt int32
		free    int32
		want    bool
	}{
		"none given means none":                {nil, 1, 0, false},
		"none":                                 {ptr.To[int32](0), 1, 0, false},
		"one after the first attempt":          {ptr.To[int32](1), 1, 0, true},
		"not another after the second":         {ptr.To[int32](1), 2, 0, false},
		"the third of three more is left":      {ptr.To[int32](3), 3, 0, true},
		"waiting for a Secret uses up none":    {ptr.To[int32](1), 8, 7, true},
		"and the attempts after that count on": {ptr.To[int32](1), 9, 7, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := bound()
			startedBy(me)(b)
			b.Spec.RetryLimit = tc.limit
			b.Status.Run.Attempt, b.Status.Run.UncountedAttempts = tc.attempt, tc.free
			if !attempt.DeclareLost(b, true, died, 0, start) {
				t.Fatal("the loss was refused")
			}
			status.CheckAgain(b, start.Add(time.Hour)) // after the pause
			if got := status.IsWaiting(b); got != tc.want || status.IsFinal(b) == tc.want {
				t.Errorf("phase %s, want another attempt: %v", status.PhaseOfBuild(b), tc.want)
			}
		})
	}
}
