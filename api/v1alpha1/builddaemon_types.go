// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BuildDaemonSpec identifies a daemon of a BuildCache and holds what the manager wants of it. Users set unschedulable
// alone.
type BuildDaemonSpec struct {
	// cacheRef names the BuildCache, of the same namespace. It can't be changed.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a BuildDaemon belongs to one BuildCache for good: the operator makes one for each daemon"
	CacheRef LocalObjectReference `json:"cacheRef"`
	// ordinal of the daemon in its BuildCache, the daemon's stable identity for placement. It can't be changed.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a BuildDaemon stands for one daemon of its BuildCache for good: the operator makes one for each"
	Ordinal int32 `json:"ordinal"`
	// unschedulable cordons the daemon: it takes no new builds, and running ones go on. Set it by hand before
	// maintenance of the daemon; the operator never changes it.
	// +optional
	Unschedulable bool `json:"unschedulable,omitempty"`
	// suspend stops the daemon's pod and keeps its volume. The manager sets it when the BuildCache is scaled down.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
	// prefetch lists cache mounts that the daemon is to bring in from their newest snapshots before a build needs
	// them, at most 16. The manager asks for them when daemons have joined or left the fleet, and takes back what was
	// done, what failed, and what is ten minutes old.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=16
	Prefetch []PrefetchRequest `json:"prefetch,omitempty"`
}

// PrefetchRequest asks for one cache mount ahead of builds.
type PrefetchRequest struct {
	// id of the cache mount as BuildKit knows it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	ID string `json:"id"`
	// sharing that builds have the mount with. BuildKit would keep a copy made with another one apart from theirs.
	// +required
	Sharing MountSharing `json:"sharing"`
	// bytes that the newest snapshot holds; the daemon declines what it has no room for.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Bytes int64 `json:"bytes,omitempty"`
	// requestedAt is when the manager asked for it.
	// +required
	RequestedAt metav1.Time `json:"requestedAt"`
}

// PrefetchStatus is what came of a request.
type PrefetchStatus struct {
	PrimeStatus `json:",inline"`
	// requestedAt is that of the request.
	// +required
	RequestedAt metav1.Time `json:"requestedAt"`
}

// KeyUse is what a daemon's ledger says about one cache key.
type KeyUse struct {
	// key is the cache key.
	// +required
	// +kubebuilder:validation:MaxLength=512
	Key string `json:"key"`
	// lastUsed is when a build of the key last succeeded here.
	// +required
	LastUsed metav1.Time `json:"lastUsed"`
	// warmSeconds is how long the last build took that found the daemon warm; 0 when there was none.
	// +optional
	WarmSeconds int32 `json:"warmSeconds,omitempty"`
	// coldSeconds is how long the last build took that found the daemon fresh; 0 when there was none.
	// +optional
	ColdSeconds int32 `json:"coldSeconds,omitempty"`
}

// MountUse is one cache mount that the daemon holds.
type MountUse struct {
	// id of the cache mount as BuildKit knows it.
	// +required
	// +kubebuilder:validation:MaxLength=512
	ID string `json:"id"`
	// bytes it occupies; 0 while it is in use for the first time.
	// +optional
	Bytes int64 `json:"bytes,omitempty"`
	// firstUsed is when a build first had it mounted; unset when none is known to.
	// +optional
	FirstUsed *metav1.Time `json:"firstUsed,omitempty"`
	// lastUsed is when a build last had it mounted, or when it was brought in ahead of builds.
	// +optional
	LastUsed *metav1.Time `json:"lastUsed,omitempty"`
	// uses is how many builds have had it.
	// +optional
	Uses int64 `json:"uses,omitempty"`
	// users are the cache keys whose builds have had it, the latest first, at most 8.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MaxLength=512
	Users []string `json:"users,omitempty"`
	// policy is the id of the entry of the BuildCache's mounts that applies to it, empty for none.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Policy string `json:"policy,omitempty"`
	// snapshot is the last snapshot of it that this daemon has made or tried to; unset for none.
	// +optional
	Snapshot *MountSnapshotStatus `json:"snapshot,omitempty"`
}

