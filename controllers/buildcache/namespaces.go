// SPDX-License-Identifier: Apache-2.0

package buildcache

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/watches"
	"github.com/openllb/hlb-operator/controllers/workload"
	"github.com/openllb/hlb-operator/internal/admission"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/internal/write"
)

// finalizerAccess keeps a BuildCache until its agents have no rights in other namespaces any more.
const finalizerAccess = "build.openllb.dev/access"

// usesOf reads the other namespaces with builds that name the BuildCache, from the cache.
func (r *Reconciler) usesOf(ctx context.Context, cache *v1alpha1.BuildCache) ([]admission.Use, error) {
	if cache.Spec.AllowedNamespaces == nil && len(cache.Status.Namespaces) == 0 {
		return nil, nil
	}
	var builds v1alpha1.HLBBuildList
	byName := client.MatchingFields{watches.IndexCache: cache.Name}
	if err := r.Client.List(ctx, &builds, byName, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list HLBBuilds: %w", err)
	}
	at := map[string]int{}
	var out []admission.Use
	for i := range builds.Items {
		b := &builds.Items[i]
		if b.Namespace == cache.Namespace || b.CacheName() != client.ObjectKeyFromObject(cache) {
			continue
		}
		if _, known := at[b.Namespace]; !known {
			use, err := r.useOf(ctx, b.Namespace)
			if err != nil {
				return nil, err
			}
			at[b.Namespace], out = len(out), append(out, use)
		}
		use := &out[at[b.Namespace]]
		use.Bound = use.Bound || status.IsBound(b)
	}
	return out, nil
}

// useOf reads a namespace.
func (r *Reconciler) useOf(ctx context.Context, namespace string) (admission.Use, error) {
	object, err := watches.Namespace(ctx, r.Client, namespace)
	if object == nil {
		return admission.Use{Namespace: namespace, Gone: true}, err
	}
	gone := !object.DeletionTimestamp.IsZero()
	return admission.Use{Namespace: namespace, Labels: object.Labels, Gone: gone}, nil
}

// endWithNamespace has the fleet's builds end when its own namespace is being deleted, and reports whether it is.
// Kubernetes deletes the pods of a namespace first, and those of daemons wait for their builds.
func (r *Reconciler) endWithNamespace(ctx context.Context, cache *v1alpha1.BuildCache) (ends bool, err error) {
	object, err := watches.Namespace(ctx, r.Client, cache.Namespace)
	if object == nil || object.DeletionTimestamp.IsZero() {
		return false, err // what is not in the cache yet is new
	}
	var pods corev1.PodList
	fleet := client.MatchingLabels(workload.FleetLabels(cache.Name))
	if err := r.Client.List(ctx, &pods, client.InNamespace(cache.Namespace), fleet); err != nil {
		return true, fmt.Errorf("list pods: %w", err)
	}
	if len(pods.Items) == 0 {
		err := r.writer().FleetEnded(ctx, cache.Namespace, cache.Name, metav1.NewTime(r.Clock.Now()))
		if err != nil {
			return true, fmt.Errorf("write the namespace's status: %w", err)
		}
	}
	before := cache.DeepCopy()
	status.EndFleet(&cache.Status, cache.Generation, r.Clock.Now())
	if _, err := r.writer().PatchStatus(ctx, before, cache, write.Retry); err != nil {
		return true, fmt.Errorf("write status: %w", err)
	}
	return true, nil
}

// revoke takes the agents' rights back in namespaces that are not served.
func (r *Reconciler) revoke(ctx context.Context, cache *v1alpha1.BuildCache, served []v1alpha1.ServedNamespace) error {
	var bindings rbacv1.RoleBindingList
	if err := r.Client.List(ctx, &bindings, client.MatchingLabels{v1alpha1.LabelCache: cache.Name}); err != nil {
		return fmt.Errorf("list RoleBindings: %w", err)
	}
	for i := range bindings.Items {
		b := &bindings.Items[i]
		is := func(s v1alpha1.ServedNamespace) bool { return s.Name == b.Namespace }
		if b.Namespace == cache.Namespace || !r.writer().Owns(cache, b) || slices.ContainsFunc(served, is) {
			continue
		}
		if err := r.delete(ctx, b); err != nil {
			return fmt.Errorf("delete RoleBinding of namespace %s: %w", b.Namespace, err)
		}
	}
	return nil
}

