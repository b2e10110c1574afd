// SPDX-License-Identifier: Apache-2.0

package run

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/agent/mountevent"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// sendEnd sends the event of an attempt's end, as its Ready condition has it, and warnings about what users may mend:
// an import or mounts that could not be read from the registry. What went well is in the status alone.
func (r *Runner) sendEnd(b *v1alpha1.HLBBuild) {
	r.sendWarning(b, v1alpha1.ConditionCacheImported, "ImportCache")
	r.sendPrimeFailures(b)
	c := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionReady)
	if c == nil {
		return
	}
	kind := corev1.EventTypeNormal
	if c.Status != metav1.ConditionTrue {
		kind = corev1.EventTypeWarning
	}
	mountevent.Send(r.Events, b, kind, c.Reason, "Build", c.Message)
}

// sendPrimeFailures sends a warning about each mount that could not be primed.
func (r *Runner) sendPrimeFailures(b *v1alpha1.HLBBuild) {
	for i := range b.Status.Prime {
		mountevent.FillFailed(
			r.Events, b, "status.prime", v1alpha1.ReasonPrimeFailed, "PrimeMount", "primed", &b.Status.Prime[i],
		)
	}
}

// ordinary are reasons that are no cause for a warning although their condition is not True: a key's first build finds
// nothing to import, and a program of nothing but files leaves nothing to export.
var ordinary = map[string]bool{v1alpha1.ReasonImportUnavailable: true, v1alpha1.ReasonNothingToExport: true}

// sendWarning sends a condition that is not True as a warning, unless its reason is ordinary.
func (r *Runner) sendWarning(b *v1alpha1.HLBBuild, condition, action string) {
	c := meta.FindStatusCondition(b.Status.Conditions, condition)
	if c == nil || c.Status == metav1.ConditionTrue || ordinary[c.Reason] {
		return
	}
	mountevent.Send(r.Events, b, corev1.EventTypeWarning, c.Reason, action, c.Message)
}
