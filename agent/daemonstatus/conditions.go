// SPDX-License-Identifier: Apache-2.0

package daemonstatus

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/gc"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/gcrules"
)

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
