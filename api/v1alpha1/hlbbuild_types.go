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
	// path inside the repository: of the program for a source (default build.hlb), of the directory for a context (default the whole tree).
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

// RunCause says why a run was opened.
// +kubebuilder:validation:Enum=SpecChanged;Requested
type RunCause string

// The causes of a run.
const (
	// CauseSpecChanged: a new object or a new generation of its spec.
	CauseSpecChanged RunCause = "SpecChanged"
	// CauseRequested: the annotation build.openllb.dev/requestedAt changed.
	CauseRequested RunCause = "Requested"
)

// RunStatus is the current run. The manager opens it and counts attempts; the agent fills in times of its attempt.
type RunStatus struct {
	// id of the run, unique for the object: every report of an agent carries it.
	// +required
	// +kubebuilder:validation:MaxLength=128
	ID string `json:"id"`
	// attempt counts from 1; a report of an older attempt is void.
	// +required
	Attempt int32 `json:"attempt"`
	// cause of the run.
	// +required
	Cause RunCause `json:"cause"`
	// generation of the spec that the run builds.
	// +required
	Generation int64 `json:"generation"`
	// requestedAt is the value of the annotation when the run was opened.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	RequestedAt string `json:"requestedAt,omitempty"`
	// key is the cache key that placement goes by.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Key string `json:"key,omitempty"`
	// queuedAt is when the run was opened.
	// +required
	QueuedAt metav1.MicroTime `json:"queuedAt"`
	// placedAt is when the current attempt was bound to a daemon.
	// +optional
	PlacedAt *metav1.MicroTime `json:"placedAt,omitempty"`
	// startedAt is when an agent took up the current attempt.
	// +optional
	StartedAt *metav1.MicroTime `json:"startedAt,omitempty"`
	// startedBy is the agentID of the agent that took it up.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	StartedBy string `json:"startedBy,omitempty"`
	// finishedAt is when the run ended for good.
	// +optional
	FinishedAt *metav1.MicroTime `json:"finishedAt,omitempty"`
	// durationSeconds from startedAt to finishedAt, rounded up.
	// +optional
	DurationSeconds int32 `json:"durationSeconds,omitempty"`
	// lost says why the latest attempt that infrastructure ended was lost. With lost.attempt equal to attempt, the
	// manager has yet to decide about another one.
	// +optional
	Lost *LostAttempt `json:"lost,omitempty"`
}

