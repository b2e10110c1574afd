// SPDX-License-Identifier: Apache-2.0

// Package replicas knows which cache mounts the other daemons of the fleet hold, from their status.
package replicas

import (
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/agent/self"
	"github.com/openllb/hlb-operator/internal/mountpolicy"
	"github.com/openllb/hlb-operator/internal/status"
)

const (
	// maxRead bounds the BuildDaemons that are read at a time. Copies on daemons beyond it are not known, so a mount
	// counts as less replicated than it is.
	maxRead = 32
	// readTimeout bounds one reading: pruning waits for it.
	readTimeout = 10 * time.Second
)

// Replicas reads other daemons' status when asked. It is not safe for concurrent use.
type Replicas struct {
	self   self.Self
	reader client.Reader
	now    func() time.Time

	readAt time.Time
	used   map[string]time.Time
}

// New returns one that has read nothing yet. reader must not read from a cache.
func New(me self.Self, reader client.Reader, now func() time.Time) *Replicas {
	return &Replicas{self: me, reader: reader, now: now}
}

// LastUses returns, for each mount by id without base state, when a build last used it on any other daemon that starts
// builds, as of no longer ago than maxAge. On an error the result is empty.
func (r *Replicas) LastUses(ctx context.Context, maxAge time.Duration) (map[string]time.Time, error) {
	if r.used != nil && r.now().Sub(r.readAt) < maxAge {
		return r.used, nil
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	used := map[string]time.Time{}
	fleet, err := r.self.Members(ctx, r.reader, maxRead)
	if err != nil {
		return used, err
	}
	for i := range fleet {
		bd := &fleet[i]
		if bd.Name == r.self.Daemon || !status.StartsBuilds(bd) {
			continue
		}
		for j := range bd.Status.Mounts {
			m := &bd.Status.Mounts[j]
			// A mount without bytes is still being made. One without uses was prefetched, and may be older than the
			// copy that it was made from.
			if id := mountpolicy.Unbased(m.ID); m.Bytes > 0 && m.Uses > 0 && m.LastUsed != nil &&
				m.LastUsed.After(used[id]) {
				used[id] = m.LastUsed.Time
			}
		}
	}
	r.used, r.readAt = used, r.now()
	return used, nil
}
