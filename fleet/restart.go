// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/scheduler"
)

// absence is the time in which a daemon that has served takes no builds and is expected back with its volume.
type absence struct {
	// Since is when it stopped taking builds.
	Since time.Time `json:"since"`
	// DownAt is when it stopped answering, zero while it drains. Its restart is counted from there: how long a drain
	// takes depends on the builds that it waits for.
	DownAt time.Time `json:"downAt,omitzero"`
	// Cause is the reason of its Ready condition then.
	Cause string `json:"cause,omitempty"`
	// Epoch is that of its volume.
	Epoch string `json:"epoch,omitempty"`
}

// maxAbsence bounds how long ago an absence that this State has not seen begin may have begun.
const maxAbsence = time.Hour

// observeAbsence notes when a daemon goes away for a restart, and learns from one that is back.
func (s *State) observeAbsence(d *daemonState) {
	served := d.Served
	d.Served = status.StartsBuilds(d.object)
	switch {
	case d.Served:
		if a := d.Away; a != nil && !a.DownAt.IsZero() && a.Epoch == d.object.Status.VolumeEpoch {
			s.restarts.Observe(a.Cause, s.now.Sub(a.DownAt).Seconds())
			s.taught++
		}
		d.Away = nil
	case !mayReturn(d.object):
		d.Away = nil
	default:
		if d.Away == nil {
			d.Away = &absence{Since: s.awaySince(d.object, served), Epoch: d.object.Status.VolumeEpoch}
		}
		if d.Away.DownAt.IsZero() && status.PhaseOfDaemon(d.object) != status.DaemonDraining {
			d.Away.DownAt = s.awaySince(d.object, served || d.Away.Since.Before(s.now))
			d.Away.Cause = readyOf(d.object).Reason
		}
	}
}

// awaySince is when a daemon that is away went: now if the State has seen it before, otherwise by its condition.
func (s *State) awaySince(d *v1alpha1.BuildDaemon, seen bool) time.Time {
	if seen {
		return s.now
	}
	at := readyOf(d).LastTransitionTime.UTC()
	if drain := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionDraining); drain != nil &&
		status.PhaseOfDaemon(d) == status.DaemonDraining {
		at = drain.LastTransitionTime.UTC()
	}
	if at.After(s.now) {
		return s.now
	}
	if oldest := s.now.Add(-maxAbsence); at.Before(oldest) {
		return oldest
	}
	return at
}

// readyOf returns the Ready condition of a daemon that has one.
func readyOf(d *v1alpha1.BuildDaemon) *metav1.Condition {
	return meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionReady)
}

// mayReturn reports whether a daemon that takes no builds may be restarting: it has a volume, is wanted, and nothing is
// known that keeps its pod from coming up.
func mayReturn(d *v1alpha1.BuildDaemon) bool {
	ready := readyOf(d)
	switch {
	case ready == nil, d.Status.VolumeEpoch == "", !d.DeletionTimestamp.IsZero(), d.Spec.Suspend, d.Spec.Unschedulable,
		meta.IsStatusConditionTrue(d.Status.Conditions, v1alpha1.ConditionDiskPressure):
		return false
	}
	switch phase := status.PhaseOfDaemon(d); {
	case phase == status.DaemonDraining:
		return true
	case phase != status.DaemonGone && phase != status.DaemonNotReady:
		return false
	}
	return ready.Reason != v1alpha1.ReasonNotStarted && ready.Reason != v1alpha1.ReasonScaledDown &&
		!status.IsTrouble(ready.Reason)
}

// returnOf is when a daemon is expected to take builds again. One that drains ends its builds before it restarts.
func (s *State) returnOf(d *daemonState) scheduler.Busy {
	a := d.Away
	if a == nil {
		return scheduler.Busy{}
	}
	cause, down := a.Cause, seconds(a.DownAt)
	if a.DownAt.IsZero() {
		cause, down = v1alpha1.ReasonAgentStopped, seconds(a.Since)
		timeout := down + float64(s.cache.Spec.BuildKit.DrainTimeoutSeconds)
		for i := range d.bound {
			if b := &d.bound[i]; b.running {
				down = max(down, min(b.beganSeconds+b.expectedSeconds, timeout))
			}
		}
	}
	takes := s.restarts.Expect(cause)
	if takes <= 0 {
		return scheduler.Busy{}
	}
	return scheduler.Busy{EndsAtSeconds: down + takes, ExpectedSeconds: takes}
}
