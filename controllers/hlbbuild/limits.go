// SPDX-License-Identifier: Apache-2.0

package hlbbuild

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/attempt"
	"github.com/openllb/hlb-operator/internal/buildrun"
	"github.com/openllb/hlb-operator/internal/status"
)

// keepSuspension holds the run of a suspended build, and queues it anew once the build no longer is. A started attempt
// is cancelled by another run in its place. What is over stays as it is.
func keepSuspension(b *v1alpha1.HLBBuild, now time.Time) {
	switch {
	case b.Spec.Suspend:
		attempt.Hold(b, buildrun.Again(b), now)
	case !status.IsFinal(b) && b.Status.Run.SuspendedAt != nil:
		status.Resume(b, now)
	}
}

// keepDeadline fails a run that spec.activeDeadlineSeconds gives no more time. Else it returns how much is left, 0 for
// no limit.
func keepDeadline(b *v1alpha1.HLBBuild, now time.Time) time.Duration {
	at, ok := status.Deadline(b)
	if !ok {
		return 0
	}
	if left := at.Sub(now); left > 0 {
		return left
	}
	ready := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionReady)
	attempt.Expire(b, v1alpha1.FailureStatus{
		Reason: v1alpha1.ReasonDeadlineExceeded,
		Message: fmt.Sprintf("The run was not over %d s after it was queued (spec.activeDeadlineSeconds); at last %s: %s",
			*b.Spec.ActiveDeadlineSeconds, ready.Reason, ready.Message),
	}, now)
	return 0
}

// expire deletes a build whose spec.ttlSecondsAfterFinished is over, unless it has changed since it was read.
func (r *Reconciler) expire(ctx context.Context, b *v1alpha1.HLBBuild) error {
	err := r.Client.Delete(ctx, b, client.Preconditions{UID: &b.UID, ResourceVersion: &b.ResourceVersion})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // gone, or its change wakes us again
	}
	if err != nil {
		return fmt.Errorf("delete after spec.ttlSecondsAfterFinished: %w", err)
	}
	log.FromContext(ctx).Info("Deleted a build whose time after its end is over",
		"ttlSecondsAfterFinished", *b.Spec.TTLSecondsAfterFinished)
	return nil
}

// soonest is the shortest of pauses, of which 0 means never.
func soonest(pauses ...time.Duration) time.Duration {
	var out time.Duration
	for _, p := range pauses {
		if p > 0 && (out == 0 || p < out) {
			out = p
		}
	}
	return out
}
