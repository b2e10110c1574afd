// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// HLBBuildSpec says what to build and against which cache. A change of spec is a new run; it cancels one in flight.
//
// +kubebuilder:validation:XValidation:rule="(has(self.inline) ? 1 : 0) + (has(self.configMapRef) ? 1 : 0) + (has(self.git) ? 1 : 0) == 1",message="give exactly one source: inline, configMapRef or git"
// +kubebuilder:validation:XValidation:rule="!has(self.outputs) || self.outputs.all(o, self.targets.exists(t, t == o.target))",message="every outputs[].target must be listed in targets"
type HLBBuildSpec struct {
	// cacheRef names the BuildCache, of the same namespace, that builds it.
	// +required
	CacheRef LocalObjectReference `json:"cacheRef"`

	// inline is the HLB program itself.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=262144
	Inline *string `json:"inline,omitempty"`
	// configMapRef names a ConfigMap whose key holds the program. The ConfigMap's other keys are files beside it.
	// +optional
	ConfigMapRef *ConfigMapKeyReference `json:"configMapRef,omitempty"`
	// git names a repository that holds the program.
	// +optional
	Git *GitSource `json:"git,omitempty"`

	// context is what local "…" means in the program. Unset: the repository's tree for a git source, otherwise nothing.
	// +optional
	Context *ContextSource `json:"context,omitempty"`

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

	// platform that filesystems are built for where the program names none, as os/architecture or
	// os/architecture/variant. The build goes to a daemon that builds for it, and has caches apart from those of
	// other platforms unless cacheKey is given. Unset: the daemon's own.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^linux/[a-z0-9]+(/v[0-9]+)?$`
	Platform string `json:"platform,omitempty"`

	// cacheKey overrides the derived cache key. Builds of one key go to the same daemon.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	CacheKey string `json:"cacheKey,omitempty"`

	// outputs are images to push besides what the program itself pushes.
	// +optional
	// +listType=map
	// +listMapKey=image
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

	// registrySecrets name Secrets of type kubernetes.io/dockerconfigjson for pulling and pushing.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	RegistrySecrets []LocalObjectReference `json:"registrySecrets,omitempty"`

	// timeoutSeconds is how long an attempt may run once an agent took it up.
	// +optional
	// +kubebuilder:default=3600
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	TimeoutSeconds int32 `json:"timeoutSeconds,omitempty"`

	// retryLimit is how many more attempts a run gets when infrastructure fails. A program that fails is not retried.
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

// ConfigMapKeyReference names a key of a ConfigMap of the same namespace.
type ConfigMapKeyReference struct {
	// name of the ConfigMap.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// key that holds the program.
	// +optional
	// +kubebuilder:default="build.hlb"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key,omitempty"`
}

// GitSource names a file or tree of a git repository. BuildKit fetches it; the agent has no git of its own.
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
	// path inside the repository: of the program for a source (default build.hlb), of the directory for a context
	// (default the whole tree).
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('/') && !self.split('/').exists(p, p == '..')",message="path is relative to the repository and stays inside it"
	Path string `json:"path,omitempty"`
	// secretRef names a Secret of type kubernetes.io/basic-auth for the repository.
	// +optional
	SecretRef *LocalObjectReference `json:"secretRef,omitempty"`
}

// ContextSource says what local "…" means.
//
// +kubebuilder:validation:XValidation:rule="has(self.configMapRef) != has(self.git)",message="give exactly one context: configMapRef or git"
type ContextSource struct {
	// configMapRef names a ConfigMap whose keys are the files of the context.
	// +optional
	ConfigMapRef *LocalObjectReference `json:"configMapRef,omitempty"`
	// git names a repository, path a directory in it.
	// +optional
	Git *GitSource `json:"git,omitempty"`
}

// OutputSpec is an image to push.
type OutputSpec struct {
	// target whose filesystem becomes the image; it must be listed in targets.
	// +optional
	// +kubebuilder:default=default
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Target string `json:"target,omitempty"`
	// image reference to push to.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Image string `json:"image"`
}

// BuildSecret lets the program mount a key of a Secret.
type BuildSecret struct {
	// id by which the program names it: secret "id" "/path".
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	ID string `json:"id"`
	// secretRef is the Secret's key.
	// +required
	SecretRef SecretKeyReference `json:"secretRef"`
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
