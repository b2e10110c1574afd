// SPDX-License-Identifier: Apache-2.0

// Package builddaemon watches over agents: it gives each BuildDaemon the Lease that its agent renews, and reports on a
// daemon whose agent fell silent.
package builddaemon

import (
	"context"
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/internal/write"
)

// Reconciler gives each BuildDaemon its Lease and reports on it when the agent falls silent.
type Reconciler struct {
	Client client.Client
	Events events.EventRecorder
	Clock  clock.PassiveClock
	// Live reads past the cache; nil means that Client has none.
	Live client.Reader

	leases *leaseWatch
}

func (r *Reconciler) writer() *write.Writer {
	return &write.Writer{Client: r.Client, Live: r.Live, Events: r.Events}
}

// SetupWithManager watches BuildDaemons, and their Leases for a change of holder; silence is found by timer.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
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

func holder(lease *coordinationv1.Lease) string { return ptr.Deref(lease.Spec.HolderIdentity, "") }

// Reconcile keeps the Lease in being and looks whether it is still renewed.
func (r *Reconciler) Reconcile(ctx context.Context, daemon *v1alpha1.BuildDaemon) (ctrl.Result, error) {
	if !daemon.DeletionTimestamp.IsZero() {
		r.leases.forget(client.ObjectKeyFromObject(daemon))
		return ctrl.Result{}, nil
	}
	lease := &coordinationv1.Lease{}
	if err := r.Client.Get(ctx, client.ObjectKeyFromObject(daemon), lease); err != nil {
		if client.IgnoreNotFound(err) != nil {
			return ctrl.Result{}, fmt.Errorf("read Lease: %w", err)
		}
		_, err := r.writer().Apply(ctx, daemon, desiredLease(daemon)) // its creation wakes us again
		return ctrl.Result{}, err
	}
	state, left := r.leases.look(lease, status.HasReported(daemon), r.Clock.Now())
	if state == alive {
		return ctrl.Result{RequeueAfter: left}, nil
	}
	before := daemon.DeepCopy()
	status.FallSilent(daemon, silenceOf[state], r.Clock.Now())
	if _, err := r.writer().PatchStatus(ctx, before, daemon, write.Retry); err != nil {
		return ctrl.Result{}, fmt.Errorf("report a silent daemon: %w", err)
	}
	return ctrl.Result{}, nil
}

// silenceOf is how a Lease that is not alive shows in the status.
var silenceOf = map[liveness]status.Silence{
	neverSeen: status.NotStarted, released: status.AgentStopped, expired: status.LeaseExpired,
}

// desiredLease is the Lease that a daemon's agent renews. Its spec is the agent's.
func desiredLease(daemon *v1alpha1.BuildDaemon) *coordinationv1.Lease {
	return &coordinationv1.Lease{
		TypeMeta: metav1.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"},
		ObjectMeta: metav1.ObjectMeta{
			Name: daemon.Name, Namespace: daemon.Namespace,
			Labels: map[string]string{v1alpha1.LabelCache: daemon.Spec.CacheRef.Name},
		},
	}
}
