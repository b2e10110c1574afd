// SPDX-License-Identifier: Apache-2.0

package write

import (
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// cacheChanged lists the events of a write to a BuildCache's status: a new reason of Ready, and volumes that are to
// grow and can't.
func cacheChanged(before, after *v1alpha1.BuildCache) []Event {
	was, is := before.Status.Conditions, after.Status.Conditions
	var out []Event
	if c := changedTo(was, is, v1alpha1.ConditionVolumesResized); c != nil &&
		(c.Reason == v1alpha1.ReasonExpansionUnsupported || c.Reason == v1alpha1.ReasonExpansionFailed) {
		out = append(out, warning(after, c.Reason, "GrowVolumes", c.Message))
	}
	c := changedTo(was, is, v1alpha1.ConditionReady)
	switch {
	case c == nil || c.Reason == v1alpha1.ReasonRetryingAfterError: // trouble of the API, not of the fleet
	case meta.IsStatusConditionTrue(is, v1alpha1.ConditionStalled):
		out = append(out, warning(after, c.Reason, "ReconcileFleet", c.Message))
	default:
		out = append(out, normal(after, c.Reason, "ReconcileFleet", c.Message))
	}
	return out
}

// VolumesGrow is about volumes that grow because a daemon needs more; why names it.
func VolumesGrow(cache *v1alpha1.BuildCache, why string) Event {
	return normal(cache, v1alpha1.ReasonExpanding, "GrowVolumes", why)
}

// RegistryCleaned is about the tags of a BuildCache that is deleted: they are gone from the registry, or, if not ok,
// they stay there.
func RegistryCleaned(cache *v1alpha1.BuildCache, ok bool, note string) Event {
	if ok {
		return normal(cache, v1alpha1.ReasonOrphanedTagsDeleted, "CleanRegistry", note)
	}
	return warning(cache, v1alpha1.ReasonCleanUpFailed, "CleanRegistry", note)
}
