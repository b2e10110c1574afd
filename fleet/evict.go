// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/scheduler"
)

// priceEvictions sets the price of each daemon's next eviction, as its agent publishes it.
func (s *State) priceEvictions() {
	if s.view == nil {
		return // it is made in this cycle
	}
	for _, d := range s.members {
		if price := s.evictionPrice(d.object); price != d.EvictSecondsPerGB {
			d.EvictSecondsPerGB, d.dirty = price, true
		}
	}
}

// evictionPrice is that of one daemon, in seconds a GB.
func (s *State) evictionPrice(d *v1alpha1.BuildDaemon) float64 {
	if d.Status.GC == nil || d.Status.GC.NextEviction == nil {
		return 0
	}
	if scheduler.Roomy(roomBytes(&d.Status), d.Status.CapacityBytes) {
		return 0
	}
	next := d.Status.GC.NextEviction
	key := s.mount(next.ID)
	return scheduler.EvictionPrice(
		scheduler.NextEviction{
			Bytes:       next.Bytes,
			LostSeconds: float64(next.LostSeconds),
			Redundant:   next.Redundant,
		},
		s.hot.PerSecond(key, seconds(s.now)),
		len(s.ledger.Copies(key)),
	)
}
