// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MaxServedNamespaces bounds BuildCacheStatus.Namespaces: each daemon watches each of them.
const MaxServedNamespaces = 256

// NamespacesFrom says which namespaces are allowed.
// +kubebuilder:validation:Enum=Same;Selector;All
type NamespacesFrom string

// The sources of allowed namespaces.
const (
	// NamespacesFromSame allows the BuildCache's own namespace only.
	NamespacesFromSame NamespacesFrom = "Same"
	// NamespacesFromSelector allows namespaces by their labels.
	NamespacesFromSelector NamespacesFrom = "Selector"
	// NamespacesFromAll allows every namespace.
	NamespacesFromAll NamespacesFrom = "All"
)

// AllowedNamespaces are the namespaces whose builds may name a BuildCache, in the form that the Gateway API has for
// routes. The BuildCache's own namespace always belongs to them.
//
// +kubebuilder:validation:XValidation:rule="(has(self.from) && self.from == 'Selector') == has(self.selector)",message="selector goes with from: Selector, and from: Selector needs one"
type AllowedNamespaces struct {
	// from is Same (the BuildCache's own namespace), Selector (also namespaces whose labels match selector) or All.
	// +optional
	// +kubebuilder:default=Same
	From NamespacesFrom `json:"from,omitempty"`
	// selector matches labels of namespaces. An empty one matches every namespace.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// ServedNamespace is another namespace whose builds the daemons see.
type ServedNamespace struct {
	// name of the namespace.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// admitted is false when spec.allowedNamespaces no longer admits the namespace, while builds of it are under way.
	// New ones are not placed.
	// +required
	Admitted bool `json:"admitted"`
}

// ServedNamespaces returns the namespaces whose builds the daemons see, the BuildCache's own first.
func (c *BuildCache) ServedNamespaces() []string {
	out := []string{c.Namespace}
	for i := range c.Status.Namespaces {
		out = append(out, c.Status.Namespaces[i].Name)
	}
	return out
}

// Admits reports whether builds of a namespace may be placed on the daemons: it is the BuildCache's own, or one that
// is admitted and that the daemons see.
func (c *BuildCache) Admits(namespace string) bool {
	return namespace == c.Namespace || slices.Contains(c.Status.Namespaces, ServedNamespace{namespace, true})
}
