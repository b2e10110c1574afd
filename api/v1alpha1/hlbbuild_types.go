// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// HLBBuildSpec describes what to build and against which cache. A change of what the result depends on (cacheRef,
// source, program, targets, arguments, platforms, outputs, names of Secrets) is a new run; it cancels one in flight. A
// change of anything else, such as priority, limits or schedule, starts and cancels none, and holds for the run in
// flight too.
//
// +kubebuilder:validation:XValidation:rule="has(self.hlb)",message="set hlb: the program as inline text, or its path in spec.source"
// +kubebuilder:validation:XValidation:rule="!has(self.hlb) || has(self.hlb.inline) || has(self.source)",message="a program that is not inline is a file of spec.source: set source.git or source.configMap, or hlb.inline"
// +kubebuilder:validation:XValidation:rule="!has(self.hlb) || !has(self.outputs) || self.outputs.all(o, self.hlb.targets.exists(t, t == o.target))",message="every outputs[].target must be listed in hlb.targets"
// +kubebuilder:validation:XValidation:rule="!has(self.outputs) || self.outputs.all(o, self.outputs.exists_one(p, p.image == o.image))",message="outputs[].image must differ: two outputs can't be pushed to one image"
type HLBBuildSpec struct {
	// cacheRef names the BuildCache that builds it.
	// +required
	CacheRef CacheReference `json:"cacheRef"`

	// source is where files come from: the program where hlb.path names it, and what local "…" means in the program.
	// Unset: an inline program without files of its own.
	// +optional
	Source *SourceSpec `json:"source,omitempty"`

	// hlb is the HLB program to build.
	// +optional
	HLB *HLBSpec `json:"hlb,omitempty"`

	// platforms that filesystems are built for where the program names none, as os/architecture or
	// os/architecture/variant; at most one today. The build goes to a daemon that builds for it, and has caches apart
	// from those of other platforms unless cacheKey is given. Unset: the daemon's own platform.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:Pattern=`^linux/[a-z0-9]+(/v[0-9]+)?$`
	Platforms []string `json:"platforms,omitempty"`

	// cacheKey overrides the derived cache key. Builds of one key and namespace go to the same daemon. A change holds
	// for a run that waits, and for later ones.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('/')",message="cacheKey can't begin with a slash: such keys are those of other namespaces' builds"
	CacheKey string `json:"cacheKey,omitempty"`

	// outputs are images to push besides what the program itself pushes.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	Outputs []OutputSpec `json:"outputs,omitempty"`

	// secrets that the program may mount by id.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=64
	Secrets []BuildSecret `json:"secrets,omitempty"`

	// ssh keys that the program may use; each Secret is of type kubernetes.io/ssh-auth.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=16
	SSH []BuildSSH `json:"ssh,omitempty"`

	// registrySecretRefs name Secrets of type kubernetes.io/dockerconfigjson for pulling and pushing.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	RegistrySecretRefs []LocalObjectReference `json:"registrySecretRefs,omitempty"`

	// suspend holds the build: no run starts, and one in flight is cancelled. It waits anew once suspend is false.
	// Times of the schedule that come meanwhile are skipped.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// timeoutSeconds is how long an attempt may run once an agent has claimed it.
	// +optional
	// +kubebuilder:default=3600
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	TimeoutSeconds int32 `json:"timeoutSeconds,omitempty"`

	// activeDeadlineSeconds is how long a run may take from queueing to its end, attempts and waiting included, as for
	// a Secret that does not exist yet. It starts anew when suspend ends. Unset: no limit.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2592000
	ActiveDeadlineSeconds *int32 `json:"activeDeadlineSeconds,omitempty"`

	// ttlSecondsAfterFinished is how long the object stays after the end of its run; then it is deleted. It has no
	// effect on a build with a schedule. Unset: it stays.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=31536000
	TTLSecondsAfterFinished *int32 `json:"ttlSecondsAfterFinished,omitempty"`

	// historyLimit is how many earlier runs status.history keeps.
	// +optional
	// +kubebuilder:default=5
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=20
	HistoryLimit *int32 `json:"historyLimit,omitempty"`

	// retryLimit is how many more attempts a run gets when infrastructure fails. A program that fails is not retried.
	// None is used up by waiting for a missing Secret or ConfigMap, by a daemon that is drained or removed, and by one
	// that dies with other builds on it.
	// +optional
	// +kubebuilder:default=3
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=16
	RetryLimit *int32 `json:"retryLimit,omitempty"`

	// schedule opens runs at the times of a cron expression.
	// +optional
	Schedule *ScheduleSpec `json:"schedule,omitempty"`

	// priority among the waiting builds of the BuildCache: higher ones are served first. A running build is never
	// stopped for another.
	// +optional
	// +kubebuilder:validation:Minimum=-1000
	// +kubebuilder:validation:Maximum=1000
	Priority int32 `json:"priority,omitempty"`

	// queue whose share the build is charged to. Queues of one priority take turns by the slot-seconds they have
	// used, so that one team's hundred builds do not hold up another's one. Builds without a queue share one.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Queue string `json:"queue,omitempty"`
}

