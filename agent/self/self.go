// SPDX-License-Identifier: Apache-2.0

// Package self is the identity of an agent, and how it reads the objects of its own daemon and fleet.
package self

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	// AgentID names this process: PODUID/RANDOM.
	AgentID string
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

// Member returns the name of the BuildDaemon with an ordinal in the agent's fleet.
func (s *Self) Member(ordinal int32) string { return fmt.Sprintf("%s-%d", s.Cache, ordinal) }

// ReadMember reads the BuildDaemon with an ordinal in the agent's fleet, nil when the fleet has none: agents may read
// the BuildDaemons of their fleet and no others.
func (s *Self) ReadMember(ctx context.Context, reader client.Reader, ordinal int32) (*v1alpha1.BuildDaemon, error) {
	bd := &v1alpha1.BuildDaemon{}
	err := reader.Get(ctx, types.NamespacedName{Namespace: s.Namespace, Name: s.Member(ordinal)}, bd)
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read BuildDaemon %s: %w", s.Member(ordinal), err)
	}
	return bd, nil
}
