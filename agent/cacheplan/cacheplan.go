// SPDX-License-Identifier: Apache-2.0

// Package cacheplan decides what a build does about the registry cache, from the policy and from what the daemon knows.
package cacheplan

import (
	"slices"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/cacheref"
)

// Plan is what one attempt does about the registry cache.
type Plan struct {
	// Fresh: the daemon holds nothing for the key, or nothing new enough.
	Fresh bool
	// Imports are the references offered to the solve, best first.
	Imports []string
	// Export is the reference written after the build, empty for none.
	Export string
}

// IsFresh reports whether a daemon holds nothing for a key. It does when it has built the key since its volume was last
// reset (known) and still holds every cache mount that the key's last build had: one that was evicted makes the
// daemon fresh. held is all that the daemon holds, by id.
func IsFresh(known bool, mounts []string, held map[string]int64) bool {
	return !known || slices.ContainsFunc(mounts, func(id string) bool {
		_, found := held[id]
		return !found
	})
}

// Decide plans for a cache key of a namespace. registry is nil when the BuildCache has no registry cache; fresh is
// what IsFresh reports, or the placement.
func Decide(registry *v1alpha1.RegistryCacheSpec, fresh bool, key, namespace string) Plan {
	plan := Plan{Fresh: fresh}
	if registry == nil {
		return plan
	}
	ref := cacheref.Ref(registry.Repository, namespace, key)
	if plan.Fresh && registry.ImportPolicy == v1alpha1.ImportOnFreshDaemon {
		plan.Imports = []string{ref}
	}
	switch registry.ExportPolicy {
	case v1alpha1.ExportAlways:
		plan.Export = ref
	case v1alpha1.ExportOnFreshDaemon:
		if plan.Fresh {
			plan.Export = ref
		}
	}
	return plan
}