// CacheName returns the namespaced name of the BuildCache that builds b.
func (b *HLBBuild) CacheName() types.NamespacedName {
	return types.NamespacedName{
		Namespace: cmp.Or(b.Spec.CacheRef.Namespace, b.Namespace), Name: b.Spec.CacheRef.Name,
	}
}

// DaemonName returns the namespaced name of the BuildDaemon that b is placed on, empty for none.
func (b *HLBBuild) DaemonName() types.NamespacedName {
	p := b.Status.Placement
	if p == nil {
		return types.NamespacedName{}
	}
	return types.NamespacedName{Namespace: cmp.Or(p.Namespace, b.Namespace), Name: p.Daemon}
}

// Platform is the build's one platform, empty for the daemon's own.
func (s *HLBBuildSpec) Platform() string {
	if len(s.Platforms) == 0 {
		return ""
	}
	return s.Platforms[0]
}

// CacheReference names a BuildCache.
type CacheReference struct {
	// name of the BuildCache.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// namespace of the BuildCache, where that is another one than the build's. The BuildCache must admit the build's
	// namespace by spec.allowedNamespaces. Its daemons read the Secrets and ConfigMaps that the build names, in the
	// build's namespace.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
}

// HLBSpec is an HLB program and what to build of it.
//
// +kubebuilder:validation:XValidation:rule="!has(self.inline) || !has(self.path)",message="give the program once: as inline text or as path of a file of spec.source"
type HLBSpec struct {
	// inline is the program itself.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=262144
	Inline *string `json:"inline,omitempty"`

	// path of the program in spec.source: a file of the repository, or a key of the ConfigMap. Unset, without inline:
	// build.hlb.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('/') && !self.split('/').exists(p, p == '..')",message="path is relative to the source and stays inside it"
	Path string `json:"path,omitempty"`

	// targets to build, names of functions of the program; they are built in parallel.
	// +optional
	// +kubebuilder:default={"default"}
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	Targets []string `json:"targets,omitempty"`

	// args are values for the parameters of the targets, by parameter name.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Args map[string]string `json:"args,omitempty"`
}

// SourceSpec is where files come from.
//
// +kubebuilder:validation:XValidation:rule="has(self.git) != has(self.configMap)",message="give exactly one source: git or configMap"
type SourceSpec struct {
	// git names a repository, or a directory of it.
	// +optional
	Git *GitSource `json:"git,omitempty"`

	// configMap names a ConfigMap of the build's namespace; its keys are the files. It is read when a run starts; a
	// change of its content alone opens no run.
	// +optional
	ConfigMap *LocalObjectReference `json:"configMap,omitempty"`
}

