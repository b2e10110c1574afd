// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/mountpolicy"
	"github.com/openllb/hlb-operator/scheduler"
)

// priceEvictions works out for each daemon what it costs later builds to evict the mount that goes next there.
func (s *State) priceEvictions() {
	if s.view == nil {
		return // it is made in this cycle
	}
	p := s.learnedParams()
	for _, d := range s.members {
		if price := s.evictionPrice(d, &p); price != d.EvictSecondsPerGB {
			d.EvictSecondsPerGB, d.dirty = price, true
		}
	}
}

// evictionPrice is that of one daemon, in seconds a GB.
func (s *State) evictionPrice(d *daemonState, p *scheduler.Params) float64 {
	at, known := s.view.Position(d.is.ID)
	status := &d.object.Status
	if !known || scheduler.Roomy(roomBytes(status), status.CapacityBytes) {
		return 0
	}
	held := make([]scheduler.Held, 0, len(status.Mounts))
	for i := range status.Mounts {
		u := &status.Mounts[i]
		if u.Bytes == 0 || isPinned(s.cache, u.ID) {
			continue
		}
		held = append(held, scheduler.Held{Key: s.mount(u.ID), LostSeconds: s.lostWithout(u.ID, p)})
	}
	victim := s.view.NextVictim(at, held)
	return s.view.EvictionPrice(victim, s.hot.PerSecond(victim.Key, seconds(s.now)))
}

// lostWithout is what the next build that uses the mount loses when it does not find it, 0 for unknown.
func (s *State) lostWithout(id string, p *scheduler.Params) float64 {
	m := s.mounts[id]
	if m == nil {
		return 0
	}
	snapshot := int64(0)
	if isPrimed(s.cache, id) {
		snapshot = m.SnapshotBytes
	}
	return p.LostSeconds(m.SavesSeconds, snapshot)
}

// isPinned reports whether a mount's policy keeps it from eviction.
func isPinned(cache *v1alpha1.BuildCache, id string) bool {
	policy := mountpolicy.Of(cache.Namespace, cache.Spec.Mounts, id)
	return mountpolicy.IsPinned(policy)
}
