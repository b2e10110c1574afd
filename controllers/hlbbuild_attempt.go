// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// verdict is what becomes of an attempt that is bound to a daemon.
type verdict int

const (
	keep     verdict = iota // leave it where it is
	takeBack                // nobody took it up and the daemon won't: place it again, at no cost
	giveUp                  // its agent is gone and has fenced itself: the attempt is lost
)

// judgeBound decides about a bound attempt from its daemon; daemon is nil when the BuildDaemon no longer exists. The
// string says why, for people.
func judgeBound(
	run *v1alpha1.RunStatus,
	placement *v1alpha1.PlacementStatus,
	daemon *v1alpha1.BuildDaemon,
) (verdict, string) {
	taken := run.StartedBy != ""
	if daemon == nil {
		return lostOrTakenBack(taken), fmt.Sprintf("Daemon %s no longer exists", placement.Daemon)
	}
	if isGone(daemon) {
		ready := meta.FindStatusCondition(daemon.Status.Conditions, v1alpha1.ConditionReady)
		return lostOrTakenBack(taken), fmt.Sprintf("Daemon %s: %s", daemon.Name, ready.Message)
	}
	if !taken && !takesBuilds(daemon) {
		return takeBack, fmt.Sprintf("Daemon %s stopped taking builds before its agent took this one up", daemon.Name)
	}
	return keep, ""
}

func lostOrTakenBack(taken bool) verdict {
	if taken {
		return giveUp
	}
	return takeBack
}

// isGone says whether the daemon's agent is known to run nothing: its Lease ran out or was released, or its pod was
// scaled away.
func isGone(d *v1alpha1.BuildDaemon) bool {
	ready := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionReady)
	return ready != nil && (ready.Reason == v1alpha1.ReasonLeaseExpired || ready.Reason == v1alpha1.ReasonScaledDown)
}

// takesBuilds says whether the daemon's agent takes up new builds.
func takesBuilds(d *v1alpha1.BuildDaemon) bool {
	ready := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionReady)
	return ready != nil && ready.Status == metav1.ConditionTrue &&
		!meta.IsStatusConditionTrue(d.Status.Conditions, v1alpha1.ConditionDraining)
}

// retryAllowed says whether a lost attempt is followed by another one.
func retryAllowed(b *v1alpha1.HLBBuild) bool {
	limit := int32(0)
	if b.Spec.RetryLimit != nil {
		limit = *b.Spec.RetryLimit
	}
	return b.Status.Run.Attempt <= limit
}
