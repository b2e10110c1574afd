// SPDX-License-Identifier: Apache-2.0

// Package status derives the conditions of all three kinds from facts, and answers what others ask of a status: does a
// daemon take builds, is it gone, what is a build's run waiting for.
//
// The manager and the agents both report on HLBBuilds and BuildDaemons. Both do it through the functions here, so that
// one function a kind decides what the conditions say, and one, Summary.apply, what Ready, Reconciling and Stalled say.
// Every function changes the object in memory only; package write writes it.
package status

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// State is where an object stands between its spec and the world.
type State int

const (
	// Progressing: the object is on its way to what its spec asks for.
	Progressing State = iota
	// Ready: it is as its spec asks for.
	Ready
	// Stalled: it goes no further unless a user helps.
	Stalled
	// Retrying: the last pass failed for a reason that is expected to go away. What was known before still stands.
	Retrying
)

// Summary is the content of an object's standing conditions: Ready, which is always there, and Reconciling and Stalled,
// which are there only while True.
type Summary struct {
	State State
	// Reason and Message of all three conditions.
	Reason, Message string
	// Unknown makes Ready Unknown instead of False while Progressing: nobody can say.
	Unknown bool
	// Quiet keeps a Retrying summary out of the conditions if they are about the present generation.
	Quiet bool
}

// apply puts the summary into conditions of an object of the given generation.
//
// Afterwards Reconciling and Stalled are not both True, Stalled is not True together with a True Ready, and one of the
// three is True. Ready and Reconciling are both True only while Retrying.
func (s Summary) apply(conditions *[]metav1.Condition, generation int64, now time.Time) {
	ready := metav1.ConditionFalse
	switch {
	case s.State == Ready:
		ready = metav1.ConditionTrue
	case s.State == Retrying:
		if s.keepKnown(conditions, generation) {
			return
		}
		ready = metav1.ConditionUnknown
	case s.State == Progressing && s.Unknown:
		ready = metav1.ConditionUnknown
	}
	put := func(kind string, status metav1.ConditionStatus) {
		Set(conditions, metav1.Condition{
			Type: kind, Status: status, Reason: s.Reason, Message: s.Message, ObservedGeneration: generation,
		}, now)
	}
	if s.State != Retrying || meta.FindStatusCondition(*conditions, v1alpha1.ConditionReady) == nil {
		put(v1alpha1.ConditionReady, ready)
	}
	standing := func(kind string, holds bool) {
		if holds {
			put(kind, metav1.ConditionTrue)
		} else {
			meta.RemoveStatusCondition(conditions, kind)
		}
	}
	standing(v1alpha1.ConditionReconciling, s.State == Progressing || s.State == Retrying)
	standing(v1alpha1.ConditionStalled, s.State == Stalled)
}

// keepKnown reports whether a Retrying summary leaves the conditions as they are: because they say Stalled, which a
// failed request does not change, or because the summary is quiet.
func (s Summary) keepKnown(conditions *[]metav1.Condition, generation int64) bool {
	ready := meta.FindStatusCondition(*conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.ObservedGeneration != generation {
		return false
	}
	return s.Quiet || meta.IsStatusConditionTrue(*conditions, v1alpha1.ConditionStalled)
}

// messageLimit bounds a condition's message, in bytes. The API allows 32 KiB; people read one paragraph.
const messageLimit = 1024

// Set puts a condition into a list as meta.SetStatusCondition does, at the given time and with its message bounded.
func Set(conditions *[]metav1.Condition, c metav1.Condition, now time.Time) {
	c.Message = Clip(c.Message, messageLimit)
	c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
	meta.SetStatusCondition(conditions, c)
}
