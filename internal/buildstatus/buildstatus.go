// SPDX-License-Identifier: Apache-2.0

// Package buildstatus moves an HLBBuild's status from one fact to the next and derives every condition from the facts.
//
// The manager and the agents both report on an HLBBuild. Both do it through the functions here, so that one function,
// derive, decides what the conditions say. Each function changes the object in memory only; the caller writes it with
// an optimistic lock.
package buildstatus

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// historyLimit is how many earlier runs status.history keeps; the API's own limit.
const historyLimit = 5

// Open starts a new run: the one before, if any, goes into the history, and everything that was about it is cleared.
func Open(b *v1alpha1.HLBBuild, run v1alpha1.RunStatus, now time.Time) {
	if old := b.Status.Run; old != nil {
		record := recordOf(&b.Status, now)
		b.Status.History = append([]v1alpha1.RunRecord{record}, b.Status.History...)
		if len(b.Status.History) > historyLimit {
			b.Status.History = b.Status.History[:historyLimit]
		}
	}
	run.Attempt = 1
	run.QueuedAt = metav1.NewMicroTime(now)
	conditions, history, schedule := b.Status.Conditions, b.Status.History, b.Status.Schedule
	b.Status = v1alpha1.HLBBuildStatus{
		ObservedGeneration: run.Generation,
		Conditions:         conditions,
		History:            history,
		Schedule:           schedule,
		Run:                &run,
	}
	meta.RemoveStatusCondition(&b.Status.Conditions, v1alpha1.ConditionCacheImported)
	meta.RemoveStatusCondition(&b.Status.Conditions, v1alpha1.ConditionCacheExported)
	Wait(b, v1alpha1.ReasonPending, "The run was opened and waits for the scheduler", now)
}

// recordOf says how the current run ended; one still in flight counts as cancelled.
func recordOf(s *v1alpha1.HLBBuildStatus, now time.Time) v1alpha1.RunRecord {
	record := v1alpha1.RunRecord{
		ID:              s.Run.ID,
		Reason:          v1alpha1.ReasonSucceeded,
		DurationSeconds: s.Run.DurationSeconds,
		FinishedAt:      s.Run.FinishedAt,
	}
	switch {
	case s.Run.FinishedAt == nil:
		at := metav1.NewMicroTime(now)
		record.Reason, record.FinishedAt = v1alpha1.ReasonCancelled, &at
	case s.Failure != nil:
		record.Reason = s.Failure.Reason
	}
	if s.Placement != nil {
		record.Daemon = s.Placement.Daemon
	}
	if s.Steps != nil {
		record.Cached = s.Steps.Display
	}
	return record
}

// Wait says why the run has no daemon yet. It takes back a placement that was never taken up.
func Wait(b *v1alpha1.HLBBuild, reason, message string, now time.Time) {
	b.Status.Placement = nil
	b.Status.Run.PlacedAt = nil
	set(b, v1alpha1.ConditionScheduled, metav1.ConditionFalse, reason, message, now)
	derive(b, now)
}

// Place binds the current attempt to a daemon.
func Place(b *v1alpha1.HLBBuild, placement v1alpha1.PlacementStatus, now time.Time) {
	at := metav1.NewMicroTime(now)
	placement.Reason = Clip(placement.Reason, 512)
	b.Status.Placement = &placement
	b.Status.Run.PlacedAt = &at
	set(b, v1alpha1.ConditionScheduled, metav1.ConditionTrue, v1alpha1.ReasonDaemonChosen, placement.Reason, now)
	derive(b, now)
}

// Start says that the agent took up the current attempt.
func Start(b *v1alpha1.HLBBuild, agentID string, now time.Time) {
	at := metav1.NewMicroTime(now)
	b.Status.Run.StartedAt = &at
	b.Status.Run.StartedBy = agentID
	derive(b, now)
}

// Lose says that infrastructure ended the current attempt. Retry or Fail follows, by the manager.
func Lose(b *v1alpha1.HLBBuild, reason, message string, now time.Time) {
	b.Status.Run.Lost = &v1alpha1.LostAttempt{
		Attempt: b.Status.Run.Attempt,
		Daemon:  b.Status.Placement.Daemon,
		Reason:  reason,
		Message: Clip(message, 1024),
	}
	derive(b, now)
}

// Retry opens the next attempt after a lost one and puts the build back into the queue.
func Retry(b *v1alpha1.HLBBuild, now time.Time) {
	run := b.Status.Run
	lost := run.Lost
	run.Attempt++
	run.StartedAt, run.StartedBy = nil, ""
	b.Status.Cache, b.Status.Steps, b.Status.Mounts, b.Status.Log = nil, nil, nil, nil
	Wait(
		b,
		v1alpha1.ReasonRetrying,
		fmt.Sprintf("Attempt %d was lost on %s: %s: %s", lost.Attempt, lost.Daemon, lost.Reason, lost.Message),
		now,
	)
}

// Succeed ends the run well.
func Succeed(b *v1alpha1.HLBBuild, now time.Time) {
	b.Status.Failure = nil
	finish(b, now)
}

// Fail ends the run for good; failure.Reason becomes the reason of the conditions.
func Fail(b *v1alpha1.HLBBuild, failure v1alpha1.FailureStatus, now time.Time) {
	failure.Message = Clip(failure.Message, 4096)
	failure.Step = Clip(failure.Step, 1024)
	failure.LogTail = ClipHead(failure.LogTail, 4096)
	b.Status.Failure = &failure
	finish(b, now)
}

func finish(b *v1alpha1.HLBBuild, now time.Time) {
	at := metav1.NewMicroTime(now)
	b.Status.Run.FinishedAt = &at
	if started := b.Status.Run.StartedAt; started != nil {
		b.Status.Run.DurationSeconds = int32(math.Ceil(now.Sub(started.Time).Seconds()))
	}
	derive(b, now)
}

// IsFinal says whether the current run has ended; a build without a run has not.
func IsFinal(b *v1alpha1.HLBBuild) bool {
	return b.Status.Run != nil && b.Status.Run.FinishedAt != nil
}

// IsLost says whether the current attempt was lost and the manager has not yet decided about the next one.
func IsLost(b *v1alpha1.HLBBuild) bool {
	run := b.Status.Run
	return run != nil && run.FinishedAt == nil && run.Lost != nil && run.Lost.Attempt == run.Attempt
}

// IsWaiting says whether the current run needs a daemon.
func IsWaiting(b *v1alpha1.HLBBuild) bool {
	return b.Status.Run != nil && !IsFinal(b) && !IsLost(b) && b.Status.Placement == nil
}

// IsBound says whether the current attempt is with a daemon, taken up or not.
func IsBound(b *v1alpha1.HLBBuild) bool {
	return b.Status.Run != nil && !IsFinal(b) && !IsLost(b) && b.Status.Placement != nil
}

// NeedsRun says whether the object asks for a run that was not opened yet.
func NeedsRun(b *v1alpha1.HLBBuild) bool {
	run := b.Status.Run
	return run == nil || run.Generation != b.Generation || run.RequestedAt != Requested(b)
}

// requestedLimit bounds status.run.requestedAt; the API's own limit, in characters.
const requestedLimit = 64

// Requested is the annotation that asks for a run, as status.run.requestedAt holds it: a value that does not fit is
// replaced by its digest, so that different values stay different.
func Requested(b *v1alpha1.HLBBuild) string {
	value := b.Annotations[v1alpha1.AnnotationRequestedAt]
	if len(value) <= requestedLimit {
		return value
	}
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:])
}
