// SPDX-License-Identifier: Apache-2.0

package workload

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/watches"
)

// workers is how many daemons are looked at at once.
const workers = 4

// SetupWithManager watches BuildDaemons, their StatefulSets, pods and claims, and the BuildCaches that have the
// template.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	byLabel := handler.EnqueueRequestsFromMapFunc(watches.ByLabel(v1alpha1.LabelDaemon))
	return ctrl.NewControllerManagedBy(mgr).
		Named("workload").
		For(&v1alpha1.BuildDaemon{}, builder.WithPredicates(daemonChanged)).
		Owns(&appsv1.StatefulSet{}).
		Watches(&corev1.Pod{}, byLabel).
		Watches(&corev1.PersistentVolumeClaim{}, byLabel).
		Watches(&v1alpha1.BuildCache{}, handler.EnqueueRequestsFromMapFunc(watches.DaemonsOf(r.Client)),
			builder.WithPredicates(cacheChanged)).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// daemonChanged passes a BuildDaemon's update when its spec or its Ready condition has changed; all else in its status
// is its agent's and placement's matter.
var daemonChanged = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, after := e.ObjectOld.(*v1alpha1.BuildDaemon), e.ObjectNew.(*v1alpha1.BuildDaemon)
	was := meta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionReady)
	is := meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionReady)
	return before.Generation != after.Generation || !equality.Semantic.DeepEqual(was, is)
}}

// cacheChanged passes a BuildCache's update when its spec or the size of its volumes has changed.
var cacheChanged = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, after := e.ObjectOld.(*v1alpha1.BuildCache), e.ObjectNew.(*v1alpha1.BuildCache)
	return before.Generation != after.Generation ||
		!equality.Semantic.DeepEqual(before.Status.Storage, after.Status.Storage)
}}
