// SPDX-License-Identifier: Apache-2.0

package daemonstatus

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/agent/board"
	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/gc"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/gcrules"
)

// daemonConditions are whether a daemon whose agent lives takes builds.
func daemonConditions(unreached error, builds board.Builds) []metav1.Condition {
	ready := metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonDaemonServing,
		Message: "buildkitd answers",
	}
	if unreached != nil {
		ready.Status, ready.Reason = metav1.ConditionFalse, v1alpha1.ReasonDaemonUnreachable
		ready.Message = "buildkitd does not answer: " + unreached.Error()
	}
	drain := metav1.Condition{
		Type: v1alpha1.ConditionDraining, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonInService,
		Message: "The daemon takes builds",
	}
	if builds.Draining {
		drain.Status, drain.Reason = metav1.ConditionTrue, v1alpha1.ReasonShuttingDown
		drain.Message = fmt.Sprintf("The daemon shuts down after %d running builds", builds.Running)
	}
	return []metav1.Condition{ready, drain}
}

// diskCondition is whether the volume is too full for builds.
func diskCondition(vol gc.Volume, budget gc.Budget) metav1.Condition {
	c := metav1.Condition{
		Type: v1alpha1.ConditionDiskPressure, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonVolumeNearlyFull,
	}
	switch {
	case vol.HasBytePressure(budget):
		c.Message = fmt.Sprintf("Less than a tenth of the volume's %d MiB is free", budget.CapacityBytes>>20)
	case vol.HasInodePressure():
		c.Reason = v1alpha1.ReasonInodesNearlyFull
		c.Message = fmt.Sprintf("Less than a tenth of the volume's %d inodes is free", vol.CapacityInodes)
	default:
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonVolumeHasSpace
		c.Message = "More than a tenth of the volume is free"
	}
	return c
}

// policyCondition compares the rules that buildkitd reports with those for a volume of sizeBytes.
func policyCondition(seen *daemon.Observation, sizeBytes int64) metav1.Condition {
	c := metav1.Condition{
		Type: v1alpha1.ConditionGCPolicyInForce, Status: metav1.ConditionTrue,
		Reason: v1alpha1.ReasonGCPolicyAsConfigured, Message: "buildkitd collects garbage as configured",
	}
	if !gcrules.Honours(seen.Rules, sizeBytes) {
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonGCPolicyDiffers
		c.Message = "buildkitd collects garbage by other rules than configured and may delete cache mounts: " +
			strings.Join(gcLines(seen.GCPolicy), "; ")
	}
	return c
}
