// SPDX-License-Identifier: Apache-2.0

package hlbbuild

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
)

// action is what happens to an attempt that is bound to a daemon.
type action int

const (
	keep     action = iota // leave it where it is
	withdraw               // no agent started it and none will: place it again, at no cost
	lose                   // its agent is gone and has fenced itself: the attempt is lost
)

// decideBound decides about a bound attempt from its daemon; daemon is nil when the BuildDaemon no longer exists. The
// string is the reason, for people.
func decideBound(
	run *v1alpha1.RunStatus,
	placement *v1alpha1.PlacementStatus,
	daemon *v1alpha1.BuildDaemon,
) (action, string) {
	started := run.StartedBy != ""
	if daemon == nil {
		return loseOrWithdraw(started), fmt.Sprintf("Daemon %s no longer exists", placement.Daemon)
	}
	if status.IsGone(daemon) {
		ready := meta.FindStatusCondition(daemon.Status.Conditions, v1alpha1.ConditionReady)
		return loseOrWithdraw(started), fmt.Sprintf("Daemon %s: %s", daemon.Name, ready.Message)
	}
	if !started && !status.StartsBuilds(daemon) {
		return withdraw, fmt.Sprintf("Daemon %s stopped taking builds before its agent started this one", daemon.Name)
	}
	return keep, ""
}

func loseOrWithdraw(started bool) action {
	if started {
		return lose
	}
	return withdraw
}

// retryAllowed reports whether a lost attempt is followed by another one.
func retryAllowed(b *v1alpha1.HLBBuild) bool {
	limit := int32(0)
	if b.Spec.RetryLimit != nil {
		limit = *b.Spec.RetryLimit
	}
	return status.CountedAttempts(b.Status.Run) <= limit
}
