// SPDX-License-Identifier: Apache-2.0

// Package builddaemon supervises agents: it makes the Lease that each agent renews, and writes the status of a
// BuildDaemon whose agent fell silent.
package builddaemon

import (
	"context"
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
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
	"github.com/openllb/hlb-operator/controllers/liveness"
	"github.com/openllb/hlb-operator/internal/attempt"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/internal/write"
)

// Reconciler makes the Lease of each BuildDaemon, and writes the daemon's status while no agent renews it.
type Reconciler struct {
	Client client.Client
	Events events.EventRecorder
	Clock  clock.PassiveClock
	// Live reads past the cache; nil means that Client has none.
	Live client.Reader
	// Liveness judges Leases. It is shared with the reconciler of builds.
	Liveness *liveness.Watch
}

func (r *Reconciler) writer() *write.Writer {
	return &write.Writer{Client: r.Client, Live: r.Live, Events: r.Events}
}

// SetupWithManager watches BuildDaemons, and their Leases for a change of holder. Silence is found by timer.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("builddaemon").
		For(&v1alpha1.BuildDaemon{}, builder.WithPredicates(predicate.Funcs{DeleteFunc: r.forget})).
		Owns(&coordinationv1.Lease{}, builder.WithPredicates(predicate.Funcs{UpdateFunc: r.noteRenewal})).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// noteRenewal notes when a renewal came. It passes a Lease's update only when the Lease changed hands.
func (r *Reconciler) noteRenewal(e event.UpdateEvent) bool {
	before, after := e.ObjectOld.(*coordinationv1.Lease), e.ObjectNew.(*coordinationv1.Lease)
	r.Liveness.Observe(client.ObjectKeyFromObject(after), after)
	return attempt.Holder(before) != attempt.Holder(after)
}

// forget forgets a daemon that is gone. Builds that were bound to it are looked after by their own reconciler.
func (r *Reconciler) forget(e event.DeleteEvent) bool {
	r.Liveness.Forget(client.ObjectKeyFromObject(e.Object))
	return false
}

// Reconcile makes the Lease where it is missing, and checks that it is renewed.
func (r *Reconciler) Reconcile(ctx context.Context, daemon *v1alpha1.BuildDaemon) (ctrl.Result, error) {
	if !daemon.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	lease := &coordinationv1.Lease{}
	if err := r.Client.Get(ctx, client.ObjectKeyFromObject(daemon), lease); err != nil {
		if client.IgnoreNotFound(err) != nil {
			return ctrl.Result{}, fmt.Errorf("read Lease: %w", err)
		}
		_, err := r.writer().Apply(ctx, daemon, desiredLease(daemon)) // its creation is an event of this controller
		return ctrl.Result{}, err
	}
	state, left, err := r.Liveness.Look(ctx, lease, status.HasReported(daemon))
	if err != nil || state == liveness.Alive {
		return ctrl.Result{RequeueAfter: left}, err
	}
	before := daemon.DeepCopy()
	status.FallSilent(daemon, silenceOf[state], r.Clock.Now())
	if _, err := r.writer().PatchStatus(ctx, before, daemon, write.Retry); err != nil {
		return ctrl.Result{}, fmt.Errorf("report a silent daemon: %w", err)
	}
	return ctrl.Result{}, nil
}

// silenceOf is how a Lease that is not alive shows in the status.
var silenceOf = map[liveness.State]status.Silence{
	liveness.NeverSeen: status.NotStarted, liveness.Released: status.AgentStopped,
	liveness.Expired: status.LeaseExpired,
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