// grant gives the agents their rights in the namespaces that are served, and returns those where that went well. One
// namespace that refuses holds up no other, nor the fleet.
func (r *Reconciler) grant(
	ctx context.Context, cache *v1alpha1.BuildCache, served []v1alpha1.ServedNamespace,
) []v1alpha1.ServedNamespace {
	var out []v1alpha1.ServedNamespace
	for _, s := range served {
		if _, err := r.writer().Apply(ctx, cache, elsewhereBinding(cache, s.Name, r.BuildsRole)); err != nil {
			log.FromContext(ctx).Error(err, "Failed to give the agents access to a namespace", "namespace", s.Name)
			if s.Admitted {
				continue
			}
		}
		out = append(out, s)
	}
	return out
}

// keepNamespaces decides which other namespaces are served, and gives and takes the agents' rights there.
func (r *Reconciler) keepNamespaces(ctx context.Context, cache *v1alpha1.BuildCache) error {
	uses, err := r.usesOf(ctx, cache)
	if err != nil {
		return err
	}
	served := admission.Served(cache, uses)
	if len(served) > 0 || len(cache.Status.Namespaces) > 0 {
		if err := r.revoke(ctx, cache, served); err != nil {
			return err
		}
	}
	cache.Status.Namespaces = r.grant(ctx, cache, served)
	return nil
}

// buildEvents wakes BuildCaches by the builds of other namespaces that name them.
func (r *Reconciler) buildEvents() handler.Funcs {
	wake := func(ctx context.Context, o client.Object, q queue, isOver bool) {
		b := o.(*v1alpha1.HLBBuild)
		name := b.CacheName()
		cache := &v1alpha1.BuildCache{}
		if err := r.Client.Get(ctx, name, cache, client.UnsafeDisableDeepCopy); err != nil {
			return // it reads its builds when it comes
		}
		switch {
		case !cache.DeletionTimestamp.IsZero():
			q.Add(reconcile.Request{NamespacedName: name})
		case name.Namespace == b.Namespace:
		case isOver:
			q.AddAfter(reconcile.Request{NamespacedName: name}, usagePause)
		case !cache.Admits(b.Namespace):
			q.Add(reconcile.Request{NamespacedName: name})
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { wake(ctx, e.Object, q, false) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { wake(ctx, e.Object, q, true) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			was, is := e.ObjectOld.(*v1alpha1.HLBBuild), e.ObjectNew.(*v1alpha1.HLBBuild)
			if was.CacheName() != is.CacheName() {
				wake(ctx, was, q, true)
				wake(ctx, is, q, false)
			}
			if status.IsBound(was) && !status.IsBound(is) {
				wake(ctx, is, q, false)
			}
		},
	}
}

// cachesOfNamespace maps a namespace to the BuildCaches for whose builds it matters.
func (r *Reconciler) cachesOfNamespace(ctx context.Context, o client.Object) []reconcile.Request {
	var caches v1alpha1.BuildCacheList
	if err := r.Client.List(ctx, &caches, client.UnsafeDisableDeepCopy); err != nil {
		return nil // the list comes from memory; it fails only while the manager stops
	}
	var out []reconcile.Request
	for i := range caches.Items {
		c := &caches.Items[i]
		own := c.Namespace == o.GetName() && !o.GetDeletionTimestamp().IsZero()
		if own || admission.NeedsLabels(c, o.GetName()) || slices.Contains(c.ServedNamespaces()[1:], o.GetName()) {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(c)})
		}
	}
	return out
}

// namespaceChanges passes changes of a namespace's labels, and its deletion.
var namespaceChanges = predicate.Funcs{
	CreateFunc: func(event.CreateEvent) bool { return false }, // it has no builds yet
	UpdateFunc: func(e event.UpdateEvent) bool {
		return !maps.Equal(e.ObjectOld.GetLabels(), e.ObjectNew.GetLabels()) ||
			e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero()
	},
}

// cacheElsewhere maps an object of another namespace to the BuildCache that it was made for.
func cacheElsewhere(_ context.Context, o client.Object) []reconcile.Request {
	if owner, ok := write.OwnerElsewhere(o, "BuildCache"); ok {
		return []reconcile.Request{{NamespacedName: owner}}
	}
	return nil
}