// LostAttempt is an attempt that infrastructure ended.
type LostAttempt struct {
	// attempt that was lost.
	// +required
	Attempt int32 `json:"attempt"`
	// daemon it was bound to.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Daemon string `json:"daemon"`
	// reason: DaemonLost, DiskFull or DaemonDraining.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason"`
	// message for people.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// PlacementStatus is the scheduler's decision. The manager writes it; clearing it takes the build away from its daemon.
type PlacementStatus struct {
	// daemon is the name of the BuildDaemon.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Daemon string `json:"daemon"`
	// reason of the choice, for people.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Reason string `json:"reason,omitempty"`
	// rank of the daemon in the key's order of daemons, from 1.
	// +optional
	Rank int32 `json:"rank,omitempty"`
	// warm says whether the manager expects the daemon to hold the key's caches.
	// +optional
	Warm bool `json:"warm,omitempty"`
}

// CacheUseStatus says what the agent found and did about the registry cache.
type CacheUseStatus struct {
	// fresh says that the daemon had no usable state for the key when the attempt began.
	// +optional
	Fresh bool `json:"fresh,omitempty"`
	// imports are the registry cache references offered to the solve.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MaxLength=512
	Imports []string `json:"imports,omitempty"`
	// export is the registry cache reference written after the build.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Export string `json:"export,omitempty"`
}

// StepsStatus counts exec and file operations of the build, each once.
type StepsStatus struct {
	// total operations of the program.
	// +required
	Total int32 `json:"total"`
	// cached ones among them.
	// +required
	Cached int32 `json:"cached"`
	// display is "cached/total", for the printer column.
	// +required
	// +kubebuilder:validation:MaxLength=32
	Display string `json:"display"`
}

// BuildMount is a cache mount that the build used.
type BuildMount struct {
	// id as BuildKit knows it.
	// +required
	// +kubebuilder:validation:MaxLength=512
	ID string `json:"id"`
	// target path in the build.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Target string `json:"target,omitempty"`
	// hit says whether the daemon held the mount before the build.
	// +optional
	Hit bool `json:"hit,omitempty"`
	// bytes it occupies after the build.
	// +optional
	Bytes int64 `json:"bytes,omitempty"`
}

// OutputStatus is an image that was pushed.
type OutputStatus struct {
	// ref that was pushed to.
	// +required
	// +kubebuilder:validation:MaxLength=512
	Ref string `json:"ref"`
	// digest of its manifest.
	// +required
	// +kubebuilder:validation:MaxLength=128
	Digest string `json:"digest"`
}

// SourcePosition is a place in a program.
type SourcePosition struct {
	// file as the program's source names it.
	// +required
	// +kubebuilder:validation:MaxLength=1024
	File string `json:"file"`
	// line from 1.
	// +required
	Line int32 `json:"line"`
	// column from 1, in characters.
	// +required
	Column int32 `json:"column"`
}

// DiagnosticStatus is one finding of the compiler.
type DiagnosticStatus struct {
	SourcePosition `json:",inline"`
	// code of the diagnostic's class.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Code string `json:"code"`
	// message for people.
	// +required
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message"`
	// hint on what to do.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Hint string `json:"hint,omitempty"`
}

// FailureStatus says why a run failed.
type FailureStatus struct {
	// reason as in the Failed condition.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason"`
	// message for people.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Message string `json:"message,omitempty"`
	// step is the name of the failing step.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Step string `json:"step,omitempty"`
	// exitCode of the failing step's process.
	// +optional
	ExitCode *int32 `json:"exitCode,omitempty"`
	// source is where the program says so.
	// +optional
	Source *SourcePosition `json:"source,omitempty"`
	// logTail is the end of the failing step's output, at most 4 KiB.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	LogTail string `json:"logTail,omitempty"`
	// diagnostics of the compiler, the first 16.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Diagnostics []DiagnosticStatus `json:"diagnostics,omitempty"`
}

// RunRecord is how an earlier run ended.
type RunRecord struct {
	// id of the run.
	// +required
	// +kubebuilder:validation:MaxLength=128
	ID string `json:"id"`
	// reason it ended with: Succeeded, Cancelled or a failure's reason.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason"`
	// daemon of its last attempt.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Daemon string `json:"daemon,omitempty"`
	// cached is "cached/total" steps.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Cached string `json:"cached,omitempty"`
	// durationSeconds it ran.
	// +optional
	DurationSeconds int32 `json:"durationSeconds,omitempty"`
	// finishedAt is when it ended.
	// +optional
	FinishedAt *metav1.MicroTime `json:"finishedAt,omitempty"`
}

// HLBBuildStatus is written by the manager (run, placement, history) and by the agent of the daemon that the build is bound to
// (the attempt's times and outcome), always with an optimistic lock.
type HLBBuildStatus struct {
	// observedGeneration is the generation of the spec that the rest of the status is about; −1 before the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions: Ready always, Reconciling or Stalled while True; Scheduled, Running, Complete, Failed of the current run.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// run is the current run.
	// +optional
	Run *RunStatus `json:"run,omitempty"`
	// placement of the current attempt; unset while it waits.
	// +optional
	Placement *PlacementStatus `json:"placement,omitempty"`
	// cache says how the registry cache was used.
	// +optional
	Cache *CacheUseStatus `json:"cache,omitempty"`
	// steps of the current run.
	// +optional
	Steps *StepsStatus `json:"steps,omitempty"`
	// mounts that the run used.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=64
	Mounts []BuildMount `json:"mounts,omitempty"`
	// outputs that the run pushed.
	// +optional
	// +listType=map
	// +listMapKey=ref
	// +kubebuilder:validation:MaxItems=64
	Outputs []OutputStatus `json:"outputs,omitempty"`
	// failure says why the run failed.
	// +optional
	Failure *FailureStatus `json:"failure,omitempty"`
	// logFile is the path of the attempt's whole log on the daemon's volume, as the agent's container sees it.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	LogFile string `json:"logFile,omitempty"`
	// history of the last five runs before this one, latest first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=5
	History []RunRecord `json:"history,omitempty"`
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
