// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BuildCacheSpec describes a fleet of buildkitd daemons, their volumes and the registry that backs them.
type BuildCacheSpec struct {
	// replicas is the number of daemons; 0 keeps the volumes and stops the daemons.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	Replicas *int32 `json:"replicas,omitempty"`

	// storage describes the volume that each daemon keeps its cache on.
	// +required
	Storage StorageSpec `json:"storage"`

	// buildkit describes the daemons themselves.
	// +optional
	// +kubebuilder:default={}
	BuildKit BuildKitSpec `json:"buildkit,omitempty"`

	// allowedNamespaces are the namespaces whose builds may name this BuildCache, besides its own. Unset: none.
	// +optional
	AllowedNamespaces *AllowedNamespaces `json:"allowedNamespaces,omitempty"`

	// allowedFrontends are the images that programs may run as BuildKit front ends, by the builtin frontend: *,
	// repositories, references with tag or digest, or hosts and paths that end in /*. One without tag and digest allows
	// its whole repository. Allow only images that you trust: steps that a front end runs itself can use cache mounts
	// under any id, also those of other namespaces' builds. Unset: none.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	// +kubebuilder:validation:items:XValidation:rule="self == '*' || !self.contains('*') || self.endsWith('/*') && self.indexOf('*') == self.size() - 1",message="an entry is *, a reference, or a host or path that ends in /*, for example docker.io/docker/*"
	AllowedFrontends []string `json:"allowedFrontends,omitempty"`

	// allowedSources are what BuildKit may fetch for builds. Unset: anything.
	// +optional
	AllowedSources *AllowedSources `json:"allowedSources,omitempty"`

	// allowedPushes are the images that builds may push. Unset: any.
	// +optional
	AllowedPushes *AllowedPushes `json:"allowedPushes,omitempty"`

	// secretPolicy says which Secrets builds may name. Unset: all of the build's namespace.
	// +optional
	SecretPolicy *SecretPolicy `json:"secretPolicy,omitempty"`

	// podTemplate adds to the daemons' pods what the operator leaves to the cluster's admin, at PodSpec's own paths.
	// +optional
	PodTemplate *PodTemplateOverlay `json:"podTemplate,omitempty"`

	// updateStrategy bounds how many daemons a roll-out takes out of service at once.
	// +optional
	// +kubebuilder:default={}
	UpdateStrategy UpdateStrategy `json:"updateStrategy,omitempty"`

	// queues are the weights of the queues that builds name in spec.queue. A queue without an entry has weight 1.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Queues []QueueSpec `json:"queues,omitempty"`

	// queue bounds how many builds wait. Unset: no bound.
	// +optional
	Queue *QueueLimits `json:"queue,omitempty"`

	// registry is where the build cache is exported to and imported from, so that a fresh daemon need not start from
	// nothing. Unset: no registry cache.
	// +optional
	Registry *RegistryCacheSpec `json:"registry,omitempty"`

	// mounts are the policies of cache mounts, by id or pattern. Mounts that no entry applies to share the budget
	// for mounts.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=24
	Mounts []MountPolicy `json:"mounts,omitempty"`

	// prefetch has daemons bring in cache mounts before a build needs them, when others have joined or left the
	// fleet. Only mounts whose policy has them primed are. Unset: the first build on a daemon waits for its mounts.
	// +optional
	Prefetch *PrefetchSpec `json:"prefetch,omitempty"`

	// deletionPolicy is what a deletion of the BuildCache does to builds that run. Delete ends them at once; they wait
	// for a BuildCache of the name. With Protect the BuildCache stays until none runs, and starts no more.
	// +optional
	// +kubebuilder:default=Delete
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// PrefetchSpec bounds what is brought in ahead of builds.
type PrefetchSpec struct {
	// bandwidthPerHour is how many bytes of snapshots all daemons of the fleet together bring in within an hour, more
	// than 0. What is not used is saved up for an hour at most. A cache key whose mounts are larger together is left to
	// its first build.
	// +required
	// +kubebuilder:validation:XValidation:rule="quantity(self).isGreaterThan(quantity('0'))",message="bandwidthPerHour must be more than 0: say how much may be brought in within an hour, for example 20Gi, or leave prefetch out to bring in nothing ahead of builds"
	BandwidthPerHour resource.Quantity `json:"bandwidthPerHour"`
}

// StorageSpec describes the volume claim of each daemon.
//
// +kubebuilder:validation:XValidation:rule="has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",message="storageClassName can't be changed: existing claims keep their class. Make a new BuildCache and move builds to it by cacheRef"
// +kubebuilder:validation:XValidation:rule="!has(self.autoExpand) || quantity(self.autoExpand.maxSize).compareTo(quantity(self.size)) >= 0",message="autoExpand.maxSize must be at least size"
// +kubebuilder:validation:XValidation:rule="!has(self.autoExpand) || !has(self.gc) || self.autoExpand.thresholdPercent + self.gc.freePercent < 100",message="autoExpand.thresholdPercent and gc.freePercent must be less than 100 together: otherwise garbage collection makes room before the threshold is reached"
type StorageSpec struct {
	// size of each daemon's volume, at least 1Gi. It can be raised where the storage class allows expansion; running
	// builds are not disturbed.
	// +required
	// +kubebuilder:validation:XValidation:rule="quantity(self).compareTo(quantity('1Gi')) >= 0",message="size must be at least 1Gi: less holds not even one base image and one cache mount"
	Size resource.Quantity `json:"size"`

	// storageClassName of the claims. Unset: the cluster's default class.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	StorageClassName *string `json:"storageClassName,omitempty"`

	// autoExpand grows the volumes when they fill up.
	// +optional
	AutoExpand *AutoExpandSpec `json:"autoExpand,omitempty"`

	// retention says what becomes of the claims.
	// +optional
	// +kubebuilder:default={}
	Retention RetentionSpec `json:"retention,omitempty"`

	// gc divides the volume among cache mounts, everything else, and room for steps under way.
	// +optional
	// +kubebuilder:default={mountsPercent: 50, layersPercent: 30, freePercent: 20}
	GC GCSpec `json:"gc,omitempty"`
}

// RetentionPolicy says whether a volume claim is kept.
// +kubebuilder:validation:Enum=Retain;Delete
type RetentionPolicy string

// The retention policies.
const (
	RetentionRetain RetentionPolicy = "Retain"
	RetentionDelete RetentionPolicy = "Delete"
)

// RetentionSpec says what becomes of volume claims that no daemon uses.
type RetentionSpec struct {
	// whenScaled applies to claims of daemons that scaling down removed. Retain lets them come back warm.
	// +optional
	// +kubebuilder:default=Retain
	WhenScaled RetentionPolicy `json:"whenScaled,omitempty"`
	// whenDeleted applies to all claims when the BuildCache is deleted. With Retain, a BuildCache of the same name
	// takes them over, warm.
	// +optional
	// +kubebuilder:default=Retain
	WhenDeleted RetentionPolicy `json:"whenDeleted,omitempty"`
}

// Isolation says how buildkitd is kept away from its node.
// +kubebuilder:validation:Enum=UserNamespace;Privileged
type Isolation string

// The kinds of isolation.
const (
	// IsolationUserNamespace runs buildkitd as root of the pod's own user namespace; on the node it is nobody.
	IsolationUserNamespace Isolation = "UserNamespace"
	// IsolationPrivileged runs buildkitd as root of the node, for nodes without user namespaces.
	IsolationPrivileged Isolation = "Privileged"
)

// Entitlement is a BuildKit entitlement that builds may use.
// +kubebuilder:validation:Enum=network.host;security.insecure
type Entitlement string

// The entitlements.
const (
	EntitlementNetworkHost      Entitlement = "network.host"
	EntitlementSecurityInsecure Entitlement = "security.insecure"
)

// BuildKitSpec describes a daemon.
type BuildKitSpec struct {
	// image holding buildkitd, buildctl, runc, git and CA certificates. Unset: the operator's own default.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Image string `json:"image,omitempty"`

	// isolation of buildkitd from its node. UserNamespace needs a node with user namespaces and idmapped mounts.
	// +optional
	// +kubebuilder:default=UserNamespace
	Isolation Isolation `json:"isolation,omitempty"`

	// maxConcurrentBuilds is how many HLBBuilds one daemon runs at the same time.
	// +optional
	// +kubebuilder:default=4
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=64
	MaxConcurrentBuilds int32 `json:"maxConcurrentBuilds,omitempty"`

	// maxParallelism bounds the steps that run at once in one daemon, over all of its builds. 0: no bound.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1024
	MaxParallelism int32 `json:"maxParallelism,omitempty"`

	// stepLimits bound what each step of a build may use, so that one step can't take all of a daemon.
	// +optional
	StepLimits StepLimits `json:"stepLimits,omitzero"`

	// network of build steps.
	// +optional
	// +kubebuilder:default={}
	Network StepNetwork `json:"network,omitzero"`

	// entitlements that programs may use; none by default.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=2
	Entitlements []Entitlement `json:"entitlements,omitempty"`

	// registries says how particular registries are reached.
	// +optional
	// +listType=map
	// +listMapKey=host
	// +kubebuilder:validation:MaxItems=64
	Registries []RegistryHost `json:"registries,omitempty"`

	// extraConfig is TOML that is merged below the generated buildkitd.toml: it sets what the operator leaves open,
	// such as dns, log or frontend, and can't change what the operator sets. Sections about garbage collection are
	// refused: storage.gc has them.
	// +optional
	// +kubebuilder:validation:MaxLength=16384
	ExtraConfig string `json:"extraConfig,omitempty"`

	// drainTimeoutSeconds is how long a daemon that must go (roll-out, scale-down, node drain) waits for its running
	// builds. Builds still running then are retried elsewhere.
	// +optional
	// +kubebuilder:default=3600
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	DrainTimeoutSeconds int32 `json:"drainTimeoutSeconds,omitempty"`
}

// LocalObjectReference names an object of the same namespace.
type LocalObjectReference struct {
	// name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// DaemonSummary is one daemon as the BuildCache's status shows it.
type DaemonSummary struct {
	// name of the BuildDaemon.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// ready says whether the daemon takes builds.
	// +required
	Ready bool `json:"ready"`
	// reason of the daemon's Ready condition.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`
	// node the daemon runs on.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node,omitempty"`
	// runningBuilds is how many builds run on it.
	// +optional
	RunningBuilds int32 `json:"runningBuilds"`
}

// BuildCacheStatus is written by the manager alone.
type BuildCacheStatus struct {
	// observedGeneration is the generation of the spec that the rest of the status is about; −1 before the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions: Ready always, Reconciling or Stalled while True.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// replicas is how many daemon pods exist.
	// +optional
	Replicas int32 `json:"replicas"`
	// readyReplicas is how many daemons take builds.
	// +optional
	ReadyReplicas int32 `json:"readyReplicas"`
	// readyDisplay is "ready/wanted" daemons, for the printer column.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	ReadyDisplay string `json:"readyDisplay,omitempty"`
	// usage of all volumes together, for the printer column: "61% of 60Gi".
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Usage string `json:"usage,omitempty"`
	// selector of the daemon pods, for autoscalers.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Selector string `json:"selector,omitempty"`
	// isolation in force, from spec.buildkit.isolation.
	// +optional
	Isolation Isolation `json:"isolation,omitempty"`
	// daemons of the fleet by ordinal, at most 64 of them.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Daemons []DaemonSummary `json:"daemons,omitempty"`
	// namespaces are the other namespaces whose builds the daemons see, because builds there name the BuildCache; at
	// most 256 of them.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=256
	Namespaces []ServedNamespace `json:"namespaces,omitempty"`
	// storage is the size of the volumes.
	// +optional
	Storage *StorageStatus `json:"storage,omitempty"`
	// sizing is advice on storage.size; unset before a build has used a cache mount.
	// +optional
	Sizing *SizingStatus `json:"sizing,omitempty"`
}

// BuildCache is a fleet of buildkitd daemons with persistent volumes, kept warm.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:resource:shortName=bcache,categories=build
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Daemons",type=string,JSONPath=`.status.readyDisplay`
// +kubebuilder:printcolumn:name="Size",type=string,JSONPath=`.status.storage.size`
// +kubebuilder:printcolumn:name="Used",type=string,JSONPath=`.status.usage`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 48",message="metadata.name must be at most 48 characters: daemons are named after it with their ordinal, and Kubernetes labels their pods with that name and a hash"
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name must be a DNS label that begins with a letter: it names a Service-like workload"
// +kubebuilder:validation:XValidation:rule="quantity(self.spec.storage.size).compareTo(quantity(oldSelf.spec.storage.size)) >= 0 || has(self.status) && has(self.status.storage) && has(self.status.storage.capacitySize) && quantity(self.spec.storage.size).compareTo(quantity(self.status.storage.capacitySize)) >= 0",message="storage.size can't be less than what volumes have: volumes only grow. A size that they have not reached can be taken back. Make a new BuildCache of the wanted size and move builds to it by cacheRef"
type BuildCache struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec is the wanted fleet.
	// +required
	Spec BuildCacheSpec `json:"spec"`
	// status is the fleet as found.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status BuildCacheStatus `json:"status,omitempty"`
}

// BuildCacheList is a list of BuildCaches.
//
// +kubebuilder:object:root=true
type BuildCacheList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BuildCache `json:"items"`
}
