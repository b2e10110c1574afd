// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"github.com/openllb/hlb-operator/api/v1alpha1"
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

// priceEvictions sets the price of each daemon's next eviction, as its agent publishes it.
func (m *memory) priceEvictions(f *fleet) {
	if m.view == nil {
		return // the first round makes it
	}
	for i := range f.daemons {
		d := &f.daemons[i]
		k := m.daemons[d.Name]
		price := m.evictionPrice(f, d)
		if price != k.evictSecondsPerGB {
			k.evictSecondsPerGB, k.dirty = price, true
		}
	}
}

// evictionPrice is that of one daemon, in seconds a GB.
func (m *memory) evictionPrice(f *fleet, d *v1alpha1.BuildDaemon) float64 {
	if d.Status.GC == nil || d.Status.GC.NextEviction == nil {
		return 0
	}
	if scheduler.Roomy(roomBytes(&d.Status), d.Status.CapacityBytes) {
		return 0
	}
	next := d.Status.GC.NextEviction
	key := f.mountKey(next.ID)
	return scheduler.EvictionPrice(
		scheduler.NextEviction{
			Bytes:       next.Bytes,
			LostSeconds: float64(next.LostSeconds),
			Redundant:   next.Redundant,
		},
		m.hot.PerSecond(key, seconds(f.now)),
		len(m.ledger.Copies(key)),
	)
}
