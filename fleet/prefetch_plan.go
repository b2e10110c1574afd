// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/scheduler"
)

// prefetchMinPerSecond is how often a key must be built to be copied ahead of need: twice an hour, so that a copy is
// likely to be used before it is stale.
const prefetchMinPerSecond = 2.0 / 3600

// wantedMount is a cache mount that can be brought in from a snapshot.
type wantedMount struct {
	id      string
	sharing v1alpha1.MountSharing
	bytes   int64 // of the snapshot
}

// holdings are the members, by position, that have each cache mount. true: held; false: requested, or failed within
// the cool-down.
type holdings map[string]map[int]bool

func (h holdings) add(mount string, at int, held bool) {
	if h[mount] == nil {
		h[mount] = map[int]bool{}
	}
	h[mount][at] = h[mount][at] || held
}

// all lists the members that have every one of the mounts, with whether they hold them all.
func (h holdings) all(mounts []wantedMount) map[int]bool {
	out := map[int]bool{}
	for at := range h[mounts[0].id] {
		has, held := true, true
		for _, m := range mounts {
			holds, known := h[m.id][at]
			has, held = has && known, held && holds
		}
		if has {
			out[at] = held
		}
	}
	return out
}

// prefetchPlan is what one plan is made from.
type prefetchPlan struct {
	members  []*daemonState
	now      time.Time
	params   scheduler.Params
	requests [][]v1alpha1.PrefetchRequest // that stand, of each member
	at       map[string]int               // positions of members, by name
	holdings holdings
	mounts   map[scheduler.KeyID][]wantedMount
}

// addPrefetches adds the prefetches that pay off after a membership change since the baseline. It reports whether it
// found any, in which case more may be left that exceeded the budget or a daemon's list.
func (s *State) addPrefetches(requests [][]v1alpha1.PrefetchRequest) (open bool, err error) {
	p := &prefetchPlan{
		members:  s.members,
		now:      s.now,
		params:   s.learnedParams(),
		requests: requests,
		at:       map[string]int{},
		holdings: holdings{},
		mounts:   map[scheduler.KeyID][]wantedMount{},
	}
	p.observeHoldings(s.prefetch.Ended)
	demand := s.prefetchDemand(p)
	now, err := scheduler.NewView(s.view.Daemons, s.prefetchLedger(p), seconds(s.now))
	if err != nil {
		return false, err
	}
	budget := scheduler.Budget{
		Bytes:           int64(s.prefetch.BytesPerHour),
		MinPerSecond:    prefetchMinPerSecond,
		CoolDownSeconds: prefetchCoolDown.Seconds(),
	}
	copies := scheduler.Rebalance(s.prefetch.Baseline.view, now, demand, budget, &p.params)
	p.request(copies, int64(s.prefetch.Budget.Tokens))
	return len(copies) > 0, nil
}

// observeHoldings finds out which member has which mount. It drops requests from ended that may be repeated.
func (p *prefetchPlan) observeHoldings(ended map[prefetchID]time.Time) {
	for i, d := range p.members {
		p.at[d.Name] = i
		for _, u := range d.object.Status.Mounts {
			p.holdings.add(u.ID, i, true)
		}
		for _, r := range p.requests[i] {
			p.holdings.add(r.ID, i, false)
		}
	}
	for id, at := range ended {
		if p.now.Sub(at) >= prefetchCoolDown {
			delete(ended, id)
			continue
		}
		if i, exists := p.at[id.Daemon]; exists && p.members[i].object.Status.VolumeEpoch == id.Epoch {
			p.holdings.add(id.Mount, i, false)
		}
	}
}

