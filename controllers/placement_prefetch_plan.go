// SPDX-License-Identifier: Apache-2.0

package controllers

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

// whereabouts says for each cache mount which daemons, by position, have it. What they hold is true; what they were
// asked for, and what came to nothing lately, is false.
type whereabouts map[string]map[int]bool

func (w whereabouts) note(mount string, at int, held bool) {
	if w[mount] == nil {
		w[mount] = map[int]bool{}
	}
	w[mount][at] = w[mount][at] || held
}

// all lists the daemons that have every one of the mounts, with whether they hold them all.
func (w whereabouts) all(mounts []wantedMount) map[int]bool {
	out := map[int]bool{}
	for at := range w[mounts[0].id] {
		has, held := true, true
		for _, m := range mounts {
			holds, known := w[m.id][at]
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
	f        *fleet
	p        *prefetching
	params   scheduler.Params
	requests [][]v1alpha1.PrefetchRequest // that stand, of each daemon of the fleet
	at       map[string]int               // where a daemon is in the fleet, by name
	where    whereabouts
	mounts   map[scheduler.KeyID][]wantedMount
}

// planPrefetch adds to the requests that stand what is worth asking for now because of how the fleet changed since it
// was last at rest. It says whether anything was: if so, there may be more, which did not fit the budget or a
// daemon's list.
func (f *fleet) planPrefetch(requests [][]v1alpha1.PrefetchRequest) (open bool, err error) {
	m := f.memory
	p := &prefetchPlan{
		f:        f,
		p:        m.prefetch,
		params:   m.paramsNow(),
		requests: requests,
		at:       map[string]int{},
		where:    whereabouts{},
		mounts:   map[scheduler.KeyID][]wantedMount{},
	}
	p.look()
	demand := p.demand()
	now, err := scheduler.NewView(m.view.Daemons, p.ledger(), seconds(f.now))
	if err != nil {
		return false, err
	}
	copies := scheduler.Rebalance(m.prefetch.rested, now, demand, scheduler.Budget{
		Bytes: int64(
			m.prefetch.bytesPerHour,
		), MinPerSecond: prefetchMinPerSecond, CoolDownSeconds: prefetchCoolDown.Seconds(),
	}, &p.params)
	p.ask(copies)
	return len(copies) > 0, nil
}

// look finds out which daemon has what.
func (p *prefetchPlan) look() {
	for i := range p.f.daemons {
		d := &p.f.daemons[i]
		p.at[d.Name] = i
		for _, u := range d.Status.Mounts {
			p.where.note(u.ID, i, true)
		}
		for _, r := range p.requests[i] {
			p.where.note(r.ID, i, false)
		}
	}
	for id, at := range p.p.ended {
		if p.f.now.Sub(at) >= prefetchCoolDown {
			delete(p.p.ended, id)
			continue
		}
		if i, here := p.at[id.daemon]; here && p.f.daemons[i].Status.VolumeEpoch == id.epoch {
			p.where.note(id.mount, i, false)
		}
	}
}

// demand is what is known of the keys that have mounts to bring in.
func (p *prefetchPlan) demand() []scheduler.Demand {
	var out []scheduler.Demand
	m, now := p.f.memory, seconds(p.f.now)
	for key, fresh := range m.freshness {
		perSecond := m.hot.PerSecond(key, now)
		if perSecond < prefetchMinPerSecond {
			continue
		}
		mounts := p.wanted(fresh)
		if len(mounts) == 0 {
			continue
		}
		d := scheduler.Demand{Key: key, Platform: fresh.platform, PerSecond: perSecond}
		d.WarmSeconds, d.ColdSeconds = m.estimates.Expect(key, scopes(""), m.params)
		for _, w := range mounts {
			d.SnapshotBytes += w.bytes
		}
		p.mounts[key] = mounts
		out = append(out, d)
	}
	return out
}

// wanted are the mounts of a key's latest build that have a snapshot and are primed from it, each once.
func (p *prefetchPlan) wanted(fresh *freshness) []wantedMount {
	var out []wantedMount
	for i := range fresh.mounts {
		b := &fresh.mounts[i]
		facts := p.f.memory.mounts[b.ID]
		if facts == nil || facts.snapshotBytes == 0 || b.Sharing == "" || !isPrimed(p.f.cache, b.ID) ||
			slices.ContainsFunc(out, func(w wantedMount) bool { return w.id == b.ID }) {
			continue
		}
		out = append(out, wantedMount{b.ID, b.Sharing, facts.snapshotBytes})
	}
	return out
}

// ledger says of the wanted keys who has a copy. A daemon that holds all mounts of a key has one here although it has
// never built it, so that it is not given another. The loop's own ledger does not say so: builds still lack the rest
// there.
func (p *prefetchPlan) ledger() *scheduler.Ledger {
	m, out := p.f.memory, scheduler.NewLedger()
	for key, mounts := range p.mounts {
		for _, c := range m.ledger.Copies(key) {
			out.Restore(key, c)
		}
		for at, held := range p.where.all(mounts) {
			d := &p.f.daemons[at]
			c := scheduler.Copy{
				Daemon: p.f.daemonOf(
					d,
				), Epoch: scheduler.EpochOf(d.Status.VolumeEpoch), State: scheduler.Pending, Version: m.ledger.Version(key),
			}
			if held {
				c.State = scheduler.Confirmed
			}
			out.Restore(key, c)
		}
	}
	m.hot.Apply(out)
	return out
}

// ask turns copies into requests for what their daemons lack, the best copy first, as long as there is something in
// the budget. It stops at the first that the budget does not reach: it is saved up for, or large copies would never
// have their turn.
func (p *prefetchPlan) ask(copies []scheduler.PrimePlan) {
	left := int64(p.p.savings)
	for i := range copies {
		at := p.at[copies[i].Name]
		lacks := slices.DeleteFunc(slices.Clone(p.mounts[copies[i].Key]), func(w wantedMount) bool {
			_, known := p.where[w.id][at]
			return known
		})
		if bytesOf(lacks) > left {
			return
		}
		for _, w := range lacks {
			if !p.hasTime(p.requests[at], w.bytes) {
				break
			}
			left -= w.bytes
			p.where.note(w.id, at, false)
			p.requests[at] = append(
				p.requests[at],
				v1alpha1.PrefetchRequest{
					ID:          w.id,
					Sharing:     w.sharing,
					Bytes:       w.bytes,
					RequestedAt: metav1.NewTime(p.f.now.Truncate(time.Second)),
				},
			)
		}
	}
}

func bytesOf(mounts []wantedMount) (sum int64) {
	for _, m := range mounts {
		sum += m.bytes
	}
	return sum
}

// hasTime says whether a daemon is expected to be done with one more mount before its requests are taken back, with
// as much time to spare. A first one it always has time for.
func (p *prefetchPlan) hasTime(requests []v1alpha1.PrefetchRequest, bytes int64) bool {
	for _, r := range requests {
		bytes += r.Bytes
	}
	n := len(requests)
	took := float64(n+1)*p.params.PrimeFixedSeconds + float64(bytes)/p.params.PullBytesPerSecond
	return n == 0 || n < prefetchAtOnce && took <= prefetchLasts.Seconds()/2
}
