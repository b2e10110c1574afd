// SPDX-License-Identifier: Apache-2.0

package status

import (
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// FailureClass says who can mend what made a pass over an object fail.
type FailureClass int

const (
	// Transient: it goes away by itself. The pass is tried again with back-off.
	Transient FailureClass = iota
	// SpecAtFault: only a change of the object itself helps, and that change starts the next pass.
	SpecAtFault
	// MendedElsewhere: a user must help, but at another object. No event comes when that is done, so the pass is tried
	// again after a while.
	MendedElsewhere
)

// Fault is an error that only a user can mend.
type Fault interface {
	error
	// Fault returns the reason of the Stalled condition, and who can mend it: SpecAtFault or MendedElsewhere.
	Fault() (reason string, class FailureClass)
}

// Failure is why a pass over an object failed, as its conditions say it.
type Failure struct {
	Class           FailureClass
	Reason, Message string
	// Quiet keeps a Transient failure out of the conditions: it was tried too few times to be worth it.
	Quiet bool
}

const (
	// quietTries is how many passes in a row may fail for a transient reason before the conditions say so. With the
	// work queue's back-off, from 5 ms and doubled each time, the fourth comes after 35 ms: a conflict or one restart
	// of a connection is over by then.
	quietTries = 3
	// refusedTries is how many passes in a row may be refused before a user is asked for help. The eleventh comes after
	// five seconds: an API server that starts refuses requests until its own caches are filled.
	refusedTries = 10
)

// FailureOf classifies the error that a pass ended with. tries counts the passes in a row that have failed, this one
// included. It returns nil for nil.
func FailureOf(err error, tries int) *Failure {
	if err == nil {
		return nil
	}
	var fault Fault
	switch {
	case errors.As(err, &fault):
		reason, class := fault.Fault()
		return &Failure{Class: class, Reason: reason, Message: fault.Error()}
	case isRefusal(err) && tries > refusedTries:
		return &Failure{Class: MendedElsewhere, Reason: v1alpha1.ReasonApplyRefused, Message: err.Error()}
	default:
		return &Failure{
			Reason: v1alpha1.ReasonRetryingAfterError, Message: err.Error(), Quiet: tries <= quietTries,
		}
	}
}

// isRefusal reports whether the API server understood the request and does not want it.
func isRefusal(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsBadRequest(err)
}

// Summary is how the failure shows in the standing conditions.
func (f *Failure) Summary() Summary {
	s := Summary{State: Stalled, Reason: f.Reason, Message: f.Message}
	if f.Class == Transient {
		s.State, s.Quiet = Retrying, f.Quiet
	}
	return s
}

// elsewherePause is how soon it is noticed that a user has mended something elsewhere.
const elsewherePause = 30 * time.Second

// RetryAfter is when the pass is worth another try although nothing happens: 0 for by back-off, or not at all.
func (f *Failure) RetryAfter() time.Duration {
	if f != nil && f.Class == MendedElsewhere {
		return elsewherePause
	}
	return 0
}
