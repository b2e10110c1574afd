// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RunCause says why a run was opened.
// +kubebuilder:validation:Enum=SpecChanged;Requested;Scheduled
type RunCause string

// The causes of a run.
const (
	// CauseSpecChanged: a new object, or a change of what its result depends on.
	CauseSpecChanged RunCause = "SpecChanged"
	// CauseRequested: the annotation build.openllb.dev/requestedAt changed.
	CauseRequested RunCause = "Requested"
	// CauseScheduled: the time of spec.schedule came.
	CauseScheduled RunCause = "Scheduled"
)

// RunStatus is the current run. The manager opens it and counts attempts; the agent fills in times of its attempt.
type RunStatus struct {
	// number of the run: how many runs the object has had, this one included. The manager writes it.
	// +optional
	Number int32 `json:"number,omitempty"`
	// id of the run, unique for the object: every report of an agent carries it.
	// +required
	// +kubebuilder:validation:MaxLength=128
	ID string `json:"id"`
	// attempt counts from 1; a report of an older attempt is void.
	// +required
	Attempt int32 `json:"attempt"`
	// uncountedAttempts is how many attempts don't count towards spec.retryLimit: something that the build names was
	// missing, the daemon was drained or removed, or it died with other builds on it.
	// +optional
	UncountedAttempts int32 `json:"uncountedAttempts,omitempty"`
	// cause of the run.
	// +required
	Cause RunCause `json:"cause"`
	// generation of the spec when the run was opened. A later one whose specHash is the same is still this run's.
	// +required
	Generation int64 `json:"generation"`
	// specHash is over what the result depends on in the spec: the BuildCache's name, source, program, targets,
	// arguments, platforms, outputs, and names of Secrets. Another hash asks for another run.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	SpecHash string `json:"specHash,omitempty"`
	// requestedAt is the latest value of the annotation that a run was opened for, or its digest if it is long.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	RequestedAt string `json:"requestedAt,omitempty"`
	// key is the cache key that placement goes by. Of a build that lies in another namespace than its BuildCache, it
	// begins with that namespace between slashes.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Key string `json:"key,omitempty"`
	// queuedAt is when the run was opened, or when spec.suspend last let go of it.
	// +required
	QueuedAt metav1.MicroTime `json:"queuedAt"`
	// suspendedAt is since when spec.suspend holds the run; unset while it does not.
	// +optional
	SuspendedAt *metav1.MicroTime `json:"suspendedAt,omitempty"`
	// missing is what the build names and the attempt before did not find; unset if it found everything.
	// +optional
	Missing *MissingInput `json:"missing,omitempty"`
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
	// retryAt is when the build is queued for its next attempt after a lost one; unset once it is.
	// +optional
	RetryAt *metav1.MicroTime `json:"retryAt,omitempty"`
	// daemonDeaths is how many times a daemon has died under the run.
	// +optional
	DaemonDeaths int32 `json:"daemonDeaths,omitempty"`
	// isolated says that no other build runs beside this one, because two daemons have died under it or because a step
	// was killed for want of memory.
	// +optional
	Isolated bool `json:"isolated,omitempty"`
	// queuePosition is the build's place in the order in which the builds of the BuildCache are served, about; unset
	// while it does not wait for a daemon. It is brought up to date at most once a minute, when it has halved or
	// doubled.
	// +optional
	QueuePosition int32 `json:"queuePosition,omitempty"`
	// attempts of the run before the current one, latest first, at most 10. Of several attempts in a row that found
	// the same thing missing, the latest is kept.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	Attempts []AttemptRecord `json:"attempts,omitempty"`
}

// AttemptRecord is how an earlier attempt of the current run ended.
type AttemptRecord struct {
	// attempt that ended.
	// +required
	Attempt int32 `json:"attempt"`
	// daemon it was on.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Daemon string `json:"daemon,omitempty"`
	// startedAt is when an agent took it up.
	// +optional
	StartedAt *metav1.MicroTime `json:"startedAt,omitempty"`
	// startedBy is the agentID of the agent that took it up.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	StartedBy string `json:"startedBy,omitempty"`
	// finishedAt is when it ended, or when that was noticed.
	// +optional
	FinishedAt *metav1.MicroTime `json:"finishedAt,omitempty"`
	// reason it ended with.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason"`
	// message for people.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Message string `json:"message,omitempty"`
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
	// reason, such as DaemonLost, RemoteUnavailable or DaemonDraining.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason"`
	// message for people.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// finishedAt is when the attempt ended, or when that was noticed.
	// +optional
	FinishedAt *metav1.MicroTime `json:"finishedAt,omitempty"`
	// neighbours is how many other builds ran on the daemon when it died; unset for other losses.
	// +optional
	Neighbours int32 `json:"neighbours,omitempty"`
}

// ReleasingAttempt names a claimed attempt that is no longer wanted. status.placement has its daemon.
type ReleasingAttempt struct {
	// run that the attempt belongs to.
	// +required
	// +kubebuilder:validation:MaxLength=128
	Run string `json:"run"`
	// attempt of that run.
	// +required
	Attempt int32 `json:"attempt"`
	// startedBy is the agentID that claimed it.
	// +required
	// +kubebuilder:validation:MaxLength=128
	StartedBy string `json:"startedBy"`
}

// MissingInput is something that a build names and that does not exist yet.
type MissingInput struct {
	// reason: SecretNotFound or SourceNotFound.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason"`
	// message for people.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// checks is how many times in a row something was missing.
	// +required
	Checks int32 `json:"checks"`
	// nextCheckAt is when the build is queued again, to be looked at by an agent; unset once it is.
	// +optional
	NextCheckAt *metav1.MicroTime `json:"nextCheckAt,omitempty"`
}
