// SPDX-License-Identifier: Apache-2.0

package status

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// Suspend holds a run that is not final. It withdraws a placement that no agent has started; for a started attempt
// open a new run first, so that no report of that attempt is taken for one of a later attempt.
func Suspend(b *v1alpha1.HLBBuild, now time.Time) {
	at := metav1.NewMicroTime(now)
	b.Status.Run.SuspendedAt = &at
	Wait(b, v1alpha1.ReasonSuspended, "spec.suspend is set; the run waits until it no longer is", now)
}

// Resume queues a suspended run anew, behind those that wait already.
func Resume(b *v1alpha1.HLBBuild, now time.Time) {
	run := b.Status.Run
	run.SuspendedAt, run.Missing, run.RetryAt = nil, nil, nil
	run.QueuedAt = metav1.NewMicroTime(now)
	Wait(b, v1alpha1.ReasonPending, "spec.suspend is no longer set; the run waits for the scheduler", now)
}

// What a build names and does not find is looked for again after firstCheckPause, which doubles up to lastCheckPause.
// Secrets of one bundle, or made by another controller, are there within seconds. Each check takes a slot of a daemon
// for the time of a few reads.
const (
	firstCheckPause = 15 * time.Second
	lastCheckPause  = time.Minute
)

// HandBack ends the current attempt because something that the build names does not exist yet, and holds the build
// until that is worth another look. The attempt does not count towards spec.retryLimit.
func HandBack(b *v1alpha1.HLBBuild, reason, message string, now time.Time) {
	run, checks := b.Status.Run, int32(1)
	if run.Missing != nil {
		checks = run.Missing.Checks + 1
	}
	pause := lastCheckPause
	if doubled := firstCheckPause << min(checks-1, 8); doubled < pause {
		pause = doubled
	}
	next := metav1.NewMicroTime(now.Add(pause))
	at := metav1.NewMicroTime(now)
	nextAttempt(b, v1alpha1.AttemptRecord{
		Daemon: b.Status.Placement.Daemon, FinishedAt: &at, Reason: reason, Message: message,
	})
	run.UncountedAttempts++
	run.Missing = &v1alpha1.MissingInput{
		Reason: reason, Message: Clip(message, 1024), Checks: checks, NextCheckAt: &next,
	}
	Wait(b, reason, message+"; the build waits for it", now)
}

// CheckAgain queues a build for its next attempt, or for another look at what it misses, if that is due. Else it
// returns how long until then, 0 for a build that waits for no time or is queued already.
func CheckAgain(b *v1alpha1.HLBBuild, now time.Time) time.Duration {
	run := b.Status.Run
	if !IsHeld(b) || run.SuspendedAt != nil {
		return 0
	}
	due := &run.RetryAt
	if *due == nil && run.Missing != nil {
		due = &run.Missing.NextCheckAt
	}
	if *due == nil {
		return 0
	}
	if left := (*due).Sub(now); left > 0 {
		return left
	}
	*due = nil
	return 0
}

// CountedAttempts is how many attempts, the current one included, count towards spec.retryLimit.
func CountedAttempts(run *v1alpha1.RunStatus) int32 { return run.Attempt - run.UncountedAttempts }

// Deadline returns when the current run fails by spec.activeDeadlineSeconds. It is false for a build without a limit,
// and for a run that is final or suspended.
func Deadline(b *v1alpha1.HLBBuild) (time.Time, bool) {
	run, limit := b.Status.Run, b.Spec.ActiveDeadlineSeconds
	if limit == nil || run == nil || run.SuspendedAt != nil || IsFinal(b) {
		return time.Time{}, false
	}
	return run.QueuedAt.Add(time.Duration(*limit) * time.Second), true
}

// Expiry returns when the object is to be deleted by spec.ttlSecondsAfterFinished. It is false for a build that stays:
// without a limit, with a schedule, or while it has or needs a run that is not over.
func Expiry(b *v1alpha1.HLBBuild) (time.Time, bool) {
	ttl := b.Spec.TTLSecondsAfterFinished
	if ttl == nil || b.Spec.Schedule != nil || !IsFinal(b) || NeedsRun(b) {
		return time.Time{}, false
	}
	return b.Status.Run.FinishedAt.Add(time.Duration(*ttl) * time.Second), true
}
