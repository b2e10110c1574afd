// SPDX-License-Identifier: Apache-2.0

package write

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
)

// buildChanged lists the events of a write to a build. A build that runs and ends without trouble has one, at its end:
// the status says the rest, and events are not free.
func buildChanged(before, after *v1alpha1.HLBBuild) []Event {
	run := after.Status.Run
	if run == nil {
		return nil
	}
	old, was := before.Status.Run, before.Status.Conditions
	var out []Event
	if old == nil || old.ID != run.ID {
		was = nil // they are about another run
		if old != nil && old.FinishedAt == nil {
			out = append(out, runCancelled(after, old))
		}
	}
	is := after.Status.Conditions
	accepted := changedTo(before.Status.Conditions, is, v1alpha1.ConditionScheduleAccepted)
	if accepted != nil && accepted.Status == metav1.ConditionFalse {
		out = append(out, scheduleRefused(after, accepted))
	}
	for i := len(before.Status.Prime); i < len(after.Status.Prime); i++ {
		out = append(out, mountPrimed(after, &after.Status.Prime[i])...)
	}
	if c := changedTo(was, is, v1alpha1.ConditionReady); c != nil {
		out = append(out, readyChanged(before, after, c)...)
	} else if isSuspicion(old, run) {
		out = append(out, attemptLost(after))
	}
	if c := changedTo(was, is, v1alpha1.ConditionCacheExported); c != nil {
		out = append(out, cacheExported(after, c)...)
	}
	return out
}

// readyChanged lists the events of a new reason of Ready.
func readyChanged(before, after *v1alpha1.HLBBuild, ready *metav1.Condition) []Event {
	run := after.Status.Run
	switch {
	case status.IsFinal(after):
		return []Event{runFinished(after, ready)}
	case isNewLoss(before.Status.Run, run):
		return []Event{attemptLost(after)}
	case ready.Reason == v1alpha1.ReasonCacheNotFound, ready.Reason == v1alpha1.ReasonNamespaceNotAllowed:
		return []Event{noCache(after, ready)}
	case isNewlyMissing(before.Status.Run, run):
		return []Event{inputMissing(after, ready)}
	case ready.Reason == v1alpha1.ReasonAwaitingAgent && run.Attempt > 1:
		return []Event{attemptPlaced(after)}
	default:
		return nil
	}
}

// isNewLoss reports whether the write lost an attempt.
func isNewLoss(before, after *v1alpha1.RunStatus) bool {
	if after.Lost == nil {
		return false
	}
	return before == nil || before.ID != after.ID || before.Lost == nil || before.Lost.Attempt != after.Lost.Attempt
}

// isSuspicion reports whether the write decides about a loss that an agent has reported, in a way that others have a
// part in: the daemon died with other builds on it, or the build is to run alone from now on.
func isSuspicion(before, after *v1alpha1.RunStatus) bool {
	if before == nil || before.ID != after.ID || before.Lost == nil || before.Lost.Attempt != before.Attempt ||
		after.Attempt == before.Attempt {
		return false
	}
	return after.Isolated != before.Isolated || after.Lost != nil && after.Lost.Neighbours > 0
}

// isNewlyMissing reports whether an attempt did not find something that the one before did not look for.
func isNewlyMissing(before, after *v1alpha1.RunStatus) bool {
	if after.Missing == nil {
		return false
	}
	return before == nil || before.Missing == nil || before.Missing.Message != after.Missing.Message
}

// runCancelled is about a run in flight that another one took the place of.
func runCancelled(b *v1alpha1.HLBBuild, old *v1alpha1.RunStatus) Event {
	note := fmt.Sprintf("Run %s was cancelled by run %s", old.ID, b.Status.Run.ID)
	if b.Status.Run.SuspendedAt != nil && old.SuspendedAt == nil {
		note = fmt.Sprintf("Run %s was cancelled, because spec.suspend is set", old.ID)
	}
	return normal(b, v1alpha1.ReasonCancelled, "OpenRun", note)
}

func inputMissing(b *v1alpha1.HLBBuild, ready *metav1.Condition) Event {
	return warning(b, ready.Reason, "ReadInputs", ready.Message)
}

func runFinished(b *v1alpha1.HLBBuild, ready *metav1.Condition) Event {
	if ready.Status == metav1.ConditionTrue {
		return normal(b, ready.Reason, "Build", ready.Message)
	}
	return warning(b, ready.Reason, "Build", ready.Message)
}

// attemptLost is about a lost attempt and, as far as that is decided, what follows from it.
func attemptLost(b *v1alpha1.HLBBuild) Event {
	ready := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionReady)
	return warning(b, v1alpha1.ReasonRetrying, "Build", ready.Message)
}

// attemptPlaced is about attempts after the first only: where the others were placed, and why, the status says.
func attemptPlaced(b *v1alpha1.HLBBuild) Event {
	note := fmt.Sprintf("Run %s, attempt %d: %s", b.Status.Run.ID, b.Status.Run.Attempt, b.Status.Placement.Reason)
	return normal(b, v1alpha1.ReasonDaemonChosen, "Place", note)
}

func noCache(b *v1alpha1.HLBBuild, ready *metav1.Condition) Event {
	return warning(b, ready.Reason, "Place", ready.Message)
}

func scheduleRefused(b *v1alpha1.HLBBuild, c *metav1.Condition) Event {
	return warning(b, c.Reason, "KeepSchedule", c.Message)
}

// cacheExported is about an export of registry cache that failed. A program of nothing but files leaves nothing to
// export, which is no failure.
func cacheExported(b *v1alpha1.HLBBuild, c *metav1.Condition) []Event {
	if c.Status == metav1.ConditionTrue || c.Reason == v1alpha1.ReasonNothingToExport {
		return nil
	}
	return []Event{warning(b, c.Reason, "ExportCache", c.Message)}
}

// mountPrimed is about a mount that could not be filled from a snapshot before the build. What was filled, or had no
// snapshot yet, is in the status alone: a build may have many mounts.
func mountPrimed(b *v1alpha1.HLBBuild, p *v1alpha1.PrimeStatus) []Event {
	if p.Outcome != v1alpha1.PrimeTimedOut && p.Outcome != v1alpha1.PrimeFailed {
		return nil
	}
	note := fmt.Sprintf("%s was not primed: %s", p.ID, p.Message)
	return []Event{warning(ofMount(b, "status.prime", p.ID), v1alpha1.ReasonPrimeFailed, "PrimeMount", note)}
}
