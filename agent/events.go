// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/reference"
	"sigs.k8s.io/controller-runtime/pkg/client"

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

// tellPrimes sends an event for each mount that was primed or should have been; that there is no snapshot yet is no
// news.
func (w *worker) tellPrimes(b *v1alpha1.HLBBuild) {
	words := fillWords{
		action:       "PrimeMount",
		filled:       "Primed",
		notFilled:    "primed",
		reason:       v1alpha1.ReasonPrimed,
		reasonFailed: v1alpha1.ReasonPrimeFailed,
	}
	for i := range b.Status.Prime {
		words.tell(w.events, ofMount(b, "status.prime", b.Status.Prime[i].ID), &b.Status.Prime[i])
	}
}

// kinds knows the kinds of what events are about.
var kinds = func() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(v1alpha1.AddToScheme(s))
	return s
}()

// ofMount is what an event regards that is about one of the cache mounts of an object: the field with the mount.
// Recorders take events about one version of an object for one where only their notes differ, and would tell of the
// first mount alone.
func ofMount(o client.Object, field, id string) runtime.Object {
	ref, err := reference.GetPartialReference(kinds, o, fmt.Sprintf("%s{%s}", field, id))
	if err != nil {
		return o
	}
	return ref
}

// fillWords are how it is told that a mount was filled from a snapshot, or was not.
type fillWords struct {
	action, filled, notFilled, reason, reasonFailed string
}

// tell sends an event about what came of filling a mount; that there is no snapshot yet, or that the mount was there,
// is no news.
func (f *fillWords) tell(recorder events.EventRecorder, about runtime.Object, p *v1alpha1.PrimeStatus) {
	kind, reason, note := corev1.EventTypeNormal, f.reason, fmt.Sprintf(
		"%s %s with %d MiB in %d s from %s",
		f.filled,
		p.ID,
		p.Bytes>>20,
		p.DurationSeconds,
		p.Ref,
	)
	switch p.Outcome {
	case v1alpha1.PrimeNoSnapshot, v1alpha1.PrimeHeld:
		return
	case v1alpha1.PrimeTimedOut, v1alpha1.PrimeFailed:
		kind, reason, note = corev1.EventTypeWarning, f.reasonFailed, fmt.Sprintf(
			"%s was not %s: %s",
			p.ID,
			f.notFilled,
			p.Message,
		)
	}
	recorder.Eventf(about, nil, kind, reason, f.action, "%s", buildstatus.Clip(note, noteLimit))
}

// tellExport sends the event of an export of the cache.
func (w *worker) tellExport(b *v1alpha1.HLBBuild) {
	w.tell(b, v1alpha1.ConditionCacheExported, "ExportCache")
}

// ordinary are reasons that are no cause for a warning although their condition is not True: a key's first build
// finds nothing to import, and a program of nothing but files leaves nothing to export.
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
