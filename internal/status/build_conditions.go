// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// derive sets Running, Succeeded, Finished and the standing conditions of a build that has a run. Scheduled is a fact
// of its own. Exactly one of Ready, Reconciling and Stalled is True afterwards.
func derive(b *v1alpha1.HLBBuild, now time.Time) {
	s := summaryOf(b)
	set := func(kind string, status metav1.ConditionStatus, reason, message string) {
		setBuild(b, kind, status, reason, message, now)
	}
	switch {
	case s.State != Progressing:
		set(v1alpha1.ConditionRunning, metav1.ConditionFalse, v1alpha1.ReasonFinished, "The run is over")
	case b.Status.Placement == nil || IsReleasing(b):
		meta.RemoveStatusCondition(&b.Status.Conditions, v1alpha1.ConditionRunning)
	case s.Reason == v1alpha1.ReasonSolving:
		set(v1alpha1.ConditionRunning, metav1.ConditionTrue, s.Reason, s.Message)
	default:
		set(v1alpha1.ConditionRunning, metav1.ConditionFalse, s.Reason, s.Message)
	}
	switch s.State {
	case Ready:
		set(v1alpha1.ConditionSucceeded, metav1.ConditionTrue, s.Reason, s.Message)
		set(v1alpha1.ConditionFinished, metav1.ConditionTrue, s.Reason, s.Message)
	case Stalled:
		set(v1alpha1.ConditionSucceeded, metav1.ConditionFalse, s.Reason, s.Message)
		set(v1alpha1.ConditionFinished, metav1.ConditionTrue, s.Reason, s.Message)
	default:
		set(v1alpha1.ConditionSucceeded, metav1.ConditionUnknown, s.Reason, s.Message)
		set(v1alpha1.ConditionFinished, metav1.ConditionFalse, s.Reason, s.Message)
	}
	s.apply(&b.Status.Conditions, b.Status.ObservedGeneration, now)
}

// summaryOf reads the facts of a run in the order in which they supersede one another.
func summaryOf(b *v1alpha1.HLBBuild) Summary {
	s := &b.Status
	switch PhaseOfBuild(b) {
	case BuildFinal:
		if s.Failure != nil {
			return Summary{State: Stalled, Reason: s.Failure.Reason, Message: failureMessage(s.Failure)}
		}
		return Summary{State: Ready, Reason: v1alpha1.ReasonSucceeded, Message: successMessage(s)}
	case BuildLost:
		return Summary{Reason: v1alpha1.ReasonRetrying, Message: lostMessage(s.Run.Lost)}
	case BuildBound:
		if s.Run.StartedAt == nil {
			return Summary{
				Reason:  v1alpha1.ReasonAwaitingAgent,
				Message: fmt.Sprintf("Bound to %s, whose agent has not started it yet", s.Placement.Daemon),
			}
		}
		return Summary{Reason: v1alpha1.ReasonSolving, Message: fmt.Sprintf("Building on %s", s.Placement.Daemon)}
	default:
		scheduled := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionScheduled)
		return Summary{Reason: scheduled.Reason, Message: scheduled.Message}
	}
}

func setBuild(
	b *v1alpha1.HLBBuild,
	kind string,
	status metav1.ConditionStatus,
	reason, message string,
	now time.Time,
) {
	Set(&b.Status.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: b.Status.ObservedGeneration,
	}, now)
}

func successMessage(s *v1alpha1.HLBBuildStatus) string {
	parts := []string{"Built"}
	if s.Placement != nil {
		parts = append(parts, "on "+s.Placement.Daemon)
	}
	if s.Steps != nil {
		parts = append(parts, fmt.Sprintf("with %s steps cached", s.Steps.Display))
	}
	return strings.Join(parts, " ")
}

func failureMessage(f *v1alpha1.FailureStatus) string {
	if f.Source == nil {
		return f.Message
	}
	return fmt.Sprintf("%s:%d:%d: %s", f.Source.File, f.Source.Line, f.Source.Column, f.Message)
}
