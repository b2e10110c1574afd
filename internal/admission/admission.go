// SPDX-License-Identifier: Apache-2.0

// Package admission decides which namespaces' builds a BuildCache serves.
package admission

import (
	"cmp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// NeedsLabels reports whether IsAllowed depends on the labels of the namespace.
func NeedsLabels(cache *v1alpha1.BuildCache, namespace string) bool {
	allowed := cache.Spec.AllowedNamespaces
	return namespace != cache.Namespace && allowed != nil && allowed.From == v1alpha1.NamespacesFromSelector
}

// IsAllowed reports whether builds of a namespace with these labels may name the BuildCache. A selector that can't be
// read matches nothing.
func IsAllowed(cache *v1alpha1.BuildCache, namespace string, set map[string]string) bool {
	allowed := cache.Spec.AllowedNamespaces
	switch {
	case namespace == cache.Namespace:
		return true
	case allowed == nil:
		return false
	case allowed.From == v1alpha1.NamespacesFromAll:
		return true
	case allowed.From != v1alpha1.NamespacesFromSelector:
		return false
	}
	selector, err := metav1.LabelSelectorAsSelector(allowed.Selector)
	return err == nil && selector.Matches(labels.Set(set))
}

// Use is another namespace with builds that name a BuildCache.
type Use struct {
	Namespace string
	// Labels of the namespace. Gone is set when it does not exist or is being deleted.
	Labels map[string]string
	Gone   bool
	// Bound is set while a build of the namespace is bound to a daemon.
	Bound bool
}

// Served returns the other namespaces whose builds the daemons see, by name, at most v1alpha1.MaxServedNamespaces:
// those that are allowed, and those that no longer are but have builds under way. Namespaces that are served already
// come before others when there are too many.
func Served(cache *v1alpha1.BuildCache, uses []Use) []v1alpha1.ServedNamespace {
	var out []v1alpha1.ServedNamespace
	for i := range uses {
		u := &uses[i]
		admitted := !u.Gone && IsAllowed(cache, u.Namespace, u.Labels)
		if admitted || u.Bound && isServed(cache, u.Namespace) {
			out = append(out, v1alpha1.ServedNamespace{Name: u.Namespace, Admitted: admitted})
		}
	}
	rank := func(s v1alpha1.ServedNamespace) int {
		if isServed(cache, s.Name) {
			return 0
		}
		return 1
	}
	slices.SortFunc(out, func(a, b v1alpha1.ServedNamespace) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Name, b.Name))
	})
	out = out[:min(len(out), v1alpha1.MaxServedNamespaces)]
	slices.SortFunc(out, func(a, b v1alpha1.ServedNamespace) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func isServed(cache *v1alpha1.BuildCache, namespace string) bool {
	return slices.ContainsFunc(cache.Status.Namespaces, func(s v1alpha1.ServedNamespace) bool {
		return s.Name == namespace
	})
}
