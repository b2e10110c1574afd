// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/events"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// noteLimit bounds an event's note in bytes; the API's own limit.
const noteLimit = 1024

// tellCache sends an event when the reason of a BuildCache's Ready condition changed.
func tellCache(recorder events.EventRecorder, before, after *v1alpha1.BuildCache) {
	tellVolumes(recorder, before, after)
	was := meta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionReady)
	is := meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionReady)
	if is == nil || (was != nil && was.Reason == is.Reason) || is.Reason == reasonRetrying {
		return
	}
	kind := corev1.EventTypeNormal
	if meta.IsStatusConditionTrue(after.Status.Conditions, v1alpha1.ConditionStalled) {
		kind = corev1.EventTypeWarning
	}
	recorder.Eventf(after, nil, kind, is.Reason, "ReconcileFleet", "%s", is.Message)
}

// tellVolumes sends an event when volumes that are to grow can't.
func tellVolumes(recorder events.EventRecorder, before, after *v1alpha1.BuildCache) {
	was := meta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionVolumesResized)
	is := meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionVolumesResized)
	if is == nil || was != nil && was.Message == is.Message {
		return
	}
	if is.Reason == v1alpha1.ReasonExpansionUnsupported || is.Reason == v1alpha1.ReasonExpansionFailed {
		recorder.Eventf(after, nil, corev1.EventTypeWarning, is.Reason, "GrowVolumes", "%s", is.Message)
	}
}
