// SPDX-License-Identifier: Apache-2.0

// Package mountevent makes events about single cache mounts of an object.
package mountevent

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/reference"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/buildstatus"
)

// NoteLimit is the API's limit of an event's note, in bytes.
const NoteLimit = 1024

// kinds are the kinds that events regard.
var kinds = func() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(v1alpha1.AddToScheme(s))
	return s
}()

// On returns what an event about a cache mount of an object regards: the status field with the mount. Recorders merge
// events that regard the same and differ in their notes only, so events of several mounts must not regard the object.
func On(o client.Object, field, id string) runtime.Object {
	ref, err := reference.GetPartialReference(kinds, o, fmt.Sprintf("%s{%s}", field, id))
	if err != nil {
		return o
	}
	return ref
}

// Send sends an event with a note of any length.
func Send(recorder events.EventRecorder, regarding runtime.Object, kind, reason, action, note string) {
	recorder.Eventf(regarding, nil, kind, reason, action, "%s", buildstatus.Clip(note, NoteLimit))
}

// FillFailed sends a warning when a mount could not be filled from a snapshot, and nothing otherwise. field is the
// object's field with the mount, verb what was tried: "primed".
func FillFailed(
	recorder events.EventRecorder, o client.Object, field, reason, action, verb string, p *v1alpha1.PrimeStatus,
) {
	if p.Outcome != v1alpha1.PrimeTimedOut && p.Outcome != v1alpha1.PrimeFailed {
		return
	}
	note := fmt.Sprintf("%s was not %s: %s", p.ID, verb, p.Message)
	Send(recorder, On(o, field, p.ID), corev1.EventTypeWarning, reason, action, note)
}

// FilledNote describes a mount that was filled from a snapshot.
func FilledNote(verb string, p *v1alpha1.PrimeStatus) string {
	return fmt.Sprintf("%s %s with %d MiB in %d s from %s", verb, p.ID, p.Bytes>>20, p.DurationSeconds, p.Ref)
}
