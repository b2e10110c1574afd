// SPDX-License-Identifier: Apache-2.0

package run

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

func TestStepLimits(t *testing.T) {
	container := func(name, memory string) v1alpha1.BuildCacheSpec {
		return v1alpha1.BuildCacheSpec{PodTemplate: &v1alpha1.PodTemplateOverlay{Spec: v1alpha1.PodSpecOverlay{
			Containers: []v1alpha1.ContainerOverlay{{Name: name, Resources: corev1.ResourceRequirements{
				Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)},
			}}},
		}}}
	}
	with := func(s v1alpha1.BuildCacheSpec, memory, cpu string) v1alpha1.BuildCacheSpec {
		if memory != "" {
			s.BuildKit.StepLimits.Memory = ptr.To(resource.MustParse(memory))
		}
		if cpu != "" {
			s.BuildKit.StepLimits.CPU = ptr.To(resource.MustParse(cpu))
		}
		return s
	}
	cases := map[string]struct {
		spec v1alpha1.BuildCacheSpec
		want daemon.StepLimits
	}{
		"nothing is bounded by itself": {},
		"what the spec says": {
			with(v1alpha1.BuildCacheSpec{}, "1Gi", "1500m"), daemon.StepLimits{MemoryBytes: 1 << 30, MilliCPU: 1500},
		},
		"four fifths of the daemon's": {container("buildkitd", "5Gi"), daemon.StepLimits{MemoryBytes: 4 << 30}},
		"the spec comes first": {
			with(container("buildkitd", "5Gi"), "1Gi", ""), daemon.StepLimits{MemoryBytes: 1 << 30},
		},
		"the agent's limit is its own": {container("agent", "5Gi"), daemon.StepLimits{}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := stepLimits(&v1alpha1.BuildCache{Spec: tc.spec}); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}
