// SPDX-License-Identifier: Apache-2.0

package write

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
	"github.com/openllb/hlb-operator/internal/status"
)

// noteLimit is the API's limit of an event's note, in bytes.
const noteLimit = 1024

// Event is an event before it is sent. Each has a constructor here, named for what happened.
type Event struct {
	// Regarding is the object, or a reference to one of its fields.
	Regarding runtime.Object
	// Type is Normal or Warning. Action is what the operator did, in UpperCamel.
	Type, Reason, Action string
	// Note is for people; it is cut to what the API takes.
	Note string
}

func normal(regarding runtime.Object, reason, action, note string) Event {
	return Event{Regarding: regarding, Type: corev1.EventTypeNormal, Reason: reason, Action: action, Note: note}
}

func warning(regarding runtime.Object, reason, action, note string) Event {
	return Event{Regarding: regarding, Type: corev1.EventTypeWarning, Reason: reason, Action: action, Note: note}
}

// Send sends events that no write implies; PatchStatus, Patch and Reread send those of their writes. A nil recorder
// takes none.
func Send(recorder events.EventRecorder, list ...Event) {
	if recorder == nil {
		return
	}
	for _, e := range list {
		recorder.Eventf(e.Regarding, nil, e.Type, e.Reason, e.Action, "%s", status.Clip(e.Note, noteLimit))
	}
}

// Changed lists the events of a write that turned before into after, in the order in which things happened. Objects of
// kinds other than the operator's have none.
func Changed(before, after client.Object) []Event {
	switch after := after.(type) {
	case *v1alpha1.HLBBuild:
		return buildChanged(before.(*v1alpha1.HLBBuild), after)
	case *v1alpha1.BuildDaemon:
		return daemonChanged(before.(*v1alpha1.BuildDaemon), after)
	case *v1alpha1.BuildCache:
		return cacheChanged(before.(*v1alpha1.BuildCache), after)
	default:
		return nil
	}
}

// changedTo returns a condition of after that before did not have with the same status and reason; nil for none.
func changedTo(before, after []metav1.Condition, kind string) *metav1.Condition {
	was, is := meta.FindStatusCondition(before, kind), meta.FindStatusCondition(after, kind)
	if is == nil || was != nil && was.Status == is.Status && was.Reason == is.Reason {
		return nil
	}
	return is
}

// kinds knows the kinds of what events are about.
var kinds = func() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(v1alpha1.AddToScheme(s))
	return s
}()

// ofMount is what an event regards that is about one of the cache mounts of an object: the field with the mount.
// Recorders take events about one version of an object for one where only their notes differ, and would report the
// first mount alone.
func ofMount(o client.Object, field, id string) runtime.Object {
	ref, err := reference.GetPartialReference(kinds, o, fmt.Sprintf("%s{%s}", field, id))
	if err != nil {
		return o
	}
	return ref
}
