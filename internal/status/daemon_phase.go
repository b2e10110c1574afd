// SPDX-License-Identifier: Apache-2.0

package status

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// DaemonPhase is what can be expected of a daemon. Whoever needs to know whether a daemon takes builds asks here:
// placement, the HLBBuild controller, other daemons' agents.
type DaemonPhase string

// The phases of a daemon.
const (
	// DaemonServing: it starts what is bound to it, and new builds may be placed on it.
	DaemonServing DaemonPhase = "Serving"
	// DaemonCordoned: it starts what is bound to it, but no new build is placed on it: by spec.unschedulable, or under
	// disk pressure.
	DaemonCordoned DaemonPhase = "Cordoned"
	// DaemonDraining: it ends what it runs and starts nothing, because its pod is going away or is about to.
	DaemonDraining DaemonPhase = "Draining"
	// DaemonNotReady: its pod, agent or buildkitd is not up. What it runs may still be running.
	DaemonNotReady DaemonPhase = "NotReady"
	// DaemonDeleting: its object is being deleted. What it runs may still be running.
	DaemonDeleting DaemonPhase = "Deleting"
	// DaemonDormant: its pod was scaled away, and its volume is kept. Nothing runs.
	DaemonDormant DaemonPhase = "Dormant"
	// DaemonGone: its agent has ended or has fenced itself, or its pod does not come up. Nothing runs.
	DaemonGone DaemonPhase = "Gone"
)

// PhaseOfDaemon returns what can be expected of the daemon, from its object alone.
func PhaseOfDaemon(d *v1alpha1.BuildDaemon) DaemonPhase {
	conditions := d.Status.Conditions
	ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	switch {
	case ready != nil && ready.Reason == v1alpha1.ReasonScaledDown:
		return DaemonDormant
	case ready != nil && (ready.Reason == v1alpha1.ReasonLeaseExpired ||
		ready.Reason == v1alpha1.ReasonAgentStopped || IsTrouble(ready.Reason)):
		return DaemonGone
	case !d.DeletionTimestamp.IsZero():
		return DaemonDeleting
	case d.Spec.Suspend, meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionDraining):
		return DaemonDraining // also before the pod knows
	case ready == nil || ready.Status != metav1.ConditionTrue:
		return DaemonNotReady
	case d.Spec.Unschedulable, meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionDiskPressure):
		return DaemonCordoned
	default:
		return DaemonServing
	}
}

// TakesBuilds reports whether new builds may be placed on the daemon.
func TakesBuilds(d *v1alpha1.BuildDaemon) bool { return PhaseOfDaemon(d) == DaemonServing }

// StartsBuilds reports whether the daemon's agent starts what is bound to it: also when it is cordoned.
func StartsBuilds(d *v1alpha1.BuildDaemon) bool {
	phase := PhaseOfDaemon(d)
	return phase == DaemonServing || phase == DaemonCordoned
}

// IsGone reports whether nothing can be running on the daemon: its agent has ended or fenced itself, or its pod does
// not come up or was scaled away.
func IsGone(d *v1alpha1.BuildDaemon) bool {
	phase := PhaseOfDaemon(d)
	return phase == DaemonGone || phase == DaemonDormant
}

// IsReady reports whether the daemon's Ready condition is True: it answers, whether or not it takes builds.
func IsReady(d *v1alpha1.BuildDaemon) bool {
	return meta.IsStatusConditionTrue(d.Status.Conditions, v1alpha1.ConditionReady)
}

// LossOf is the reason with which builds are lost that run on a daemon that IsGone. One that was scaled away or drained
// has ended them on purpose; under another they have died, or it has under them.
func LossOf(d *v1alpha1.BuildDaemon) string {
	ready := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case d.Spec.Suspend || !d.DeletionTimestamp.IsZero() || ready.Reason == v1alpha1.ReasonScaledDown:
		return v1alpha1.ReasonDaemonRemoved
	case ready.Reason == v1alpha1.ReasonAgentStopped ||
		meta.IsStatusConditionTrue(d.Status.Conditions, v1alpha1.ConditionDraining):
		return v1alpha1.ReasonDaemonDraining
	default:
		return v1alpha1.ReasonDaemonLost
	}
}
