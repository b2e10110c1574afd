// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
)

// configError means that the spec can't be turned into a daemon configuration.
type configError struct{ err error }

func (e *configError) Error() string { return e.err.Error() }
func (e *configError) Unwrap() error { return e.err }

// Fault implements status.Fault.
func (e *configError) Fault() (string, status.FailureClass) {
	return v1alpha1.ReasonInvalidConfig, status.SpecAtFault
}

// result is what Reconcile returns for a pass that ended with err, classified as failure. A change of the object
// itself starts the next pass; what is mended elsewhere is looked at again after a while; everything else is tried
// again with back-off.
func result(ctx context.Context, err error, failure *status.Failure) (ctrl.Result, error) {
	if failure == nil {
		return ctrl.Result{}, nil
	}
	switch failure.Class {
	case status.SpecAtFault:
		return ctrl.Result{}, reconcile.TerminalError(err)
	case status.MendedElsewhere:
		log.FromContext(ctx).Error(err, "Waiting for a user", "reason", failure.Reason)
		return ctrl.Result{RequeueAfter: failure.RetryAfter()}, nil
	default:
		return ctrl.Result{}, err
	}
}
