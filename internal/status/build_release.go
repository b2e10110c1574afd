// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// startRelease notes the current attempt in status.releasing if it was claimed and no end of it is known.
func startRelease(b *v1alpha1.HLBBuild) {
	run := b.Status.Run
	if !IsBound(b) || run.StartedBy == "" {
		return
	}
	b.Status.Releasing = &v1alpha1.ReleasingAttempt{
		Run: run.ID, Attempt: run.Attempt, StartedBy: run.StartedBy,
	}
}

func releasingMessage(b *v1alpha1.HLBBuild) string {
	r := b.Status.Releasing
	return fmt.Sprintf("Attempt %d of run %s is being ended on %s", r.Attempt, r.Run, b.Status.Placement.Daemon)
}

// Released records that the attempt in status.releasing executes no longer. A run that is not final can be placed from
// then on.
func Released(b *v1alpha1.HLBBuild, now time.Time) {
	ended, daemon := b.Status.Releasing, b.Status.Placement.Daemon
	b.Status.Releasing = nil
	if IsFinal(b) {
		return
	}
	b.Status.Placement = nil
	scheduled := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionScheduled)
	reason, message := scheduled.Reason, scheduled.Message
	if reason == v1alpha1.ReasonAwaitingRelease {
		reason = v1alpha1.ReasonPending
		message = fmt.Sprintf("%s has ended attempt %d of run %s; the run waits for the scheduler",
			daemon, ended.Attempt, ended.Run)
	}
	Wait(b, reason, message, now)
}

// FailOverdue ends the run while its attempt, if it was claimed, may still be executing.
func FailOverdue(b *v1alpha1.HLBBuild, failure v1alpha1.FailureStatus, now time.Time) {
	startRelease(b)
	Fail(b, failure, now)
}

// LoseOverdue records that the current attempt is lost although it may still be executing.
func LoseOverdue(b *v1alpha1.HLBBuild, reason, message string, now time.Time) {
	startRelease(b)
	Lose(b, reason, message, now)
}
