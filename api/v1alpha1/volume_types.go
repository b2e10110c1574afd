// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AutoExpandSpec lets the operator grow the volumes of a fleet by itself. All daemons' volumes are of one size.
type AutoExpandSpec struct {
	// maxSize is never exceeded.
	// +required
	MaxSize resource.Quantity `json:"maxSize"`
	// thresholdPercent of a volume in use from which the fleet's volumes grow, or as much of the share for cache
	// mounts: of gc.mountsPercent, the part that thresholdPercent is of what may be in use. Together with
	// gc.freePercent it is below 100: beyond that, garbage collection makes room first and no volume ever fills up so
	// far.
	// +optional
	// +kubebuilder:default=70
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=89
	ThresholdPercent int32 `json:"thresholdPercent,omitempty"`
	// stepPercent of the present size is added each time, rounded up to a whole GiB.
	// +optional
	// +kubebuilder:default=25
	// +kubebuilder:validation:Minimum=5
	// +kubebuilder:validation:Maximum=100
	StepPercent int32 `json:"stepPercent,omitempty"`
}

// StorageStatus is the size of the volumes.
type StorageStatus struct {
	// size that each volume is to have: spec.storage.size, or more where autoExpand has grown it.
	// +required
	Size resource.Quantity `json:"size"`
	// capacitySize of the fleet's largest volume; unset while there is none. spec.storage.size can be lowered to it.
	// +optional
	CapacitySize *resource.Quantity `json:"capacitySize,omitempty"`
	// expandedTime is when autoExpand last grew the size.
	// +optional
	ExpandedTime *metav1.Time `json:"expandedTime,omitempty"`
}
