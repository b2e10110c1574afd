// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"math"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// defaultHistoryLimit is how many earlier runs status.history keeps where the spec names no number; the API's default.
const defaultHistoryLimit = 5

// Open starts a new run of the present spec. The previous run, if any, goes into the history, of which
// spec.historyLimit entries are kept, and the rest of its status is cleared. Open sets the run's number, attempt,
// specHash and queuedAt; the rest of run is the caller's. A claimed attempt of the previous run is released first.
func Open(b *v1alpha1.HLBBuild, run v1alpha1.RunStatus, now time.Time) {
	startRelease(b)
	releasing, placement := b.Status.Releasing, b.Status.Placement
	if releasing == nil {
		placement = nil
	}
	run.Number = 1
	if old := b.Status.Run; old != nil {
		run.Number = old.Number + 1
		b.Status.History = append([]v1alpha1.RunRecord{recordOf(&b.Status, now)}, b.Status.History...)
	}
	limit := int(ptr.Deref(b.Spec.HistoryLimit, defaultHistoryLimit))
	run.Attempt = 1
	run.SpecHash = SpecHash(&b.Spec)
	run.QueuedAt = metav1.NewMicroTime(now)
	b.Status = v1alpha1.HLBBuildStatus{
		ObservedGeneration: run.Generation,
		Conditions:         b.Status.Conditions,
		History:            b.Status.History[:min(limit, len(b.Status.History))],
		Schedule:           b.Status.Schedule,
		Run:                &run,
		Placement:          placement,
		Releasing:          releasing,
	}
	meta.RemoveStatusCondition(&b.Status.Conditions, v1alpha1.ConditionCacheImported)
	meta.RemoveStatusCondition(&b.Status.Conditions, v1alpha1.ConditionCacheExported)
	if releasing != nil {
		Wait(b, v1alpha1.ReasonAwaitingRelease, releasingMessage(b), now)
		return
	}
	Wait(b, v1alpha1.ReasonPending, "The run was opened and waits for the scheduler", now)
}

// Observe takes note of a spec that has changed in nothing that its run depends on, and reports whether there was one.
func Observe(b *v1alpha1.HLBBuild) bool {
	if b.Status.ObservedGeneration == b.Generation || NeedsRun(b) {
		return false
	}
	b.Status.ObservedGeneration = b.Generation
	for i := range b.Status.Conditions {
		b.Status.Conditions[i].ObservedGeneration = b.Generation
	}
	return true
}

// recordOf returns the history entry of the current run; one still in flight counts as cancelled.
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
	if s.Placement != nil && (s.Releasing == nil || s.Releasing.Run == s.Run.ID) {
		record.Daemon = s.Placement.Daemon
	}
	if s.Steps != nil {
		record.Cached = s.Steps.Display
	}
	return record
}

// Wait records why the run has no daemon yet. It withdraws a placement that no agent has started.
func Wait(b *v1alpha1.HLBBuild, reason, message string, now time.Time) {
	if !IsReleasing(b) { // that daemon's agent must still see the build
		b.Status.Placement = nil
	}
	b.Status.Run.PlacedAt = nil
	setBuild(b, v1alpha1.ConditionScheduled, metav1.ConditionFalse, reason, message, now)
	derive(b, now)
}

// Place binds the current attempt to a daemon.
func Place(b *v1alpha1.HLBBuild, placement v1alpha1.PlacementStatus, now time.Time) {
	at := metav1.NewMicroTime(now)
	placement.Reason = Clip(placement.Reason, 512)
	b.Status.Placement = &placement
	b.Status.Run.PlacedAt = &at
	setBuild(b, v1alpha1.ConditionScheduled, metav1.ConditionTrue, v1alpha1.ReasonDaemonChosen, placement.Reason, now)
	derive(b, now)
}

// Start records that an agent started the current attempt.
func Start(b *v1alpha1.HLBBuild, agentID string, now time.Time) {
	at := metav1.NewMicroTime(now)
	b.Status.Run.StartedAt = &at
	b.Status.Run.StartedBy = agentID
	derive(b, now)
}

// Lose records that infrastructure ended the current attempt. The manager follows it with Retry or Fail.
func Lose(b *v1alpha1.HLBBuild, reason, message string, now time.Time) {
	b.Status.Run.Missing = nil // the attempt got further than that
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
	lost := b.Status.Run.Lost
	nextAttempt(b)
	Wait(
		b,
		v1alpha1.ReasonRetrying,
		fmt.Sprintf("Attempt %d was lost on %s: %s: %s", lost.Attempt, lost.Daemon, lost.Reason, lost.Message),
		now,
	)
}

// nextAttempt counts the attempts up, and clears what the status says about the present one.
func nextAttempt(b *v1alpha1.HLBBuild) {
	run := b.Status.Run
	run.Attempt++
	run.StartedAt, run.StartedBy = nil, ""
	b.Status.Cache, b.Status.Steps, b.Status.Mounts, b.Status.Log = nil, nil, nil, nil
}

// Succeed ends the run with success.
func Succeed(b *v1alpha1.HLBBuild, now time.Time) {
	b.Status.Failure = nil
	finish(b, now)
}

// Fail ends the run with a failure; failure.Reason becomes the reason of the conditions.
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
	b.Status.Run.Missing = nil
	if started := b.Status.Run.StartedAt; started != nil {
		b.Status.Run.DurationSeconds = int32(math.Ceil(now.Sub(started.Time).Seconds()))
	}
	derive(b, now)
}
