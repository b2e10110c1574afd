// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
)

// SizingPoint is the hit ratio that a volume of another size would have had.
type SizingPoint struct {
	// sizePercent of today's size.
	// +required
	// +kubebuilder:validation:Minimum=1
	SizePercent int32 `json:"sizePercent"`
	// size that is; only on a BuildCache.
	// +optional
	Size *resource.Quantity `json:"size,omitempty"`
	// hitBasisPoints is the hit ratio in hundredths of a percent: of the bytes of cache mounts that builds used, those
	// that would have been there.
	// +optional
	HitBasisPoints int32 `json:"hitBasisPoints,omitempty"`
}

// DaemonSizing is what one daemon's uses of cache mounts say about the size of its volume.
type DaemonSizing struct {
	// accesses are the uses of cache mounts by builds, since the volume is new.
	// +optional
	Accesses int64 `json:"accesses,omitempty"`
	// seenBytes are the bytes of those uses; they count half after two weeks, a quarter after four, and so on.
	// +optional
	SeenBytes int64 `json:"seenBytes,omitempty"`
	// points of the curve, by rising size.
	// +optional
	// +listType=map
	// +listMapKey=sizePercent
	// +kubebuilder:validation:MaxItems=16
	Points []SizingPoint `json:"points,omitempty"`
}

// SizingReason says why a size is recommended.
// +kubebuilder:validation:Enum=TooFewAccesses;SizeFits;LargerHoldsMore;SmallerHoldsAsMuch
type SizingReason string

// The reasons of a recommendation.
const (
	// SizingTooFewAccesses surfaces while builds have used cache mounts too seldom to say anything.
	SizingTooFewAccesses SizingReason = "TooFewAccesses"
	// SizingSizeFits surfaces when today's size is the smallest that holds about all that any size would.
	SizingSizeFits SizingReason = "SizeFits"
	// SizingLargerHoldsMore surfaces when a larger volume would hold more of what builds use.
	SizingLargerHoldsMore SizingReason = "LargerHoldsMore"
	// SizingSmallerHoldsAsMuch surfaces when a smaller volume would hold about as much.
	SizingSmallerHoldsAsMuch SizingReason = "SmallerHoldsAsMuch"
)

// SizingStatus is what the fleet's uses of cache mounts say about storage.size.
type SizingStatus struct {
	// accesses are the uses of cache mounts by builds that it is based on.
	// +optional
	Accesses int64 `json:"accesses,omitempty"`
	// points of the curve at half of today's size, today's, twice and four times that. Keys are taken to stay on
	// their daemons.
	// +optional
	// +listType=map
	// +listMapKey=sizePercent
	// +kubebuilder:validation:MaxItems=8
	Points []SizingPoint `json:"points,omitempty"`
	// recommendedSize is the smallest size looked at that holds as much as eight times today's size would, but for
	// one percent of the bytes used. Unset while there are too few accesses.
	// +optional
	RecommendedSize *resource.Quantity `json:"recommendedSize,omitempty"`
	// reason of the recommendation.
	// +optional
	Reason SizingReason `json:"reason,omitempty"`
	// message is the recommendation for people.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message,omitempty"`
}
