// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/events"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/buildstatus"
)

// warnings are the reasons that users should look at; everything else is ordinary progress.
var warnings = map[string]bool{
	v1alpha1.ReasonCacheNotFound: true,
	v1alpha1.ReasonRetrying:      true,
}

// tellBuild sends the events of one manager's write: a run that replaced another, and a changed reason of Ready.
func tellBuild(recorder events.EventRecorder, before, after *v1alpha1.HLBBuild) {
	old, run := before.Status.Run, after.Status.Run
	if old != nil && old.ID != run.ID && old.FinishedAt == nil {
		recorder.Eventf(
			after,
			nil,
			corev1.EventTypeNormal,
			v1alpha1.ReasonCancelled,
			"OpenRun",
			"Run %s was cancelled by run %s",
			old.ID,
			run.ID,
		)
	}
	was := meta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionReady)
	is := meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionReady)
	if is == nil || (was != nil && was.Reason == is.Reason && was.Message == is.Message) {
		return
	}
	kind := corev1.EventTypeNormal
	if warnings[is.Reason] || buildstatus.IsFinal(after) {
		kind = corev1.EventTypeWarning // the manager itself only ever ends runs that failed
	}
	recorder.Eventf(after, nil, kind, is.Reason, "AdvanceRun", "%s", buildstatus.Clip(is.Message, noteLimit))
}
