// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ConcurrencyPolicy says what a schedule does while the run before is in flight. A build has one run at a time, so
// there is no Allow.
// +kubebuilder:validation:Enum=Forbid;Replace
type ConcurrencyPolicy string

// The concurrency policies.
const (
	// ConcurrencyForbid waits for the end of the run in flight and then opens one, however often the schedule came
	// meanwhile.
	ConcurrencyForbid ConcurrencyPolicy = "Forbid"
	// ConcurrencyReplace cancels the run in flight.
	ConcurrencyReplace ConcurrencyPolicy = "Replace"
)

// CronSchedule is a cron expression in a time zone.
type CronSchedule struct {
	// cron is a cron expression of five fields: minute, hour, day of month, month, day of week; or @hourly, @daily,
	// @weekly, @monthly, @yearly.
	// +required
	// +kubebuilder:validation:MinLength=6
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^(@(hourly|daily|midnight|weekly|monthly|yearly|annually)|[0-9*/,-]+ +[0-9*/,-]+ +[0-9*/,?-]+ +[0-9A-Za-z*/,-]+ +[0-9A-Za-z*/,?-]+)$')",message="cron has five fields (minute hour day-of-month month day-of-week), for example \"0 3 * * 1-5\", or is @hourly, @daily, @weekly, @monthly or @yearly; the time zone goes into timeZone"
	Cron string `json:"cron"`
	// timeZone of the expression, a name of the IANA database.
	// +optional
	// +kubebuilder:default=UTC
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self != 'Local' && self.matches('^[A-Za-z0-9_+/-]+$')",message="timeZone is a name of the IANA database, for example Europe/Berlin or UTC"
	TimeZone string `json:"timeZone,omitempty"`
}

// ScheduleSpec opens a run of the build at the times of a cron expression, besides those that changes of the spec open.
// spec.suspend holds it.
type ScheduleSpec struct {
	CronSchedule `json:",inline"`
	// concurrencyPolicy says what happens while the run before is in flight.
	// +optional
	// +kubebuilder:default=Forbid
	ConcurrencyPolicy ConcurrencyPolicy `json:"concurrencyPolicy,omitempty"`
	// startingDeadlineSeconds is how late a run may be opened, because the manager was away or the run before took
	// long. Unset: however late. Of several missed times one is made up for.
	// +optional
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=604800
	StartingDeadlineSeconds *int32 `json:"startingDeadlineSeconds,omitempty"`
}

// ScheduleStatus is where a schedule stands.
type ScheduleStatus struct {
	// expression is the time zone and cron expression that is kept; unset while it is suspended or invalid.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Expression string `json:"expression,omitempty"`
	// since is from when on the expression is kept: times before it open no run.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
	// lastTime is the latest time of the schedule that a run was opened for, or that was too late to.
	// +optional
	LastTime *metav1.Time `json:"lastTime,omitempty"`
	// nextTime is when the schedule comes next; unset while it is suspended or invalid.
	// +optional
	NextTime *metav1.Time `json:"nextTime,omitempty"`
}
