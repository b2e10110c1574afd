// SPDX-License-Identifier: Apache-2.0

package hlbbuild

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/fleettest"
)

// hourly makes a build run each hour, on the hour.
func hourly(change ...func(*v1alpha1.ScheduleSpec)) func(*v1alpha1.HLBBuild) {
	return func(b *v1alpha1.HLBBuild) {
		b.Spec.Schedule = &v1alpha1.ScheduleSpec{CronSchedule: v1alpha1.CronSchedule{
			Cron: "0 * * * *", TimeZone: "UTC",
		}, ConcurrencyPolicy: v1alpha1.ConcurrencyForbid}
		for _, c := range change {
			c(b.Spec.Schedule)
		}
	}
}

// end has the run of a build end well, and the manager look at it.
func (w *world) end(b *v1alpha1.HLBBuild) *v1alpha1.HLBBuild {
	w.T.Helper()
	w.Report(b, func(b *v1alpha1.HLBBuild) { status.Succeed(b, w.Clock.Now()) })
	return w.step(b)
}

// untilHour moves the clock to just after the n-th full hour from now.
func (w *world) untilHour(n int) {
	now := w.Clock.Now()
	w.Clock.Step(now.Truncate(time.Hour).Add(time.Duration(n)*time.Hour + time.Second).Sub(now))
}

func TestAScheduleOpensRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.open("b", hourly())
	if b.Status.Run.Cause != v1alpha1.CauseSpecChanged || b.Status.Schedule.NextTime == nil ||
		b.Status.Schedule.LastTime != nil {
		t.Fatalf("at first: run %+v, schedule %+v", b.Status.Run, b.Status.Schedule)
	}
	b = w.end(b)
	first := b.Status.Run.ID
	result, err := w.builds.Reconcile(t.Context(), fleettest.Read(w, b))
	w.Must(err)
	if until := b.Status.Schedule.NextTime.Sub(w.Clock.Now()); result.RequeueAfter <= 0 ||
		result.RequeueAfter > time.Hour || result.RequeueAfter < until-time.Second {
		t.Errorf("looks again in %v, and the next run is in %v", result.RequeueAfter, until)
	}
	w.untilHour(1)
	b = w.step(b)
	if run := b.Status.Run; run.Cause != v1alpha1.CauseScheduled || run.ID == first ||
		!strings.HasPrefix(run.ID, "s") || run.Generation != b.Generation {
		t.Errorf("after an hour the run is %+v", run)
	}
	if h := b.Status.History; len(h) != 1 || h[0].ID != first {
		t.Errorf("history is %+v", h)
	}
	if last, next := b.Status.Schedule.LastTime, b.Status.Schedule.NextTime; last == nil ||
		!next.Equal(ptr.To(last.Rfc3339Copy())) && next.Sub(last.Time) != time.Hour {
		t.Errorf("schedule is %+v", b.Status.Schedule)
	}
	again := w.step(b).Status.Run.ID
	if again != b.Status.Run.ID {
		t.Error("one time of the schedule opened two runs")
	}
}

func TestMissedTimesAreMadeUpForOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.end(w.open("b", hourly()))
	w.untilHour(7)
	w.restart(w.Client)
	b = w.step(b)
	if b.Status.Run.Cause != v1alpha1.CauseScheduled || len(b.Status.History) != 1 {
		t.Fatalf("after seven hours: run %+v, history %+v", b.Status.Run, b.Status.History)
	}
	id := b.Status.Run.ID
	if b = w.end(b); b.Status.Run.ID != id {
		t.Error("a second missed time opened a run too")
	}
}

func TestATimeThatIsTooLateIsSkipped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.end(w.open("b", hourly(func(s *v1alpha1.ScheduleSpec) { s.StartingDeadlineSeconds = ptr.To[int32](60) })))
	w.untilHour(1)
	w.Clock.Step(5 * time.Minute)
	b = w.step(b)
	if b.Status.Run.Cause != v1alpha1.CauseSpecChanged || b.Status.Schedule.LastTime == nil {
		t.Errorf("five minutes late: run %+v, schedule %+v", b.Status.Run, b.Status.Schedule)
	}
	w.untilHour(1)
	if b = w.step(b); b.Status.Run.Cause != v1alpha1.CauseScheduled {
		t.Errorf("a second late: run %+v", b.Status.Run)
	}
}

func TestTheRunInFlightIsWaitedForOrReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	forbid, replace := w.open("forbid", hourly()), w.open("replace",
		hourly(func(s *v1alpha1.ScheduleSpec) { s.ConcurrencyPolicy = v1alpha1.ConcurrencyReplace }))
	w.untilHour(1)
	forbid, replace = w.step(forbid), w.step(replace)
	if forbid.Status.Run.Cause != v1alpha1.CauseSpecChanged {
		t.Error("a run in flight was replaced although that is forbidden")
	}
	if replace.Status.Run.Cause != v1alpha1.CauseScheduled ||
		replace.Status.History[0].Reason != v1alpha1.ReasonCancelled {
		t.Errorf("run %+v, history %+v, want the scheduled run instead of the cancelled one", replace.Status.Run,
			replace.Status.History)
	}
	if forbid = w.end(forbid); forbid.Status.Run.Cause != v1alpha1.CauseScheduled {
		t.Error("the time that came during the run was forgotten")
	}
}

func TestASuspendedScheduleOpensNoRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.end(w.open("b", hourly(), func(b *v1alpha1.HLBBuild) { b.Spec.Suspend = true }))
	w.untilHour(2)
	if b = w.step(b); b.Status.Run.Cause != v1alpha1.CauseSpecChanged || b.Status.Schedule.NextTime != nil {
		t.Errorf("run %+v, schedule %+v", b.Status.Run, b.Status.Schedule)
	}
}

func TestAScheduleThatCantBeKeptSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.open("b", hourly(func(s *v1alpha1.ScheduleSpec) { s.TimeZone = "Mars/Olympus" }))
	c := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionScheduleAccepted)
	if c == nil || c.Reason != v1alpha1.ReasonInvalidSchedule || !strings.Contains(c.Message, "Mars/Olympus") ||
		b.Status.Run == nil {
		t.Fatalf("condition is %+v", c)
	}
	w.Clock.Step(time.Minute)
	b.Spec.Schedule = nil
	w.Must(w.Client.Update(t.Context(), b))
	b = w.step(b)
	if b.Status.Schedule != nil ||
		meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionScheduleAccepted) != nil {
		t.Errorf("without a schedule the status still tells of one: %+v", b.Status)
	}
}

func TestAScheduleOpensNoRunForTimesBeforeIt(t *testing.T) {
	t.Parallel()
	cases := map[string]func(w *world, b *v1alpha1.HLBBuild) *v1alpha1.HLBBuild{
		"it was added": func(w *world, b *v1alpha1.HLBBuild) *v1alpha1.HLBBuild {
			w.untilHour(2)
			return w.edit(b, func(s *v1alpha1.HLBBuildSpec) {
				hourly()(b)
				s.Schedule = b.Spec.Schedule
			})
		},
		"it was changed": func(w *world, b *v1alpha1.HLBBuild) *v1alpha1.HLBBuild {
			b = w.edit(b, func(s *v1alpha1.HLBBuildSpec) {
				hourly()(b)
				s.Schedule = b.Spec.Schedule
				s.Schedule.Cron = "30 0 1 1 *"
			})
			w.untilHour(2)
			return w.edit(b, func(s *v1alpha1.HLBBuildSpec) { s.Schedule.Cron = "0 * * * *" })
		},
		"it was resumed": func(w *world, b *v1alpha1.HLBBuild) *v1alpha1.HLBBuild {
			b = w.edit(b, func(s *v1alpha1.HLBBuildSpec) {
				hourly()(b)
				s.Schedule, s.Suspend = b.Spec.Schedule, true
			})
			w.untilHour(2)
			return w.edit(b, suspend(false))
		},
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := change(w, w.end(w.open("b")))
			if b.Status.Run.Cause != v1alpha1.CauseSpecChanged || b.Status.Schedule.NextTime == nil {
				t.Fatalf("run %+v, schedule %+v", b.Status.Run, b.Status.Schedule)
			}
			w.untilHour(1)
			if b = w.step(b); b.Status.Run.Cause != v1alpha1.CauseScheduled {
				t.Errorf("the next hour opened no run: %+v", b.Status.Schedule)
			}
		})
	}
}
