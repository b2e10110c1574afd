// SPDX-License-Identifier: Apache-2.0

package attempt

import (
	"fmt"
	"time"

	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/failure"
	"github.com/openllb/hlb-operator/internal/status"
)

// Open opens another run. If an attempt of the run before may be executing, the new run is not placed before that one
// has been released.
func Open(b *v1alpha1.HLBBuild, run v1alpha1.RunStatus, now time.Time) { status.Open(b, run, now) }

// Place binds a run that waits to a daemon.
func Place(b *v1alpha1.HLBBuild, placement v1alpha1.PlacementStatus, now time.Time) bool {
	if !status.IsWaiting(b) {
		return false
	}
	status.Place(b, placement, now)
	return true
}

// Withdraw puts an attempt that no agent has claimed back into the queue, at no cost.
func Withdraw(b *v1alpha1.HLBBuild, message string, now time.Time) bool {
	if !status.IsBound(b) || b.Status.Run.StartedBy != "" {
		return false
	}
	status.Wait(b, v1alpha1.ReasonPending, message, now)
	return true
}

// Hold suspends a run that is not final. A claimed attempt is superseded by run, which is suspended in its place.
func Hold(b *v1alpha1.HLBBuild, run v1alpha1.RunStatus, now time.Time) bool {
	if status.IsFinal(b) || b.Status.Run.SuspendedAt != nil {
		return false
	}
	if _, claimed := ClaimedAttempt(b); claimed {
		status.Open(b, run, now)
	}
	status.Suspend(b, now)
	return true
}

// DeclareLost records that the session which has claimed the current attempt is over, and decides about the next
// attempt. over must be true of exactly that session: see IsOver. cause is why it is over; neighbours are as for Next.
func DeclareLost(b *v1alpha1.HLBBuild, over bool, cause Cause, neighbours int, now time.Time) bool {
	if _, claimed := ClaimedAttempt(b); !claimed || !over {
		return false
	}
	status.Lose(b, cause.Reason, cause.Message, now)
	return Next(b, neighbours, now)
}

// GiveUp takes an attempt from an agent that has neither reported its end nor lost its session. The next one is not
// placed before the agent has acknowledged that, or its session is over.
func GiveUp(b *v1alpha1.HLBBuild, message string, now time.Time) bool {
	if _, claimed := ClaimedAttempt(b); !claimed {
		return false
	}
	status.LoseOverdue(b, v1alpha1.ReasonAgentSilent, message, now)
	return Next(b, 0, now)
}

// Next decides about a run whose attempt was lost: another attempt, or an end. neighbours is how many other builds ran
// on the daemon when it died; it does not matter for other losses.
func Next(b *v1alpha1.HLBBuild, neighbours int, now time.Time) bool {
	if !status.IsLost(b) {
		return false
	}
	run, lost := b.Status.Run, b.Status.Run.Lost
	if failure.Of(lost.Reason).Death {
		run.DaemonDeaths++
		lost.Neighbours = int32(neighbours)
	}
	verdict := failure.Judge(failure.Loss{
		Reason: lost.Reason, Neighbours: int(lost.Neighbours), Isolated: run.Isolated, Deaths: int(run.DaemonDeaths),
		Counted: int(status.CountedAttempts(run)), Limit: int(ptr.Deref(b.Spec.RetryLimit, 0)),
	})
	if verdict.Failure == "" {
		status.Retry(b, verdict, now)
		return true
	}
	status.Fail(b, v1alpha1.FailureStatus{Reason: verdict.Failure, Message: lastWords(b, verdict)}, now)
	return true
}

// lastWords says why a run whose attempt was lost is not tried again.
func lastWords(b *v1alpha1.HLBBuild, v failure.Verdict) string {
	run, lost := b.Status.Run, b.Status.Run.Lost
	switch {
	case v.Failure == v1alpha1.ReasonPoisonBuild:
		return fmt.Sprintf("%s died under the build while it ran alone there, after daemons had died under it before "+
			"(%d deaths in all): %s; look for what its steps do to the daemon, such as using all memory",
			lost.Daemon, run.DaemonDeaths, lost.Message)
	case run.Isolated && failure.Of(lost.Reason).Alone:
		return fmt.Sprintf("Attempt %d, which ran alone on %s: %s", lost.Attempt, lost.Daemon, lost.Message)
	}
	return fmt.Sprintf("Attempt %d, the last of spec.retryLimit, was lost on %s: %s", lost.Attempt, lost.Daemon,
		lost.Message)
}

// Expire fails a run that has no more time. An attempt that may be executing is released.
func Expire(b *v1alpha1.HLBBuild, failure v1alpha1.FailureStatus, now time.Time) bool {
	if status.IsFinal(b) {
		return false
	}
	status.FailOverdue(b, failure, now)
	return true
}

// Release ends the wait for an attempt whose session is over. over must be true of exactly that session: see IsOver.
func Release(b *v1alpha1.HLBBuild, over bool, now time.Time) bool {
	if !status.IsReleasing(b) || !over {
		return false
	}
	status.Released(b, now)
	return true
}