// prefetchDemand describes the keys that have mounts to bring in, and fills in p.mounts.
func (s *State) prefetchDemand(p *prefetchPlan) []scheduler.Demand {
	var out []scheduler.Demand
	for id, key := range s.keys {
		perSecond := s.hot.PerSecond(id, seconds(s.now))
		if perSecond < prefetchMinPerSecond {
			continue
		}
		mounts := s.wantedMounts(key)
		if len(mounts) == 0 {
			continue
		}
		d := scheduler.Demand{Key: id, Platform: key.Platform, PerSecond: perSecond}
		d.WarmSeconds, d.ColdSeconds = s.estimates.Expect(id, scopes(""), &s.params)
		for _, w := range mounts {
			d.SnapshotBytes += w.bytes
		}
		p.mounts[id] = mounts
		out = append(out, d)
	}
	return out
}

// wantedMounts are the mounts of a key's latest build that have a snapshot and are primed from it, each once.
func (s *State) wantedMounts(key *keyState) []wantedMount {
	var out []wantedMount
	for i := range key.Mounts {
		b := &key.Mounts[i]
		m := s.mounts[b.ID]
		if m == nil || m.SnapshotBytes == 0 || b.Sharing == "" || !isPrimed(s.cache, b.ID) ||
			slices.ContainsFunc(out, func(w wantedMount) bool { return w.id == b.ID }) {
			continue
		}
		out = append(out, wantedMount{b.ID, b.Sharing, m.SnapshotBytes})
	}
	return out
}

// prefetchLedger lists the copies of the wanted keys. A daemon that holds all mounts of a key has a copy here although
// it has never built the key, so that it is not given another. The State's own ledger does not list it: builds still
// lack the rest there.
func (s *State) prefetchLedger(p *prefetchPlan) *scheduler.Ledger {
	out := scheduler.NewLedger()
	for key, mounts := range p.mounts {
		for _, c := range s.ledger.Copies(key) {
			out.Restore(key, c)
		}
		for at, held := range p.holdings.all(mounts) {
			d := p.members[at]
			c := scheduler.Copy{
				Daemon:  d.is.ID,
				Epoch:   d.is.Epoch,
				State:   scheduler.Pending,
				Version: s.ledger.Version(key),
			}
			if held {
				c.State = scheduler.Confirmed
			}
			out.Restore(key, c)
		}
	}
	s.hot.Apply(out)
	return out
}

// request turns copies into requests for what their daemons lack, the best copy first, while the budget lasts. It stops
// at the first copy that exceeds the budget: bytes are saved up for it, or large copies would never have their turn.
func (p *prefetchPlan) request(copies []scheduler.PrimePlan, budget int64) {
	for i := range copies {
		at := p.at[copies[i].Name]
		lacks := slices.DeleteFunc(slices.Clone(p.mounts[copies[i].Key]), func(w wantedMount) bool {
			_, known := p.holdings[w.id][at]
			return known
		})
		if bytesOf(lacks) > budget {
			return
		}
		for _, w := range lacks {
			if !p.hasTime(p.requests[at], w.bytes) {
				break
			}
			budget -= w.bytes
			p.holdings.add(w.id, at, false)
			p.requests[at] = append(p.requests[at], v1alpha1.PrefetchRequest{
				ID:          w.id,
				Sharing:     w.sharing,
				Bytes:       w.bytes,
				RequestedAt: metav1.NewTime(p.now.Truncate(time.Second)),
			})
		}
	}
}

func bytesOf(mounts []wantedMount) (sum int64) {
	for _, m := range mounts {
		sum += m.bytes
	}
	return sum
}

// hasTime reports whether a daemon is expected to bring in one more mount in half of the time that requests stand. For
// a first one there is always time.
func (p *prefetchPlan) hasTime(requests []v1alpha1.PrefetchRequest, bytes int64) bool {
	for _, r := range requests {
		bytes += r.Bytes
	}
	n := len(requests)
	took := float64(n+1)*p.params.PrimeFixedSeconds + float64(bytes)/p.params.PullBytesPerSecond
	return n == 0 || n < maxRequests && took <= prefetchTimeout.Seconds()/2
}
