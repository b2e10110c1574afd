// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MountSharing is how builds that use a cache mount at the same time share it; the words are HLB's own.
// +kubebuilder:validation:Enum=shared;private;locked
type MountSharing string

// The sharing modes.
const (
	// MountShared lets builds use the mount at the same time.
	MountShared MountSharing = "shared"
	// MountPrivate gives a second build at the same time a new, empty mount.
	MountPrivate MountSharing = "private"
	// MountLocked makes a second build wait for the first.
	MountLocked MountSharing = "locked"
)

// MountPolicy is the policy of the cache mounts of one id, or of a pattern of ids. One entry applies to a mount, as a
// whole: the one with exactly its id, else the pattern with the longest text before its first *, then the one with the
// most literal characters, then the first in the order of the alphabet. The order of the list means nothing.
type MountPolicy struct {
	// id of the cache mounts as programs write it, without the namespace that the operator puts before it. A * stands
	// for any characters, none and slashes included.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ID string `json:"id"`
	// sharing of mounts whose program names no mode. Unset: what the program's language says.
	// +optional
	Sharing MountSharing `json:"sharing,omitempty"`
	// eviction of the mounts. Unset: by worth, without bounds of their own.
	// +optional
	Eviction *MountEviction `json:"eviction,omitempty"`
	// snapshot says when the mounts' content is pushed as an image. Unset: never.
	// +optional
	Snapshot *MountSnapshotSpec `json:"snapshot,omitempty"`
	// prime says when the mounts are filled from their newest snapshot. Unset: OnFreshDaemon where snapshot is given,
	// else Never.
	// +optional
	Prime PrimePolicy `json:"prime,omitempty"`
	// primeTimeoutSeconds is how long a build waits for one mount to be primed before it begins with an empty one.
	// +optional
	// +kubebuilder:default=120
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	PrimeTimeoutSeconds int32 `json:"primeTimeoutSeconds,omitempty"`
}

// EvictionPolicy selects which cache mounts garbage collection may evict.
// +kubebuilder:validation:Enum=ByWorth;Never
type EvictionPolicy string

// The eviction policies.
const (
	// EvictByWorth evicts the mounts that save the least for their size and time since their last use.
	EvictByWorth EvictionPolicy = "ByWorth"
	// EvictNever evicts a mount in no case. It still counts toward the budget for mounts.
	EvictNever EvictionPolicy = "Never"
)

// MountEviction bounds the life of cache mounts.
//
// +kubebuilder:validation:XValidation:rule="self.policy != 'Never' || (!has(self.maxSize) && !has(self.maxAgeSeconds))",message="a mount with eviction.policy Never is never evicted, so it can't have maxSize or maxAgeSeconds"
type MountEviction struct {
	// policy of the budget for mounts: ByWorth, or Never for mounts that must stay.
	// +optional
	// +kubebuilder:default=ByWorth
	Policy EvictionPolicy `json:"policy,omitempty"`
	// maxSize is how large one mount may be after a build; a larger one is evicted, alone, once no build uses it.
	// Unset: no bound.
	// +optional
	// +kubebuilder:validation:XValidation:rule="quantity(self).isGreaterThan(quantity('0'))",message="maxSize must be more than nothing"
	MaxSize *resource.Quantity `json:"maxSize,omitempty"`
	// maxAgeSeconds is how long a mount may go unused before it is evicted. Unset: no bound.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=315360000
	MaxAgeSeconds *int32 `json:"maxAgeSeconds,omitempty"`
}

// GCSpec divides each daemon's volume. The daemon's agent keeps the bounds; they follow the volume when it grows.
//
// +kubebuilder:validation:XValidation:rule="self.mountsPercent + self.layersPercent + self.freePercent <= 100",message="mountsPercent, layersPercent and freePercent are at most 100 together"
type GCSpec struct {
	// mountsPercent of the volume is for cache mounts. Above it those are pruned that save least for their size and
	// were unused for longest; pinned ones and those in use stay.
	// +optional
	// +kubebuilder:default=50
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=89
	MountsPercent int32 `json:"mountsPercent,omitempty"`
	// layersPercent of the volume is for everything else that BuildKit keeps: sources, images and results of steps.
	// Above it those unused for longest are pruned, sources first.
	// +optional
	// +kubebuilder:default=30
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=89
	LayersPercent int32 `json:"layersPercent,omitempty"`
	// freePercent of the volume's bytes and inodes is kept free for steps under way: sources, then layers, then
	// mounts give way for it.
	// +optional
	// +kubebuilder:default=20
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=90
	FreePercent int32 `json:"freePercent,omitempty"`
}

