// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AnnotationSnapshotAt on a BuildCache or a BuildDaemon asks for snapshots of all its mounts that have a snapshot
// policy, whenever its value changes; an RFC 3339 time by convention.
const AnnotationSnapshotAt = "build.openllb.dev/snapshotAt"

// MountSnapshotSpec says when the mounts' content is pushed as an image, from which fresh daemons are primed. A
// snapshot is made only of a mount whose last build succeeded and that no build uses, and is pushed only when the
// content has changed since the one before.
type MountSnapshotSpec struct {
	// schedule of snapshots by the clock. Unset: none.
	// +optional
	Schedule *CronSchedule `json:"schedule,omitempty"`
	// repository to push to, without a tag. Unset: that of the BuildCache's registry. The operator writes and deletes
	// only tags there that begin with "mount-" and the namespace.
	// +optional
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="!self.contains('@') && self.contains('/') && !self.substring(self.lastIndexOf('/')).contains(':')",message="repository is host/path without a tag or digest, for example registry.example.com/team/build-cache"
	Repository string `json:"repository,omitempty"`
	// keep is how many snapshots of one mount stay in the registry.
	// +optional
	// +kubebuilder:default=3
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Keep int32 `json:"keep,omitempty"`
	// maxSize is the most that a mount may hold to be snapshotted. Unset: no bound.
	// +optional
	// +kubebuilder:validation:XValidation:rule="quantity(self).isGreaterThan(quantity('0'))",message="maxSize must be more than nothing"
	MaxSize *resource.Quantity `json:"maxSize,omitempty"`
	// onDrain makes a snapshot when the daemon shuts down.
	// +optional
	// +kubebuilder:default=true
	OnDrain *bool `json:"onDrain,omitempty"`
}

// PrimePolicy says when mounts are filled from their newest snapshot.
// +kubebuilder:validation:Enum=OnFreshDaemon;Never
type PrimePolicy string

// The prime policies.
const (
	// PrimeOnFreshDaemon fills a mount that the daemon does not hold before the first build that uses it.
	PrimeOnFreshDaemon PrimePolicy = "OnFreshDaemon"
	// PrimeNever lets builds begin with an empty mount.
	PrimeNever PrimePolicy = "Never"
)

// SnapshotOutcome says what came of the last snapshot.
// +kubebuilder:validation:Enum=Pushed;Unchanged;Empty;TooLarge;Deferred;Failed
type SnapshotOutcome string

// The outcomes of a snapshot.
const (
	// SnapshotPushed surfaces when an image was pushed.
	SnapshotPushed SnapshotOutcome = "Pushed"
	// SnapshotUnchanged surfaces when the newest image holds the mount's content already.
	SnapshotUnchanged SnapshotOutcome = "Unchanged"
	// SnapshotEmpty surfaces when the mount holds nothing.
	SnapshotEmpty SnapshotOutcome = "Empty"
	// SnapshotTooLarge surfaces when the mount holds more than snapshot.maxSize.
	SnapshotTooLarge SnapshotOutcome = "TooLarge"
	// SnapshotDeferred surfaces when a build uses the mount, or the last one failed; it is tried again.
	SnapshotDeferred SnapshotOutcome = "Deferred"
	// SnapshotFailed surfaces when the copy or the registry failed.
	SnapshotFailed SnapshotOutcome = "Failed"
)

// MountSnapshotStatus is the last snapshot of a mount from one daemon.
type MountSnapshotStatus struct {
	// outcome of the last try.
	// +required
	Outcome SnapshotOutcome `json:"outcome"`
	// time of the last try.
	// +required
	Time metav1.Time `json:"time"`
	// message says more about it.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message,omitempty"`
	// ref is the image of the newest snapshot that is known, by digest; empty for none.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Ref string `json:"ref,omitempty"`
	// digest of that snapshot's content.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Digest string `json:"digest,omitempty"`
	// bytes of that snapshot's content.
	// +optional
	Bytes int64 `json:"bytes,omitempty"`
	// durationSeconds of the last try, rounded up.
	// +optional
	DurationSeconds int32 `json:"durationSeconds,omitempty"`
}

// PrimeOutcome says what came of priming a mount.
// +kubebuilder:validation:Enum=Primed;Refreshed;NoSnapshot;Held;TimedOut;Failed
type PrimeOutcome string

// The outcomes of priming.
const (
	// PrimePrimed surfaces when the mount was filled.
	PrimePrimed PrimeOutcome = "Primed"
	// PrimeRefreshed surfaces when older content of the mount was replaced.
	PrimeRefreshed PrimeOutcome = "Refreshed"
	// PrimeNoSnapshot surfaces when there is no snapshot of the mount that fits.
	PrimeNoSnapshot PrimeOutcome = "NoSnapshot"
	// PrimeHeld surfaces when the mount held something already and was left alone.
	PrimeHeld PrimeOutcome = "Held"
	// PrimeTimedOut surfaces when priming took longer than primeTimeoutSeconds; the build began with the mount as it
	// was.
	PrimeTimedOut PrimeOutcome = "TimedOut"
	// PrimeFailed surfaces when the registry or the copy failed; the build began with the mount as it was.
	PrimeFailed PrimeOutcome = "Failed"
)

// PrimeStatus is one mount that was to be primed before a build.
type PrimeStatus struct {
	// id of the cache mount as BuildKit knows it.
	// +required
	// +kubebuilder:validation:MaxLength=512
	ID string `json:"id"`
	// outcome of it.
	// +required
	Outcome PrimeOutcome `json:"outcome"`
	// ref of the snapshot, by digest; empty when none was found.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Ref string `json:"ref,omitempty"`
	// bytes of the snapshot's content.
	// +optional
	Bytes int64 `json:"bytes,omitempty"`
	// durationSeconds of it, rounded up.
	// +optional
	DurationSeconds int32 `json:"durationSeconds,omitempty"`
	// message says why when it failed.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message,omitempty"`
}

// RegistryDeletePolicy says what becomes of a BuildCache's tags when it is deleted.
// +kubebuilder:validation:Enum=Retain;Delete
type RegistryDeletePolicy string

// The policies.
const (
	// RegistryRetain leaves the tags in the registry, for a BuildCache of the same name or for somebody to delete.
	RegistryRetain RegistryDeletePolicy = "Retain"
	// RegistryDelete deletes the tags of keys and mounts that only builds of this BuildCache are known to have used.
	RegistryDelete RegistryDeletePolicy = "Delete"
)

// RegistryRetentionSpec says how long tags stay that the operator has written: registry cache of keys and snapshots
// of mounts, of the BuildCache's namespace. No other tag is ever deleted. The registry must be one that lets single
// tags be deleted; the daemons' condition RegistryCleaned says when it is not.
type RegistryRetentionSpec struct {
	// maxAgeSeconds is how long a tag stays after it was last written and its key or mount was last used by a build.
	// BuildCaches of one namespace that share a repository should have the same. Unset: forever.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=315360000
	MaxAgeSeconds *int32 `json:"maxAgeSeconds,omitempty"`
	// onDelete says what becomes of the tags when the BuildCache is deleted. With Delete, the deletion waits for the
	// daemons to do it, five minutes at most.
	// +optional
	// +kubebuilder:default=Retain
	OnDelete RegistryDeletePolicy `json:"onDelete,omitempty"`
}
