// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
)

// StepLimits bound what one step may use.
type StepLimits struct {
	// memory of a step, without swap. Unset: four fifths of the memory limit of the container buildkitd, where
	// podTemplate has one, else no bound. A step that takes more is killed.
	// +optional
	// +kubebuilder:validation:XValidation:rule="quantity(self).isGreaterThan(quantity('15Mi'))",message="memory of a step must be at least 16Mi, or no shell starts"
	Memory *resource.Quantity `json:"memory,omitempty"`

	// cpu is how many processors a step may keep busy. Unset: no bound.
	// +optional
	// +kubebuilder:validation:XValidation:rule="quantity(self).isGreaterThan(quantity('9m'))",message="cpu of a step must be at least 10m"
	CPU *resource.Quantity `json:"cpu,omitempty"`
}

// QueueLimits bound the builds that wait for a BuildCache.
type QueueLimits struct {
	// maxPending is how many builds of all queues together are considered for a daemon while they wait, in their order
	// of service. The others have the reason QueueFull and wait until there is room.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	MaxPending int32 `json:"maxPending"`
}
