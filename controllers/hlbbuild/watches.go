// SPDX-License-Identifier: Apache-2.0

package hlbbuild

import (
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/watches"
)

// writers is how many HLBBuilds are reconciled at once: the API server takes some milliseconds for each write, most of
// it waiting for its disk.
const writers = 8

// SetupWithManager watches HLBBuilds, the daemons they are bound to and the BuildCaches they wait for.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	onDaemon, ofCache := watches.BuildsOn(r.Client), watches.BuildsOf(r.Client)
	return ctrl.NewControllerManagedBy(mgr).
		Named("hlbbuild").
		For(&v1alpha1.HLBBuild{}, builder.WithPredicates(predicate.Funcs{DeleteFunc: r.forget})).
		Watches(&v1alpha1.BuildDaemon{}, handler.EnqueueRequestsFromMapFunc(onDaemon)).
		Watches(&v1alpha1.BuildCache{}, handler.EnqueueRequestsFromMapFunc(ofCache),
			builder.WithPredicates(watches.AdmissionChanged)).
		WithOptions(controller.Options{MaxConcurrentReconciles: writers}).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// forget forgets a build that is gone.
func (r *Reconciler) forget(e event.DeleteEvent) bool {
	r.waits.end(client.ObjectKeyFromObject(e.Object))
	return false
}
