// SPDX-License-Identifier: Apache-2.0

package buildstatus

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// messageLimit bounds a condition's message, in bytes. The API allows 32 KiB; people read one paragraph.
const messageLimit = 1024

// fact is what the run is doing now, as reason and message for people.
type fact struct {
	reason, message string
	final, failed   bool
}

// derive sets Running, Finished, Succeeded and, from them, Ready, Reconciling and Stalled. Scheduled is a fact of its own.
// Exactly one of these holds afterwards: Reconciling is True, Stalled is True, or Ready is True.
func derive(b *v1alpha1.HLBBuild, now time.Time) {
	f := currentFact(b)
	setRunning(b, f, now)
	setEnd(b, f, now)
	setOrRemove(b, v1alpha1.ConditionReconciling, !f.final, f, now)
	setOrRemove(b, v1alpha1.ConditionStalled, f.failed, f, now)
	ready := metav1.ConditionFalse
	if f.final && !f.failed {
		ready = metav1.ConditionTrue
	}
	set(b, v1alpha1.ConditionReady, ready, f.reason, f.message, now)
}

// currentFact reads the facts in the order in which they supersede one another.
func currentFact(b *v1alpha1.HLBBuild) fact {
	s := &b.Status
	switch {
	case IsFinal(b) && s.Failure != nil:
		return fact{reason: s.Failure.Reason, message: failureMessage(s.Failure), final: true, failed: true}
	case IsFinal(b):
		return fact{reason: v1alpha1.ReasonSucceeded, message: successMessage(s), final: true}
	case IsLost(b):
		lost := s.Run.Lost
		return fact{
			reason:  v1alpha1.ReasonRetrying,
			message: fmt.Sprintf("Attempt %d was lost on %s: %s", lost.Attempt, lost.Daemon, lost.Message),
		}
	case s.Placement == nil:
		scheduled := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionScheduled)
		return fact{reason: scheduled.Reason, message: scheduled.Message}
	case s.Run.StartedAt == nil:
		return fact{
			reason:  v1alpha1.ReasonAwaitingAgent,
			message: fmt.Sprintf("Bound to %s, whose agent has not taken it up yet", s.Placement.Daemon),
		}
	default:
		return fact{reason: v1alpha1.ReasonSolving, message: fmt.Sprintf("Building on %s", s.Placement.Daemon)}
	}
}

func setRunning(b *v1alpha1.HLBBuild, f fact, now time.Time) {
	switch {
	case f.final:
		set(b, v1alpha1.ConditionRunning, metav1.ConditionFalse, v1alpha1.ReasonFinished, "The run is over", now)
	case b.Status.Placement == nil:
		meta.RemoveStatusCondition(&b.Status.Conditions, v1alpha1.ConditionRunning)
	case f.reason == v1alpha1.ReasonSolving:
		set(b, v1alpha1.ConditionRunning, metav1.ConditionTrue, f.reason, f.message, now)
	default:
		set(b, v1alpha1.ConditionRunning, metav1.ConditionFalse, f.reason, f.message, now)
	}
}

// setEnd sets Finished and Succeeded.
func setEnd(b *v1alpha1.HLBBuild, f fact, now time.Time) {
	finished, succeeded := metav1.ConditionFalse, metav1.ConditionUnknown
	if f.final {
		finished, succeeded = metav1.ConditionTrue, metav1.ConditionTrue
	}
	if f.failed {
		succeeded = metav1.ConditionFalse
	}
	set(b, v1alpha1.ConditionFinished, finished, f.reason, f.message, now)
	set(b, v1alpha1.ConditionSucceeded, succeeded, f.reason, f.message, now)
}

func setOrRemove(b *v1alpha1.HLBBuild, kind string, holds bool, f fact, now time.Time) {
	if !holds {
		meta.RemoveStatusCondition(&b.Status.Conditions, kind)
		return
	}
	set(b, kind, metav1.ConditionTrue, f.reason, f.message, now)
}

func set(b *v1alpha1.HLBBuild, kind string, status metav1.ConditionStatus, reason, message string, now time.Time) {
	Set(&b.Status.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: b.Status.ObservedGeneration,
	}, now)
}

// Set puts a condition into a list as meta.SetStatusCondition does, at the given time and with its message bounded.
func Set(conditions *[]metav1.Condition, c metav1.Condition, now time.Time) {
	c.Message = Clip(c.Message, messageLimit)
	c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
	meta.SetStatusCondition(conditions, c)
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

// Clip cuts s to at most limit bytes at a character's border, marking the cut with "…". Invalid UTF-8 is replaced.
func Clip(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= limit {
		return s
	}
	cut := limit - len("…")
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// ClipHead is Clip that keeps the end of s: what matters in a log.
func ClipHead(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= limit {
		return s
	}
	from := len(s) - (limit - len("…"))
	for from < len(s) && !utf8.RuneStart(s[from]) {
		from++
	}
	return "…" + s[from:]
}
