// SPDX-License-Identifier: Apache-2.0

package buildcache

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/util/workqueue"
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

// workers is how many fleets are looked at at once: one large fleet holds up no other.
const workers = 4

// usagePause is how soon a fleet is looked at when nothing has changed at a daemon but its usage.
const usagePause = 15 * time.Second

// SetupWithManager watches BuildCaches and all that they own, so that drift is repaired.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	byLabel := handler.EnqueueRequestsFromMapFunc(watches.ByLabel(v1alpha1.LabelCache))
	return ctrl.NewControllerManagedBy(mgr).
		Named("buildcache").
		// its own status wakes no one
		For(&v1alpha1.BuildCache{}, builder.WithPredicates(predicate.Or[client.Object](
			predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))).
		Owns(&corev1.ConfigMap{}).
		Owns(&corev1.ServiceAccount{}).
		Owns(&rbacv1.Role{}).
		Owns(&rbacv1.RoleBinding{}).
		Watches(&rbacv1.RoleBinding{}, handler.EnqueueRequestsFromMapFunc(cacheElsewhere)).
		Watches(&v1alpha1.HLBBuild{}, r.buildEvents()).
		WatchesMetadata(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(r.cachesOfNamespace),
			builder.WithPredicates(namespaceChanges)).
		Owns(&networkingv1.NetworkPolicy{}).
		Owns(&policyv1.PodDisruptionBudget{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.BuildDaemon{}, daemonEvents).
		Watches(&appsv1.StatefulSet{}, byLabel).
		Watches(&corev1.Pod{}, byLabel).
		Watches(&corev1.PersistentVolumeClaim{}, byLabel).
		Watches(&storagev1.StorageClass{}, handler.EnqueueRequestsFromMapFunc(r.cachesOfClass),
			builder.WithPredicates(predicate.ResourceVersionChangedPredicate{})).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// cachesOfClass maps a storage class to the BuildCaches whose volumes wait for its expansion.
func (r *Reconciler) cachesOfClass(ctx context.Context, class client.Object) []reconcile.Request {
	var caches v1alpha1.BuildCacheList
	if err := r.Client.List(ctx, &caches); err != nil {
		return nil // those that wait look again by themselves
	}
	var out []reconcile.Request
	for i := range caches.Items {
		if c := &caches.Items[i]; awaitsExpansion(c) {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(c)})
		}
	}
	return out
}

// queue is where the controller takes its work from.
type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// daemonEvents wakes a fleet by its BuildDaemons: at once where something matters to it, after a while where only usage
// has changed, which each build does.
var daemonEvents = handler.Funcs{
	CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
		addFleet(q, e.Object, 0)
	},
	DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) {
		addFleet(q, e.Object, 0)
	},
	UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
		before, after := e.ObjectOld.(*v1alpha1.BuildDaemon), e.ObjectNew.(*v1alpha1.BuildDaemon)
		switch {
		case mattersAtOnce(before, after):
			addFleet(q, after, 0)
		case mattersLater(before, after):
			addFleet(q, after, usagePause)
		}
	},
}

// addFleet has the fleet of an object looked at after a while.
func addFleet(q queue, o client.Object, after time.Duration) {
	if cache, ok := watches.Labelled(o, v1alpha1.LabelCache); ok {
		q.AddAfter(reconcile.Request{NamespacedName: cache}, after)
	}
}

// mattersAtOnce reports whether a BuildDaemon has changed in what its fleet decides by.
func mattersAtOnce(before, after *v1alpha1.BuildDaemon) bool {
	was, is := &before.Status, &after.Status
	return before.Generation != after.Generation ||
		!equality.Semantic.DeepEqual(before.ObjectMeta.Annotations, after.ObjectMeta.Annotations) ||
		!equality.Semantic.DeepEqual(before.ObjectMeta.Labels, after.ObjectMeta.Labels) ||
		!equality.Semantic.DeepEqual(before.ObjectMeta.OwnerReferences, after.ObjectMeta.OwnerReferences) ||
		!before.DeletionTimestamp.Equal(after.DeletionTimestamp) ||
		!equality.Semantic.DeepEqual(was.Conditions, is.Conditions) ||
		was.NodeName != is.NodeName || was.AgentID != is.AgentID || was.CapacityBytes != is.CapacityBytes
}

// mattersLater reports whether a BuildDaemon has changed in what its fleet's status shows, or in what makes volumes
// grow.
func mattersLater(before, after *v1alpha1.BuildDaemon) bool {
	was, is := &before.Status, &after.Status
	return was.RunningBuilds != is.RunningBuilds || was.UsedBytes != is.UsedBytes ||
		!equality.Semantic.DeepEqual(was.GC, is.GC) || !equality.Semantic.DeepEqual(was.Sizing, is.Sizing)
}
