// SPDX-License-Identifier: Apache-2.0

package daemonstatus

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/gc"
	"github.com/openllb/hlb-operator/agent/stepnet"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/gcrules"
	"github.com/openllb/hlb-operator/internal/status"
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

// networkCondition is whether steps have networks of their own; nil stands for a BuildCache that wants none.
func networkCondition(network *stepnet.State) metav1.Condition {
	c := metav1.Condition{
		Type: v1alpha1.ConditionStepsIsolated, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonPodNetwork,
		Message: "Steps share the network of the daemon's pod, as spec.buildkit.network.mode of the BuildCache has it",
	}
	switch {
	case network == nil:
	case network.Isolated:
		c.Status, c.Reason = metav1.ConditionTrue, v1alpha1.ReasonOwnNetworks
		c.Message = "Each step has a network of its own"
	default:
		c.Reason = v1alpha1.ReasonNetworksUnsupported
		c.Message = status.Clip("Steps share the network of the daemon's pod, because the node has none for them: "+
			network.Message, 1024)
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
