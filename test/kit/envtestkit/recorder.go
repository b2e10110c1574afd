// SPDX-License-Identifier: Apache-2.0

package envtestkit

import (
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Recorder keeps events in memory. It is safe for concurrent use; the zero value is ready.
type Recorder struct {
	mu   sync.Mutex
	sent []Event
}

// Event is one recorded event.
type Event struct {
	Object, Field, Type, Reason, Action, Note string
}

var _ events.EventRecorder = (*Recorder)(nil)

// Eventf keeps an event.
func (r *Recorder) Eventf(regarding, _ runtime.Object, kind, reason, action, note string, args ...any) {
	name, field := "", ""
	switch o := regarding.(type) {
	case client.Object:
		name = o.GetName()
	case *corev1.ObjectReference:
		name, field = o.Name, o.FieldPath
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = append(r.sent,
		Event{Object: name, Field: field, Type: kind, Reason: reason, Action: action, Note: fmt.Sprintf(note, args...)})
}

// Take returns the events since the last Take, in the order in which they were sent.
func (r *Recorder) Take() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.sent
	r.sent = nil
	return taken
}

// Reasons are the reasons of the events since the last Take, in order.
func (r *Recorder) Reasons() []string {
	var reasons []string
	for _, e := range r.Take() {
		reasons = append(reasons, e.Reason)
	}
	return reasons
}
