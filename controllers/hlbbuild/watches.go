// SPDX-License-Identifier: Apache-2.0

package hlbbuild

import (
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

// ignoreUpdates passes only creation and deletion. Builds wait for a BuildCache to exist, and its status changes often.
var ignoreUpdates = builder.WithPredicates(predicate.Funcs{UpdateFunc: func(event.UpdateEvent) bool { return false }})
