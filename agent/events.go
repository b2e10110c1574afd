// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/buildstatus"
)

// noteLimit is the API's limit of an event's note, in bytes.
const noteLimit = 1024

// tellEnd sends the event of an attempt's end, as its Ready condition says it, and that of an import.
func (w *worker) tellEnd(b *v1alpha1.HLBBuild) {
	w.tell(b, v1alpha1.ConditionCacheImported, "ImportCache")
	w.tellPrimes(b)
	w.tell(b, v1alpha1.ConditionReady, "Build")
}

// tellPrimes sends an event for each mount that was primed or should have been; that there is no snapshot yet is no news.
func (w *worker) tellPrimes(b *v1alpha1.HLBBuild) {
	for _, p := range b.Status.Prime {
		kind, reason, note := corev1.EventTypeNormal, v1alpha1.ReasonPrimed, fmt.Sprintf("Primed %s with %d MiB in %d s from %s", p.ID, p.Bytes>>20, p.Seconds, p.Ref)
		switch p.Outcome {
		case v1alpha1.PrimeNoSnapshot, v1alpha1.PrimeHeld:
			continue
		case v1alpha1.PrimeTimedOut, v1alpha1.PrimeFailed:
			kind, reason, note = corev1.EventTypeWarning, v1alpha1.ReasonPrimeFailed, fmt.Sprintf("%s was not primed: %s", p.ID, p.Message)
		}
		w.events.Eventf(b, nil, kind, reason, "PrimeMount", "%s", buildstatus.Clip(note, noteLimit))
	}
}

// tellExport sends the event of an export of the cache.
func (w *worker) tellExport(b *v1alpha1.HLBBuild) {
	w.tell(b, v1alpha1.ConditionCacheExported, "ExportCache")
}

// ordinary are reasons that are no cause for a warning although their condition is not True: a key's first build finds nothing to import, and a
// program of nothing but files leaves nothing to export.
var ordinary = map[string]bool{v1alpha1.ReasonImportUnavailable: true, v1alpha1.ReasonNothingToExport: true}

// tell sends a condition as an event: a warning when it is not True, unless its reason is ordinary.
func (w *worker) tell(b *v1alpha1.HLBBuild, condition, action string) {
	c := meta.FindStatusCondition(b.Status.Conditions, condition)
	if c == nil {
		return
	}
	kind := corev1.EventTypeNormal
	if c.Status != metav1.ConditionTrue && !ordinary[c.Reason] {
		kind = corev1.EventTypeWarning
	}
	w.events.Eventf(b, nil, kind, c.Reason, action, "%s", buildstatus.Clip(c.Message, noteLimit))
}
