// SPDX-License-Identifier: Apache-2.0

// Package watches maps objects that changed to the objects to reconcile: by label, and by the indexes of HLBBuilds in
// the manager's cache.
package watches

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
)

// Index fields of HLBBuilds in the manager's cache.
const (
	// IndexCache finds builds by the name of their BuildCache.
	IndexCache = "spec.cacheRef.name"
	// IndexDaemon finds builds by the name of the daemon that may execute an attempt of them. Builds that have ended do
	// not depend on it any more.
	IndexDaemon = "status.placement.daemon"
)

var indexes = map[string]client.IndexerFunc{
	IndexCache: func(o client.Object) []string {
		return []string{o.(*v1alpha1.HLBBuild).Spec.CacheRef.Name}
	},
	IndexDaemon: func(o client.Object) []string {
		if b := o.(*v1alpha1.HLBBuild); status.IsBound(b) || status.IsReleasing(b) {
			return []string{b.Status.Placement.Daemon}
		}
		return nil
	},
}

// AddIndexes adds the index fields to the manager's cache. It must be called before the cache is started.
func AddIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	for field, index := range indexes {
		if err := indexer.IndexField(ctx, &v1alpha1.HLBBuild{}, field, index); err != nil {
			return fmt.Errorf("index HLBBuilds by %s: %w", field, err)
		}
	}
	return nil
}

// ByLabel maps an object to the one of its namespace that its label names; to none without the label.
func ByLabel(label string) handler.MapFunc {
	return func(_ context.Context, o client.Object) []reconcile.Request {
		if name, ok := Labelled(o, label); ok {
			return []reconcile.Request{{NamespacedName: name}}
		}
		return nil
	}
}

// Labelled returns the name that an object's label has for an object of the same namespace; false without the label.
func Labelled(o client.Object, label string) (types.NamespacedName, bool) {
	name := o.GetLabels()[label]
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: name}, name != ""
}

// BuildsOf maps a BuildCache to the HLBBuilds that name it, of all namespaces.
func BuildsOf(reader client.Reader) handler.MapFunc {
	return builds(reader, IndexCache, (*v1alpha1.HLBBuild).CacheName)
}

// BuildsOn maps a BuildDaemon to the HLBBuilds that are bound to it, of all namespaces.
func BuildsOn(reader client.Reader) handler.MapFunc {
	return builds(reader, IndexDaemon, (*v1alpha1.HLBBuild).DaemonName)
}

// builds maps an object to the HLBBuilds that name it in an indexed field, which has its name alone.
func builds(
	reader client.Reader, index string, named func(*v1alpha1.HLBBuild) types.NamespacedName,
) handler.MapFunc {
	return listed(reader, &v1alpha1.HLBBuildList{}, func(o client.Object) []client.ListOption {
		return []client.ListOption{client.MatchingFields{index: o.GetName()}}
	}, func(item, o client.Object) bool {
		return named(item.(*v1alpha1.HLBBuild)) == client.ObjectKeyFromObject(o)
	})
}

// DaemonsOf maps a BuildCache to its BuildDaemons.
func DaemonsOf(reader client.Reader) handler.MapFunc {
	return listed(reader, &v1alpha1.BuildDaemonList{}, func(o client.Object) []client.ListOption {
		return []client.ListOption{
			client.InNamespace(o.GetNamespace()), client.MatchingLabels{v1alpha1.LabelCache: o.GetName()},
		}
	}, func(client.Object, client.Object) bool { return true })
}

// listed maps an object to those of a kind that the options select and that belong to it. Lists come from the manager's
// cache and fail only while it stops: then nothing is to be reconciled.
func listed(
	reader client.Reader, kind client.ObjectList, options func(client.Object) []client.ListOption,
	belongs func(item, o client.Object) bool,
) handler.MapFunc {
	return func(ctx context.Context, o client.Object) (out []reconcile.Request) {
		list := kind.DeepCopyObject().(client.ObjectList)
		err := reader.List(ctx, list, append(options(o), client.UnsafeDisableDeepCopy)...)
		if err == nil {
			err = meta.EachListItem(list, func(item runtime.Object) error {
				if found := item.(client.Object); belongs(found, o) {
					out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(found)})
				}
				return nil
			})
		}
		if err != nil {
			log.FromContext(ctx).Error(err, "Failed to list objects to reconcile", "changed", klog.KObj(o))
			return nil
		}
		return out
	}
}

// AdmissionChanged passes changes of a BuildCache in which builds it takes: it comes or goes, or it admits other
// namespaces. Its status changes often otherwise.
var AdmissionChanged = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	was, is := e.ObjectOld.(*v1alpha1.BuildCache), e.ObjectNew.(*v1alpha1.BuildCache)
	return was.DeletionTimestamp.IsZero() != is.DeletionTimestamp.IsZero() ||
		!equality.Semantic.DeepEqual(was.Spec.AllowedNamespaces, is.Spec.AllowedNamespaces) ||
		!slices.Equal(was.Status.Namespaces, is.Status.Namespaces)
}}
