// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"

	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// reasonRetrying is the reason while the API, not the object, is the trouble.
const reasonRetrying = "RetryingAfterError"

// configError says that the spec can't be turned into a daemon configuration.
type configError struct{ err error }

func (e *configError) Error() string { return e.err.Error() }
func (e *configError) Unwrap() error { return e.err }

// failureVerdict says how a failed pass shows in the conditions: stalled where only the user can help, otherwise
// being retried.
func failureVerdict(err error) cacheVerdict {
	var conflict *conflictError
	var config *configError
	switch {
	case errors.As(err, &conflict):
		return cacheVerdict{stalled: true, reason: v1alpha1.ReasonNameConflict, message: conflict.Error()}
	case errors.As(err, &config):
		return cacheVerdict{stalled: true, reason: v1alpha1.ReasonInvalidConfig, message: config.Error()}
	default:
		return cacheVerdict{reason: reasonRetrying, message: err.Error()}
	}
}

// result is what Reconcile returns for a failed pass: final errors are not retried by back-off, the next change of
// the object tries again.
func result(err error) error {
	if err != nil && failureVerdict(err).stalled {
		return reconcile.TerminalError(err)
	}
	return err
}
