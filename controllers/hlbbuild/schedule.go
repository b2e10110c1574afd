// SPDX-License-Identifier: Apache-2.0

package hlbbuild

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/attempt"
	"github.com/openllb/hlb-operator/internal/buildrun"
	"github.com/openllb/hlb-operator/internal/cronschedule"
	"github.com/openllb/hlb-operator/internal/status"
)

// keepSchedule opens a run when the build's schedule asks for one, notes when it comes next, and returns how long
// until then, 0 for never. The build has a run already: that of its spec. A run that was opened after a time of the
// schedule covers it, whatever it was opened for.
func keepSchedule(b *v1alpha1.HLBBuild, now time.Time) time.Duration {
	spec := b.Spec.Schedule
	if spec == nil {
		b.Status.Schedule = nil
		meta.RemoveStatusCondition(&b.Status.Conditions, v1alpha1.ConditionScheduleAccepted)
		return 0
	}
	if b.Status.Schedule == nil {
		b.Status.Schedule = &v1alpha1.ScheduleStatus{}
	}
	kept := b.Status.Schedule
	kept.NextTime = nil
	schedule, err := cronschedule.Parse(spec.Cron, spec.TimeZone)
	if err != nil {
		kept.Expression, kept.Since = "", nil
		setScheduleAccepted(b, metav1.ConditionFalse, v1alpha1.ReasonInvalidSchedule, "spec.schedule."+err.Error(), now)
		return 0
	}
	if b.Spec.Suspend {
		kept.Expression, kept.Since = "", nil
		setScheduleAccepted(
			b,
			metav1.ConditionTrue,
			v1alpha1.ReasonSuspended,
			"spec.suspend is set: no run is opened by the clock",
			now,
		)
		return 0
	}
	if expression := spec.TimeZone + " " + spec.Cron; kept.Expression != expression {
		at := metav1.NewTime(now)
		kept.Expression, kept.Since = expression, &at
	}
	if due, ok := schedule.Latest(keptSince(b), now); ok &&
		(spec.ConcurrencyPolicy == v1alpha1.ConcurrencyReplace || status.IsFinal(b)) {
		at := metav1.NewTime(due)
		if !isTooLate(spec, due, now) {
			attempt.Open(b, buildrun.Scheduled(b, due), now)
		}
		kept.LastTime = &at
	}
	next := metav1.NewTime(schedule.Next(now))
	kept.NextTime = &next
	setScheduleAccepted(
		b,
		metav1.ConditionTrue,
		v1alpha1.ReasonScheduleKept,
		fmt.Sprintf("Runs are opened at %q, %s", spec.Cron, spec.TimeZone),
		now,
	)
	return next.Sub(now)
}

// keptSince is when times of the schedule begin to open runs: an edit of the schedule opens none for times before it,
// and neither does the end of a suspension.
func keptSince(b *v1alpha1.HLBBuild) time.Time {
	kept, since := b.Status.Schedule, b.Status.Run.QueuedAt.Time
	for _, t := range []*metav1.Time{kept.Since, kept.LastTime} {
		if t != nil && t.After(since) {
			since = t.Time
		}
	}
	return since
}

func isTooLate(spec *v1alpha1.ScheduleSpec, due, now time.Time) bool {
	return spec.StartingDeadlineSeconds != nil &&
		now.Sub(due) > time.Duration(*spec.StartingDeadlineSeconds)*time.Second
}

func setScheduleAccepted(b *v1alpha1.HLBBuild, value metav1.ConditionStatus, reason, message string, now time.Time) {
	status.Set(&b.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionScheduleAccepted, Status: value, Reason: reason, Message: message,
		ObservedGeneration: b.Status.ObservedGeneration,
	}, now)
}
