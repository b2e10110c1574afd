// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"math"
	"slices"
)

// HotKeys finds the keys that one daemon cannot serve alone, and says how many copies each is worth. It counts
// arrivals with a half-life and compares the work they bring with the slots of a daemon. A count must ask for more
// copies in two sweeps running before it gets them, and must fall to half before it loses them, so that a key near a
// boundary does not go back and forth.
type HotKeys struct {
	rates map[KeyID]*rate
}

// rate is a decaying count of one key's arrivals.
type rate struct {
	count         float64
	slow          float64 // the same with the long half-life
	firstSeconds  float64 // when it was first seen
	atSeconds     float64 // of the last decay
	warmSeconds   float64 // expected length, as of the last arrival
	replicas      int32
	growthPending bool // the last sweep would have grown
}

const (
	hotHalfLifeSeconds  = 1800     // half an hour: longer than a push's burst, shorter than a working day's swing
	longHalfLifeSeconds = 8 * 3600 // a working day: what a key's copies are worth
	minObservedSeconds  = 1800     // a key is not rated as if it had been seen for less
	hotUtilisation      = 0.7      // of a daemon's slots by one key; queueing delay grows steeply beyond
	hotMaxReplicas      = 16
	hotForgetCount      = 0.01 // arrivals left after 6 to 7 half-lives of one
)

// NewHotKeys has seen nothing.
func NewHotKeys() *HotKeys { return &HotKeys{rates: map[KeyID]*rate{}} }

// Observe notes one arrival of key, whose warm builds take warmSeconds.
func (h *HotKeys) Observe(key KeyID, nowSeconds, warmSeconds float64) {
	r := h.rates[key]
	if r == nil {
		r = &rate{atSeconds: nowSeconds, firstSeconds: nowSeconds, replicas: 1}
		h.rates[key] = r
	}
	r.decay(nowSeconds)
	r.count++
	r.slow++
	r.warmSeconds = warmSeconds
}

// PerSecond is how many builds of key came a second over the last hours.
func (h *HotKeys) PerSecond(key KeyID, nowSeconds float64) float64 {
	r := h.rates[key]
	if r == nil {
		return 0
	}
	r.decay(nowSeconds)
	return r.perSecond()
}

func (r *rate) decay(nowSeconds float64) {
	r.count *= math.Exp2(-(nowSeconds - r.atSeconds) / hotHalfLifeSeconds)
	r.slow *= math.Exp2(-(nowSeconds - r.atSeconds) / longHalfLifeSeconds)
	r.atSeconds = nowSeconds
}

// Sweep brings the wanted copies of every key up to date in the ledger; slots is the number of slots of one daemon.
// Call it at a steady interval, say each minute. Keys that have been quiet for hours are forgotten.
func (h *HotKeys) Sweep(l *Ledger, nowSeconds float64, slots int32) {
	for key, r := range h.rates {
		r.decay(nowSeconds)
		r.updateReplicas(max(slots, 1))
		r.apply(l, key)
		if r.slow < hotForgetCount {
			delete(h.rates, key)
		}
	}
}

// Want writes the copies that the last sweep found worth having into a ledger, for callers that make a new one for
// each round.
func (h *HotKeys) Apply(l *Ledger) {
	for key, r := range h.rates {
		r.apply(l, key)
	}
}

// tell writes what is known of a key into a ledger.
func (r *rate) apply(l *Ledger, key KeyID) {
	l.WantReplicas(key, r.replicas)
	l.SetRate(key, r.perSecond())
}

// perSecond is the long-run rate, as of the last decay.
func (r *rate) perSecond() float64 {
	seen := max(r.atSeconds-r.firstSeconds, minObservedSeconds)
	return r.slow * math.Ln2 / longHalfLifeSeconds / (1 - math.Exp2(-seen/longHalfLifeSeconds))
}

// settle moves replicas one step of hysteresis towards what the count asks for.
func (r *rate) updateReplicas(slots int32) {
	demand := r.count * math.Ln2 / hotHalfLifeSeconds * r.warmSeconds / (hotUtilisation * float64(slots)) // daemons
	want := int32(min(max(math.Ceil(demand), 1), hotMaxReplicas))
	switch {
	case want > r.replicas && r.growthPending:
		r.replicas, r.growthPending = want, false
	case want > r.replicas:
		r.growthPending = true
	case 2*demand <= float64(r.replicas):
		r.replicas, r.growthPending = want, false
	default:
		r.growthPending = false
	}
}

// Keys lists the keys seen lately, in order.
func (h *HotKeys) Keys() []KeyID {
	keys := make([]KeyID, 0, len(h.rates))
	for key := range h.rates {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
