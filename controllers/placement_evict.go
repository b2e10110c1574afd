// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/mountpolicy"
	"github.com/openllb/hlb-operator/scheduler"
)

// roomBytes is what can be filled on a daemon's volume before its agent drops a cache mount: up to the bound of all
// mounts together, and to the space that is kept free. Agents that have not looked yet tell of no bounds.
func roomBytes(s *v1alpha1.BuildDaemonStatus) int64 {
	room := s.CapacityBytes - s.UsedBytes
	if s.GC != nil {
		room = min(room-s.GC.FreeBytes, s.GC.MountsBudgetBytes-s.GC.MountsBytes)
	}
	return max(room, 0)
}

// priceEvictions works out for each daemon what it costs later builds to drop the mount that goes next there.
func (m *memory) priceEvictions(f *fleet) {
	if m.view == nil {
		return // the first round makes it
	}
	for i := range f.daemons {
		d := &f.daemons[i]
		k := m.daemons[d.Name]
		price := m.evictionPrice(f, d, k)
		if price != k.evictSecondsPerGB {
			k.evictSecondsPerGB, k.dirty = price, true
		}
	}
}

// evictionPrice is that of one daemon, in seconds a GB.
func (m *memory) evictionPrice(f *fleet, d *v1alpha1.BuildDaemon, k *knownDaemon) float64 {
	at, known := m.view.Position(k.is.ID)
	if !known || scheduler.Roomy(roomBytes(&d.Status), d.Status.CapacityBytes) {
		return 0
	}
	p := m.paramsNow()
	held := make([]scheduler.Held, 0, len(d.Status.Mounts))
	for i := range d.Status.Mounts {
		u := &d.Status.Mounts[i]
		if u.Bytes == 0 || isPinned(f.cache, u.ID) {
			continue
		}
		held = append(held, scheduler.Held{Key: f.mountKey(u.ID), LostSeconds: m.lostWithout(f, u.ID, &p)})
	}
	victim := m.view.NextVictim(at, held)
	return m.view.EvictionPrice(victim, m.hot.PerSecond(victim.Key, seconds(f.now)))
}

// lostWithout is what the next build that has the mount loses when it does not find it, 0 if that is not known.
func (m *memory) lostWithout(f *fleet, id string, p *scheduler.Params) float64 {
	facts := m.mounts[id]
	if facts == nil {
		return 0
	}
	snapshot := int64(0)
	if isPrimed(f.cache, id) {
		snapshot = facts.snapshotBytes
	}
	return p.LostSeconds(facts.savesSeconds, snapshot)
}

// isPinned says whether a mount's policy keeps it whatever happens.
func isPinned(cache *v1alpha1.BuildCache, id string) bool {
	policy := mountpolicy.Of(cache.Namespace, cache.Spec.Mounts, id)
	return mountpolicy.IsPinned(policy)
}
