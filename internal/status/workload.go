// SPDX-License-Identifier: Apache-2.0

package status

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// Trouble is why a daemon's pod does not come up.
type Trouble struct {
	// Reason is one of those that IsTrouble knows.
	Reason string
	// Message is a sentence for users.
	Message string
	// UserOnly reports that waiting does not help.
	UserOnly bool
}

// DaemonTrouble is the trouble of one daemon of a fleet.
type DaemonTrouble struct {
	Daemon string
	Trouble
}

// IsTrouble reports whether a reason of a daemon's Ready condition is that of a Trouble.
func IsTrouble(reason string) bool {
	switch reason {
	case v1alpha1.ReasonPodSecurityRefused, v1alpha1.ReasonQuotaExceeded, v1alpha1.ReasonLimitRangeRefused,
		v1alpha1.ReasonPodRefused, v1alpha1.ReasonImagePullFailed, v1alpha1.ReasonContainerFailed,
		v1alpha1.ReasonCrashLoop, v1alpha1.ReasonUserNamespacesRefused:
		return true
	default:
		return IsOfPlace(reason)
	}
}

// IsOfPlace reports whether a reason is that of a Trouble with the node or the volume of one daemon, which is no sign
// against the template of its pod.
func IsOfPlace(reason string) bool {
	switch reason {
	case v1alpha1.ReasonUnschedulable, v1alpha1.ReasonVolumePending, v1alpha1.ReasonNodeLost:
		return true
	default:
		return false
	}
}

// IsStalled reports whether conditions say that only a user can help.
func IsStalled(conditions []metav1.Condition) bool {
	return meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled)
}

// AwaitsAgent reports whether no agent reports on the daemon, so that the manager does: none has ever, or the last one
// has ended.
func AwaitsAgent(d *v1alpha1.BuildDaemon) bool {
	ready := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil {
		return true
	}
	switch ready.Reason {
	case v1alpha1.ReasonNotStarted, v1alpha1.ReasonAgentStopped, v1alpha1.ReasonLeaseExpired,
		v1alpha1.ReasonScaledDown:
		return true
	default:
		return IsTrouble(ready.Reason)
	}
}

// ReportPod records what the manager knows of a daemon's pod while no agent reports on the daemon: that it was scaled
// away, what stands in its way, or neither. trouble is nil for none.
func ReportPod(d *v1alpha1.BuildDaemon, exists bool, trouble *Trouble, now time.Time) {
	if d.Spec.Suspend {
		if !exists {
			ScaleDown(d, now)
		}
		return
	}
	if !AwaitsAgent(d) {
		return
	}
	d.Status.ObservedGeneration = d.Generation
	reason := ""
	if ready := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
		reason = ready.Reason
	}
	switch {
	case trouble != nil:
		s := Summary{Reason: trouble.Reason, Message: trouble.Message}
		if trouble.UserOnly {
			s.State = Stalled
		}
		s.apply(&d.Status.Conditions, d.Generation, now)
	case IsTrouble(reason), reason == v1alpha1.ReasonScaledDown:
		Summary{
			Unknown: true, Reason: v1alpha1.ReasonNotStarted, Message: "The daemon's pod is being started",
		}.apply(&d.Status.Conditions, d.Generation, now)
	}
}
