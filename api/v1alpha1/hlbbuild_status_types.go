// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PlacementStatus is the scheduler's decision. The manager writes it; clearing it takes the build away from its daemon.
type PlacementStatus struct {
	// daemon is the name of the BuildDaemon.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Daemon string `json:"daemon"`
	// namespace of the BuildDaemon, where that is another one than the build's.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
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
	// refresh asks the daemon to bring older copies up to date before the build, because that is expected to take
	// less time than to build with them: it imports the registry cache, and replaces mounts whose newest snapshot
	// another daemon has made since they were last used there.
	// +optional
	Refresh bool `json:"refresh,omitempty"`
}

// CacheUseStatus says what the agent found and did about the registry cache.
type CacheUseStatus struct {
	// fresh says that the daemon had no usable state for the key when the attempt began, or such old state that the
	// placement asked to refresh it.
	// +optional
	Fresh bool `json:"fresh,omitempty"`
	// importRefs are the registry cache references offered to the solve.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MaxLength=512
	ImportRefs []string `json:"importRefs,omitempty"`
	// exportRef is the registry cache reference written after the build.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	ExportRef string `json:"exportRef,omitempty"`
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
	// sharing mode that the build had it with; unset before it was known.
	// +optional
	Sharing MountSharing `json:"sharing,omitempty"`
	// hit says whether the daemon held the mount before the build.
	// +optional
	Hit bool `json:"hit,omitempty"`
	// bytes it occupies after the build.
	// +optional
	Bytes int64 `json:"bytes,omitempty"`
}

// OutputStatus is an image that was pushed.
type OutputStatus struct {
	// name of the output in spec.outputs; empty for an image that the program itself pushed.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`
	// image reference that was pushed to.
	// +required
	// +kubebuilder:validation:MaxLength=512
	Image string `json:"image"`
	// digest of its manifest.
	// +required
	// +kubebuilder:validation:MaxLength=128
	Digest string `json:"digest"`
}

// LogReference names a log file of a daemon's volume.
type LogReference struct {
	// daemon whose volume holds the file.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Daemon string `json:"daemon"`
	// file is its name in the logs directory of the agent's state.
	// +required
	// +kubebuilder:validation:MaxLength=512
	File string `json:"file"`
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
	// reason as in the Succeeded condition.
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

// HLBBuildStatus is written by the manager (run, placement, history) and by the agent of the daemon that the build is
// bound to (the attempt's times and outcome), always with an optimistic lock.
type HLBBuildStatus struct {
	// observedGeneration is the generation of the spec that the rest of the status is about; −1 before the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions: Ready always, Reconciling or Stalled while True; Scheduled, Running, Finished and
	// Succeeded of the current run.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// run is the current run.
	// +optional
	// +structType=atomic
	Run *RunStatus `json:"run,omitempty"`
	// placement of the current attempt, or of the one in releasing; unset while the run waits.
	// +optional
	// +structType=atomic
	Placement *PlacementStatus `json:"placement,omitempty"`
	// releasing is an attempt that was taken from its agent and may still be executing. No attempt is placed before
	// the agent has acknowledged, or is known to have ended. The manager sets it; the agent or the manager clears it.
	// +optional
	Releasing *ReleasingAttempt `json:"releasing,omitempty"`
	// cache says how the registry cache was used.
	// +optional
	// +structType=atomic
	Cache *CacheUseStatus `json:"cache,omitempty"`
	// steps of the current run.
	// +optional
	// +structType=atomic
	Steps *StepsStatus `json:"steps,omitempty"`
	// mounts that the run used.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Mounts []BuildMount `json:"mounts,omitempty"`
	// prime lists the mounts that were to be filled from a snapshot before the build, because the daemon did not hold
	// them or held old content.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Prime []PrimeStatus `json:"prime,omitempty"`
	// outputs that the run pushed.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Outputs []OutputStatus `json:"outputs,omitempty"`
	// failure says why the run failed.
	// +optional
	// +structType=atomic
	Failure *FailureStatus `json:"failure,omitempty"`
	// log is where the attempt's whole log is.
	// +optional
	// +structType=atomic
	Log *LogReference `json:"log,omitempty"`
	// schedule says when spec.schedule came last and comes next.
	// +optional
	// +structType=atomic
	Schedule *ScheduleStatus `json:"schedule,omitempty"`
	// history of the latest spec.historyLimit runs before this one, latest first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	History []RunRecord `json:"history,omitempty"`
}
