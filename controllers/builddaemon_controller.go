// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/buildstatus"
)

// BuildDaemonReconciler gives each BuildDaemon its Lease and says on it when the agent has gone silent.
type BuildDaemonReconciler struct {
	Client client.Client
	Events events.EventRecorder
	Clock  clock.PassiveClock

	leases *leaseWatch
}

// SetupWithManager watches BuildDaemons, and their Leases for a change of holder; silence is found by timer.
func (r *BuildDaemonReconciler) SetupWithManager(mgr ctrl.Manager) error {
	r.leases = newLeaseWatch()
	return ctrl.NewControllerManagedBy(mgr).
		Named("builddaemon").
		For(&v1alpha1.BuildDaemon{}).
		Owns(&coordinationv1.Lease{}, builder.WithPredicates(holderChanged)).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// holderChanged passes a Lease's update only when it changed hands.
var holderChanged = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, after := e.ObjectOld.(*coordinationv1.Lease), e.ObjectNew.(*coordinationv1.Lease)
	return holder(before) != holder(after)
}}

func holder(lease *coordinationv1.Lease) string {
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// Reconcile keeps the Lease in being and looks whether it is still renewed.
func (r *BuildDaemonReconciler) Reconcile(ctx context.Context, daemon *v1alpha1.BuildDaemon) (ctrl.Result, error) {
	if !daemon.DeletionTimestamp.IsZero() {
		r.leases.forget(client.ObjectKeyFromObject(daemon))
		return ctrl.Result{}, nil
	}
	lease := &coordinationv1.Lease{}
	if err := r.Client.Get(ctx, client.ObjectKeyFromObject(daemon), lease); err != nil {
		if client.IgnoreNotFound(err) != nil {
			return ctrl.Result{}, fmt.Errorf("read Lease: %w", err)
		}
		return ctrl.Result{}, applyOwned(ctx, r.Client, daemon, desiredLease(daemon)) // its creation wakes us again
	}
	state, left := r.leases.look(lease, wasReported(daemon), r.Clock.Now())
	if state == alive {
		return ctrl.Result{RequeueAfter: left}, nil
	}
	return ctrl.Result{}, r.giveUp(ctx, daemon, state)
}

// wasReported says whether an agent has ever reported on the daemon.
func wasReported(d *v1alpha1.BuildDaemon) bool {
	ready := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionReady)
	return ready != nil && ready.Reason != v1alpha1.ReasonNotStarted
}

// giveUp says on the BuildDaemon that nobody answers for it; its builds are given away because of it.
func (r *BuildDaemonReconciler) giveUp(ctx context.Context, daemon *v1alpha1.BuildDaemon, state liveness) error {
	reason, message := v1alpha1.ReasonLeaseExpired, "The daemon's agent has not renewed its Lease in time"
	switch state {
	case neverSeen:
		reason, message = v1alpha1.ReasonNotStarted, "The daemon's agent has not reported yet"
	case released:
		message = "The daemon's agent has ended and released its Lease"
	}
	ready := meta.FindStatusCondition(daemon.Status.Conditions, v1alpha1.ConditionReady)
	if ready != nil && (ready.Reason == reason || ready.Reason == v1alpha1.ReasonScaledDown) {
		return nil
	}
	before := daemon.DeepCopy()
	buildstatus.Set(&daemon.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionUnknown, Reason: reason, Message: message, ObservedGeneration: daemon.Generation,
	}, r.Clock.Now())
	if err := r.Client.Status().Patch(ctx, daemon, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("report a silent daemon: %w", err)
	}
	if state == expired {
		r.Events.Eventf(daemon, nil, corev1.EventTypeWarning, reason, "WatchLease", "%s", message)
	}
	return nil
}
