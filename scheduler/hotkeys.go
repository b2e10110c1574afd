// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"math"
	"slices"
)

// HotKeys finds keys whose builds need more than one daemon, and how many copies each of them should have. It counts
// arrivals with a half-life and compares the work they bring with the slots of a daemon. The wanted number of copies
// grows after two sweeps in a row that ask for more, and shrinks when the demand falls to half of it, so that it does
// not oscillate.
type HotKeys struct {
	rates map[KeyID]*rate
}

// rate is a decaying count of one key's arrivals.
type rate struct {
	count         float64
	slow          float64 // count with the long half-life
	firstSeconds  float64 // first arrival
	atSeconds     float64 // last decay
	warmSeconds   float64 // expected warm length at the last arrival
	replicas      int32
	growthPending bool // the last sweep asked for more replicas
}

const (
	hotHalfLifeSeconds  = 1800     // half an hour: longer than a push's burst, shorter than a working day's swing
	longHalfLifeSeconds = 8 * 3600 // a working day
	minObservedSeconds  = 1800     // least time that a rate is averaged over
	hotUtilisation      = 0.7      // most of a daemon's slots for one key; queueing delay grows steeply beyond
	hotMaxReplicas      = 16
	hotForgetCount      = 0.01 // one arrival after 6 to 7 half-lives
)

// NewHotKeys returns an instance without observations.
func NewHotKeys() *HotKeys { return &HotKeys{rates: map[KeyID]*rate{}} }

// Observe counts one arrival of key, whose warm builds take warmSeconds.
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

// PerSecond returns the rate of builds of key over the last hours; 0 for an unknown key.
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

// Sweep updates the wanted replicas of every key and writes them to the ledger; slots is the number of slots of one
// daemon. Call it at a steady interval, for example each minute. Keys without arrivals for hours are forgotten.
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

// Apply writes the wanted replicas and rates of the last sweep to a new ledger.
func (h *HotKeys) Apply(l *Ledger) {
	for key, r := range h.rates {
		r.apply(l, key)
	}
}

// apply writes the wanted replicas and rate of a key to a ledger.
func (r *rate) apply(l *Ledger, key KeyID) {
	l.WantReplicas(key, r.replicas)
	l.SetRate(key, r.perSecond())
}

// perSecond returns the long-run rate as of the last decay.
func (r *rate) perSecond() float64 {
	seen := max(r.atSeconds-r.firstSeconds, minObservedSeconds)
	return r.slow * math.Ln2 / longHalfLifeSeconds / (1 - math.Exp2(-seen/longHalfLifeSeconds))
}

// updateReplicas moves replicas one step towards the demand, with hysteresis.
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

// Keys returns the known keys in order.
func (h *HotKeys) Keys() []KeyID {
	keys := make([]KeyID, 0, len(h.rates))
	for key := range h.rates {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