// PruneReason says why the agent pruned something.
// +kubebuilder:validation:Enum=TooLarge;TooOld;MountsOverBudget;LayersOverBudget;LowSpace;LowInodes
type PruneReason string

// The reasons to prune.
const (
	// PruneTooLarge surfaces when a mount outgrew its policy's eviction.maxSize.
	PruneTooLarge PruneReason = "TooLarge"
	// PruneTooOld surfaces when a mount was unused for longer than its policy's eviction.maxAgeSeconds.
	PruneTooOld PruneReason = "TooOld"
	// PruneMountsOverBudget surfaces when all mounts together passed storage.gc.mountsPercent.
	PruneMountsOverBudget PruneReason = "MountsOverBudget"
	// PruneLayersOverBudget surfaces when everything but mounts passed storage.gc.layersPercent.
	PruneLayersOverBudget PruneReason = "LayersOverBudget"
	// PruneLowSpace surfaces when less than storage.gc.freePercent of the volume's bytes was free.
	PruneLowSpace PruneReason = "LowSpace"
	// PruneLowInodes surfaces when less than storage.gc.freePercent of the volume's inodes was free.
	PruneLowInodes PruneReason = "LowInodes"
)

// GCStatus is the garbage collection of one daemon, in bytes of its volume now.
type GCStatus struct {
	// capacityBytes is what the percentages are of: the volume's filesystem, or the size asked for when the
	// filesystem is larger.
	// +optional
	CapacityBytes int64 `json:"capacityBytes,omitempty"`
	// mountsBudgetBytes is the bound of all cache mounts together.
	// +optional
	MountsBudgetBytes int64 `json:"mountsBudgetBytes,omitempty"`
	// layersBudgetBytes is the bound of everything else.
	// +optional
	LayersBudgetBytes int64 `json:"layersBudgetBytes,omitempty"`
	// freeBytes are kept free.
	// +optional
	FreeBytes int64 `json:"freeBytes,omitempty"`
	// mountsBytes is what cache mounts take.
	// +optional
	MountsBytes int64 `json:"mountsBytes,omitempty"`
	// layersBytes is what everything else takes.
	// +optional
	LayersBytes int64 `json:"layersBytes,omitempty"`
	// nextEviction is the mount that the agent would evict next; unset while none may be.
	// +optional
	NextEviction *NextEviction `json:"nextEviction,omitempty"`
	// lastPrune is the last time that the agent pruned something; unset while it never has.
	// +optional
	LastPrune *PruneStatus `json:"lastPrune,omitempty"`
}

// NextEviction is the cache mount that a daemon evicts next, should it need room.
type NextEviction struct {
	// id of the cache mount as BuildKit knows it.
	// +required
	// +kubebuilder:validation:MaxLength=512
	ID string `json:"id"`
	// bytes it occupies.
	// +required
	Bytes int64 `json:"bytes"`
	// lostSeconds is what the next build that uses the mount loses without it; 0 if that is not known.
	// +optional
	LostSeconds int32 `json:"lostSeconds,omitempty"`
	// redundant reports whether another serving daemon has a copy that was used later.
	// +optional
	Redundant bool `json:"redundant,omitempty"`
}

// PruneStatus sums up one time of pruning.
type PruneStatus struct {
	// time it was done.
	// +required
	Time metav1.Time `json:"time"`
	// bytes that came free.
	// +optional
	Bytes int64 `json:"bytes,omitempty"`
	// records that were pruned.
	// +optional
	Records int32 `json:"records,omitempty"`
	// reasons of it, each once.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	Reasons []PruneReason `json:"reasons,omitempty"`
	// mounts among them by id, at most 16.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=512
	Mounts []string `json:"mounts,omitempty"`
}