// BuildDaemonStatus is written by the daemon's agent. While there is none, the manager writes its Ready, Reconciling
// and Stalled conditions.
type BuildDaemonStatus struct {
	// observedGeneration is the generation that the conditions are about; −1 before anything was reported.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions: Ready, Draining, DiskPressure, GCPolicyInForce, StepsIsolated, RegistryCleaned.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// nodeName is the node of the daemon's pod.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	NodeName string `json:"nodeName,omitempty"`
	// platform the daemon builds for by default, as os/arch.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Platform string `json:"platform,omitempty"`
	// platforms the daemon can build for, its own first, at most 32. More than its own are reported where the machine
	// runs or emulates them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=64
	Platforms []string `json:"platforms,omitempty"`
	// version of buildkitd.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Version string `json:"version,omitempty"`
	// isolation that the agent found in force: UserNamespace when the pod's root is nobody on the node.
	// +optional
	Isolation Isolation `json:"isolation,omitempty"`
	// volumeEpoch changes whenever the volume is new or its cache was reset: what is believed about another epoch's
	// bytes is void.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	VolumeEpoch string `json:"volumeEpoch,omitempty"`
	// agentID names the running agent process; another one after each restart.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	AgentID string `json:"agentID,omitempty"`
	// slots is how many builds it runs at once.
	// +optional
	Slots int32 `json:"slots"`
	// runningBuilds is how many it runs now.
	// +optional
	RunningBuilds int32 `json:"runningBuilds"`
	// usage of the volume, for the printer column: "61% of 20Gi".
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Usage string `json:"usage,omitempty"`
	// capacityBytes of the volume's filesystem.
	// +optional
	CapacityBytes int64 `json:"capacityBytes,omitempty"`
	// usedBytes of the volume's filesystem.
	// +optional
	UsedBytes int64 `json:"usedBytes,omitempty"`
	// capacityInodes of the volume's filesystem; 0 when it does not count them.
	// +optional
	CapacityInodes int64 `json:"capacityInodes,omitempty"`
	// usedInodes of the volume's filesystem.
	// +optional
	UsedInodes int64 `json:"usedInodes,omitempty"`
	// cacheBytes is what BuildKit accounts for its cache.
	// +optional
	CacheBytes int64 `json:"cacheBytes,omitempty"`
	// gcPolicy in force as buildkitd reports it, one line a rule.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=512
	GCPolicy []string `json:"gcPolicy,omitempty"`
	// gc is the garbage collection that the agent does, in bytes.
	// +optional
	GC *GCStatus `json:"gc,omitempty"`
	// sizing is the curve of hit ratios by the volume's size; unset before a build has used a cache mount.
	// +optional
	Sizing *DaemonSizing `json:"sizing,omitempty"`
	// keys whose builds the daemon has done, latest first, at most 256 and as many as fit into a status of 32 KiB.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Keys []KeyUse `json:"keys,omitempty"`
	// keysTotal is the number of keys that the daemon knows, listed or not.
	// +optional
	KeysTotal int32 `json:"keysTotal"`
	// mounts with content that the daemon holds, those first that save builds the most time, at most 256 and as many
	// as fit into a status of 32 KiB.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Mounts []MountUse `json:"mounts,omitempty"`
	// mountsTotal is the number of mounts that the daemon holds, listed or not, empty or not.
	// +optional
	MountsTotal int32 `json:"mountsTotal"`
	// prefetch says what came of the requests in spec.prefetch that the daemon is done with.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=16
	Prefetch []PrefetchStatus `json:"prefetch,omitempty"`
}

// BuildDaemon is one daemon of a BuildCache. It outlives the daemon's pod, because it stands for the volume.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=bd,categories=build
// +kubebuilder:printcolumn:name="Cache",type=string,JSONPath=`.spec.cacheRef.name`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.status.nodeName`
// +kubebuilder:printcolumn:name="Running",type=integer,JSONPath=`.status.runningBuilds`
// +kubebuilder:printcolumn:name="Slots",type=integer,JSONPath=`.status.slots`
// +kubebuilder:printcolumn:name="Used",type=string,JSONPath=`.status.usage`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.version`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type BuildDaemon struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec says which daemon it is.
	// +required
	Spec BuildDaemonSpec `json:"spec"`
	// status is the daemon as its agent finds it.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status BuildDaemonStatus `json:"status,omitempty"`
}

// BuildDaemonList is a list of BuildDaemons.
//
// +kubebuilder:object:root=true
type BuildDaemonList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BuildDaemon `json:"items"`
}
