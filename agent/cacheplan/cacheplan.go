// SPDX-License-Identifier: Apache-2.0

// Package cacheplan decides what a build does about the registry cache, from the policy and from what the daemon knows.
package cacheplan

import (
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/cacheref"
)

// Plan is what one attempt does about the registry cache.
type Plan struct {
	// Fresh says that the daemon holds nothing for the key.
	Fresh bool
	// Imports are the references offered to the solve, best first.
	Imports []string
	// Export is the reference written after the build, empty for none.
	Export string
}

// Decide plans for a cache key of a namespace. registry is nil when the BuildCache has no registry cache; known says whether the daemon
// has built the key since its volume was last reset.
func Decide(registry *v1alpha1.RegistryCacheSpec, known bool, key, namespace string) Plan {
	plan := Plan{Fresh: !known}
	if registry == nil {
		return plan
	}
	ref := cacheref.Ref(registry.Repository, namespace, key)
	if plan.Fresh && registry.Import == v1alpha1.ImportOnFreshDaemon {
		plan.Imports = []string{ref}
	}
	switch registry.Export.Policy {
	case v1alpha1.ExportAlways:
		plan.Export = ref
	case v1alpha1.ExportOnFreshDaemon:
		if plan.Fresh {
			plan.Export = ref
		}
	}
	return plan
}
