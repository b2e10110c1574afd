// SPDX-License-Identifier: Apache-2.0

// Package self is the identity of an agent, and how it reads the objects of its own daemon and fleet.
package self

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// Self is the identity of an agent.
type Self struct {
	// Namespace that the agent works in.
	Namespace string
	// Cache is the name of the BuildCache, Daemon that of the BuildDaemon and of its Lease.
	Cache, Daemon string
}

// DaemonName returns the namespaced name of the BuildDaemon.
func (s *Self) DaemonName() types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Daemon}
}

// BuildCache reads the daemon's BuildCache.
func (s *Self) BuildCache(ctx context.Context, reader client.Reader) (*v1alpha1.BuildCache, error) {
	cache := &v1alpha1.BuildCache{}
	if err := reader.Get(ctx, types.NamespacedName{Namespace: s.Namespace, Name: s.Cache}, cache); err != nil {
		return nil, fmt.Errorf("read BuildCache %s: %w", s.Cache, err)
	}
	return cache, nil
}

// BuildDaemon reads the daemon's own object.
func (s *Self) BuildDaemon(ctx context.Context, reader client.Reader) (*v1alpha1.BuildDaemon, error) {
	bd := &v1alpha1.BuildDaemon{}
	if err := reader.Get(ctx, s.DaemonName(), bd); err != nil {
		return nil, fmt.Errorf("read BuildDaemon %s: %w", s.Daemon, err)
	}
	return bd, nil
}

// Members reads the BuildDaemons of the agent's fleet, lowest ordinal first, at most limit of them; 0 for all. Ordinals
// have gaps where daemons were deleted.
func (s *Self) Members(ctx context.Context, reader client.Reader, limit int64) ([]v1alpha1.BuildDaemon, error) {
	var list v1alpha1.BuildDaemonList
	err := reader.List(ctx, &list, client.InNamespace(s.Namespace),
		client.MatchingLabels{v1alpha1.LabelCache: s.Cache}, client.Limit(limit))
	if err != nil {
		return nil, fmt.Errorf("list BuildDaemons: %w", err)
	}
	byOrdinal := func(a, b v1alpha1.BuildDaemon) int { return cmp.Compare(a.Spec.Ordinal, b.Spec.Ordinal) }
	slices.SortFunc(list.Items, byOrdinal)
	return list.Items, nil
}