// GitSource names a tree of a git repository. BuildKit fetches it; the agent has no git of its own.
type GitSource struct {
	// url of the repository, over http or https. Credentials belong into secretRef.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[^@]+$')",message="url must be an http or https URL without user or password; name a Secret in secretRef for credentials"
	URL string `json:"url"`

	// ref is a branch, tag or commit. Unset: the repository's default branch.
	// +optional
	// +kubebuilder:validation:MaxLength=255
	Ref string `json:"ref,omitempty"`

	// path of the directory of the repository that is the source. Unset: the whole tree.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('/') && !self.split('/').exists(p, p == '..')",message="path is relative to the repository and stays inside it"
	Path string `json:"path,omitempty"`

	// secretRef names a Secret of type kubernetes.io/basic-auth for the repository.
	// +optional
	SecretRef *LocalObjectReference `json:"secretRef,omitempty"`
}

// OutputSpec is an image to push.
type OutputSpec struct {
	// name of the output, unique among the build's outputs.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`

	// target whose filesystem becomes the image; it must be listed in hlb.targets.
	// +optional
	// +kubebuilder:default=default
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Target string `json:"target,omitempty"`

	// image reference to push to, with an optional tag.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^A-Z]*(:[0-9A-Za-z_][0-9A-Za-z_.-]{0,127})?$') || self.matches('^[0-9A-Za-z-]*[.:][0-9A-Za-z.:-]*/[^A-Z]*(:[0-9A-Za-z_][0-9A-Za-z_.-]{0,127})?$')",message="image must be a reference whose repository is lower case, for example registry.example.com/team/app:1.4"
	// +kubebuilder:validation:XValidation:rule="!self.contains('@')",message="image is pushed by tag: leave the digest out, status.outputs has it after the build"
	Image string `json:"image"`
}

// BuildSecret lets the program mount a key of a Secret.
type BuildSecret struct {
	// id by which the program names it: secret "id" "/path".
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	ID string `json:"id"`
	// secretKeyRef is the Secret's key.
	// +required
	SecretKeyRef SecretKeyReference `json:"secretKeyRef"`
}

// SecretKeyReference names a key of a Secret of the same namespace.
type SecretKeyReference struct {
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// key in it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`
}

// BuildSSH lets the program use an ssh key through an agent; the key itself never enters a build step.
type BuildSSH struct {
	// id by which the program names it; the id "default" serves ssh without localPaths.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	ID string `json:"id"`
	// secretRef names a Secret of type kubernetes.io/ssh-auth.
	// +required
	SecretRef LocalObjectReference `json:"secretRef"`
}

// HLBBuild is one build of an HLB program.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=hb,categories=build
// +kubebuilder:selectablefield:JSONPath=`.status.placement.daemon`
// +kubebuilder:selectablefield:JSONPath=`.spec.cacheRef.name`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Daemon",type=string,JSONPath=`.status.placement.daemon`
// +kubebuilder:printcolumn:name="Cached",type=string,JSONPath=`.status.steps.display`
// +kubebuilder:printcolumn:name="Seconds",type=integer,JSONPath=`.status.run.durationSeconds`
// +kubebuilder:printcolumn:name="Attempt",type=integer,JSONPath=`.status.run.attempt`,priority=1
// +kubebuilder:printcolumn:name="Key",type=string,JSONPath=`.status.run.key`,priority=1
// +kubebuilder:printcolumn:name="Priority",type=integer,JSONPath=`.spec.priority`,priority=1
// +kubebuilder:printcolumn:name="Digest",type=string,JSONPath=`.status.outputs[0].digest`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type HLBBuild struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec is the wanted build.
	// +required
	Spec HLBBuildSpec `json:"spec"`
	// status is the current run and the ends of earlier ones.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status HLBBuildStatus `json:"status,omitempty"`
}

// HLBBuildList is a list of HLBBuilds.
//
// +kubebuilder:object:root=true
type HLBBuildList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []HLBBuild `json:"items"`
}
