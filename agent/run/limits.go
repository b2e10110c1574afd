// SPDX-License-Identifier: Apache-2.0

package run

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// stepLimits are those of a BuildCache's steps. Without a limit of its own a step may have four fifths of the memory of
// buildkitd's container: the kernel then kills the step, not the daemon with all of its builds.
func stepLimits(cache *v1alpha1.BuildCache) daemon.StepLimits {
	wanted := cache.Spec.BuildKit.StepLimits
	out := daemon.StepLimits{}
	if wanted.CPU != nil {
		out.MilliCPU = wanted.CPU.MilliValue()
	}
	if wanted.Memory != nil {
		out.MemoryBytes = wanted.Memory.Value()
		return out
	}
	if cache.Spec.PodTemplate == nil {
		return out
	}
	for _, c := range cache.Spec.PodTemplate.Spec.Containers {
		if c.Name == "buildkitd" {
			memory := c.Resources.Limits[corev1.ResourceMemory]
			out.MemoryBytes = memory.Value() / 5 * 4
		}
	}
	return out
}
