// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// Prefetch fills a mount that the daemon does not hold before a build needs it, from its newest snapshot, as Begin
// would. A build that begins meanwhile waits for it, for no longer than it would take to prime the mount itself. The
// status is nil when the mount is in use or being primed; then nothing is done. Until a copy has ended well, or a
// build has had the mount, IsUnfilled reports it, also to the next agent. The error is about that note, without which
// nothing is copied.
func (m *Maker) Prefetch(
	ctx context.Context,
	cache *v1alpha1.BuildCache,
	epoch string,
	mount daemon.Mount,
) (*v1alpha1.PrimeStatus, error) {
	one := m.primingOf(cache, mount)
	if one == nil {
		return &v1alpha1.PrimeStatus{
			ID:      mount.ID,
			Outcome: v1alpha1.PrimeFailed,
			Message: "no policy of the BuildCache primes the mount",
		}, nil
	}
	m.mu.Lock()
	_, underWay := m.priming[mount.ID]
	if underWay || m.State.inUse(mount.ID) {
		m.mu.Unlock()
		return nil, nil
	}
	if err := m.State.setUnfilled(epoch, mount.ID); err != nil {
		m.mu.Unlock()
		return nil, err
	}
	m.claim(mount.ID)
	m.mu.Unlock()
	status := m.primeOne(ctx, cache, one)
	if !isFilled(status) {
		return status, nil
	}
	return status, m.State.setFilled(mount.ID)
}

// inUse reports whether a build uses a mount now.
func (s *State) inUse(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running[id] > 0
}

// IsUnfilled reports whether a copy into the mount was begun that has not ended well, and no build has had the mount
// since.
func (s *State) IsUnfilled(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.content.Unfilled[id]
}

func (s *State) setUnfilled(epoch string, ids ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keepTo(epoch)
	if s.content.Unfilled == nil {
		s.content.Unfilled = map[string]bool{}
	}
	for _, id := range ids {
		s.content.Unfilled[id] = true
	}
	return s.save()
}

func (s *State) setFilled(ids ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		delete(s.content.Unfilled, id)
	}
	return s.save()
}
