// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// DaemonService is what a live agent knows of its daemon's service.
type DaemonService struct {
	// Unreachable is why buildkitd does not answer; nil when it does.
	Unreachable error
	// Unhealthy is the reason why the daemon can have no builds although it may answer, Why its message; empty for
	// none.
	Unhealthy, Why string
	// Draining means that the agent shuts down after RunningBuilds builds.
	Draining      bool
	RunningBuilds int
}

// ReportService sets what the agent of a daemon reports on its service: the standing conditions and Draining.
func ReportService(d *v1alpha1.BuildDaemon, s DaemonService, now time.Time) {
	summary := Summary{State: Ready, Reason: v1alpha1.ReasonDaemonServing, Message: "buildkitd answers"}
	switch {
	case s.Unhealthy != "":
		summary = Summary{Reason: s.Unhealthy, Message: s.Why}
	case s.Unreachable != nil:
		summary = Summary{
			Reason:  v1alpha1.ReasonDaemonUnreachable,
			Message: "buildkitd does not answer: " + s.Unreachable.Error(),
		}
	}
	d.Status.RunningBuilds = int32(s.RunningBuilds)
	summary.apply(&d.Status.Conditions, d.Generation, now)
	drain := metav1.Condition{
		Type: v1alpha1.ConditionDraining, Status: metav1.ConditionFalse, ObservedGeneration: d.Generation,
		Reason: v1alpha1.ReasonInService, Message: "The daemon takes builds",
	}
	if s.Draining {
		drain.Status, drain.Reason = metav1.ConditionTrue, v1alpha1.ReasonShuttingDown
		drain.Message = fmt.Sprintf("The daemon shuts down after %d running builds", s.RunningBuilds)
	}
	Set(&d.Status.Conditions, drain, now)
}

// ScaleDown records that the daemon's pod was scaled away while its volume is kept.
func ScaleDown(d *v1alpha1.BuildDaemon, now time.Time) {
	if PhaseOfDaemon(d) == DaemonDormant {
		return
	}
	d.Status.RunningBuilds = 0
	meta.RemoveStatusCondition(&d.Status.Conditions, v1alpha1.ConditionDraining)
	Summary{
		Reason:  v1alpha1.ReasonScaledDown,
		Message: "The daemon was scaled away; its volume is kept and comes back with it",
	}.apply(&d.Status.Conditions, d.Generation, now)
}

// Silence is how a daemon's agent fell silent.
type Silence int

const (
	// NotStarted: no agent has ever reported.
	NotStarted Silence = iota
	// AgentStopped: the agent has ended in order and released its Lease.
	AgentStopped
	// LeaseExpired: the agent has not renewed its Lease in time, and so has fenced itself.
	LeaseExpired
)

// FallSilent records that no agent answers for the daemon. It changes nothing where that is known already, where the
// daemon was scaled away, or where it is known why its pod does not come up.
func FallSilent(d *v1alpha1.BuildDaemon, how Silence, now time.Time) {
	s := Summary{Unknown: true}
	switch how {
	case NotStarted:
		s.Reason, s.Message = v1alpha1.ReasonNotStarted, "The daemon's agent has not reported yet"
	case AgentStopped:
		s.Reason, s.Message = v1alpha1.ReasonAgentStopped, "The daemon's agent has ended and released its Lease"
	case LeaseExpired:
		s.Reason, s.Message = v1alpha1.ReasonLeaseExpired, "The daemon's agent has not renewed its Lease in time"
	}
	ready := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionReady)
	if PhaseOfDaemon(d) == DaemonDormant || ready != nil && (ready.Reason == s.Reason || IsTrouble(ready.Reason)) {
		return
	}
	s.apply(&d.Status.Conditions, d.Generation, now)
}

// HasReported reports whether an agent has ever reported on the daemon.
func HasReported(d *v1alpha1.BuildDaemon) bool {
	ready := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionReady)
	return ready != nil && ready.Reason != v1alpha1.ReasonNotStarted
}
