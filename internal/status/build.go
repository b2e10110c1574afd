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
	"github.com/openllb/hlb-operator/internal/failure"
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
	b.Status.Run.PlacedAt, b.Status.Run.QueuePosition = nil, 0
	setBuild(b, v1alpha1.ConditionScheduled, metav1.ConditionFalse, reason, message, now)
	derive(b, now)
}

// Place binds the current attempt to a daemon.
func Place(b *v1alpha1.HLBBuild, placement v1alpha1.PlacementStatus, now time.Time) {
	at := metav1.NewMicroTime(now)
	placement.Reason = Clip(placement.Reason, 512)
	b.Status.Placement = &placement
	b.Status.Run.PlacedAt, b.Status.Run.QueuePosition = &at, 0
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
	at := metav1.NewMicroTime(now)
	b.Status.Run.Missing = nil // the attempt got further than that
	b.Status.Run.Lost = &v1alpha1.LostAttempt{
		Attempt:    b.Status.Run.Attempt,
		Daemon:     b.Status.Placement.Daemon,
		Reason:     reason,
		Message:    Clip(message, 1024),
		FinishedAt: &at,
	}
	derive(b, now)
}

// Retry opens the next attempt after a lost one and puts the build back into the queue, after a pause if the verdict
// has one.
func Retry(b *v1alpha1.HLBBuild, v failure.Verdict, now time.Time) {
	run, lost := b.Status.Run, b.Status.Run.Lost
	nextAttempt(b, v1alpha1.AttemptRecord{
		Daemon: lost.Daemon, FinishedAt: lost.FinishedAt, Reason: lost.Reason, Message: lost.Message,
	})
	if !v.Counts {
		run.UncountedAttempts++
	}
	run.RetryAt = nil
	if v.Pause > 0 {
		at := metav1.NewMicroTime(now.Add(v.Pause))
		run.RetryAt = &at
	}
	message := Clip(lostMessage(lost), 600) + retryMessage(lost, v, !run.Isolated, now)
	run.Isolated = v.Isolate
	Wait(b, v1alpha1.ReasonRetrying, message, now)
}

func lostMessage(lost *v1alpha1.LostAttempt) string {
	return fmt.Sprintf("Attempt %d was lost on %s: %s: %s", lost.Attempt, lost.Daemon, lost.Reason, lost.Message)
}

// retryMessage says what follows from a loss. isNew is set for a build that was not run alone before.
func retryMessage(lost *v1alpha1.LostAttempt, v failure.Verdict, isNew bool, now time.Time) string {
	out := ""
	switch {
	case lost.Neighbours > 0:
		out += fmt.Sprintf("; other builds ran there too (%d), so that it does not count towards spec.retryLimit",
			lost.Neighbours)
	case !v.Counts:
		out += "; it does not count towards spec.retryLimit"
	}
	if v.Isolate && isNew {
		out += "; the next attempt runs alone on its daemon, since the build may be the cause"
	}
	if v.Pause > 0 {
		out += "; the next attempt is due at " + now.Add(v.Pause).UTC().Format(time.TimeOnly) + " UTC"
	}
	return out
}

// attemptsLimit and recordLimit are the API's bounds of run.attempts: entries, and bytes of a message.
const (
	attemptsLimit = 10
	recordLimit   = 256
)

// nextAttempt counts the attempts up, records how the present one ended, and clears what the status says about it. The
// record's attempt and start are filled in.
func nextAttempt(b *v1alpha1.HLBBuild, ended v1alpha1.AttemptRecord) {
	run := b.Status.Run
	ended.Attempt, ended.StartedAt, ended.StartedBy = run.Attempt, run.StartedAt, run.StartedBy
	ended.Message = Clip(ended.Message, recordLimit)
	earlier := run.Attempts
	isWait := failure.Of(ended.Reason).Class == failure.Surroundings
	if isWait && len(earlier) > 0 && earlier[0].Reason == ended.Reason && earlier[0].Message == ended.Message {
		earlier = earlier[1:]
	}
	earlier = earlier[:min(len(earlier), attemptsLimit-1)]
	run.Attempts = append([]v1alpha1.AttemptRecord{ended}, earlier...)
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
	b.Status.Run.FinishedAt, b.Status.Run.QueuePosition = &at, 0
	b.Status.Run.Missing, b.Status.Run.RetryAt = nil, nil
	if started := b.Status.Run.StartedAt; started != nil {
		b.Status.Run.DurationSeconds = int32(math.Ceil(now.Sub(started.Time).Seconds()))
	}
	derive(b, now)
}
