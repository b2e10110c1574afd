// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"cmp"
	"slices"
)

// Demand describes a key that may be worth copying ahead of need.
type Demand struct {
	Key           KeyID
	Platform      string  // of its builds; empty: any
	PerSecond     float64 // builds of the key
	WarmSeconds   float64
	ColdSeconds   float64
	SnapshotBytes int64 // size of its snapshot; 0: there is none
}

// Budget bounds a plan.
type Budget struct {
	Bytes int64 // in one plan
	// MinPerSecond is the least rate of builds for a copy ahead of need. A build without a copy primes one itself, and
	// a copy without builds is moved for nothing.
	MinPerSecond float64
	// CoolDownSeconds is how long a copy is not primed after its last use or priming, however stale it is.
	CoolDownSeconds float64
}

// PrimePlan is one copy to make in the background.
type PrimePlan struct {
	Key    KeyID
	Daemon DaemonID
	Name   string
	Bytes  int64
	// SavesPerGB is the expected saving in build seconds per hour and GB.
	SavesPerGB float64
}

// Rebalance plans background copies after the membership of a fleet changed from old to now. Each key in demand should
// have a copy on the first ready daemons of its order, as many as it has wanted replicas; those daemons that are new to
// this role are primed. The plan is empty if nothing changed. It is sorted by SavesPerGB and stays within the budget;
// to spread a large move over time, begin each planned copy in the ledger and call again with the same old view until
// the plan is empty. A daemon that comes and goes finds its copies in the ledger, so flapping primes each key at most
// once in each direction.
func Rebalance(old, now *View, demand []Demand, b Budget, p *Params) []PrimePlan {
	var wanted []PrimePlan
	for i := range demand {
		wanted = appendPlans(wanted, old, now, &demand[i], b, p)
	}
	slices.SortFunc(wanted, func(a, b PrimePlan) int {
		return cmp.Or(
			cmp.Compare(b.SavesPerGB, a.SavesPerGB),
			cmp.Compare(a.Key, b.Key),
			cmp.Compare(a.Daemon, b.Daemon),
		)
	})
	var plan []PrimePlan
	left := b.Bytes
	for _, w := range wanted {
		if w.Bytes <= left {
			left -= w.Bytes
			plan = append(plan, w)
		}
	}
	return plan
}

// minUtilisation is the least utilisation assumed for a fleet: a moment without builds says little about the next hour,
// and must not make all copies look alike.
const minUtilisation = 0.01

// appendPlans appends the copies that one key should get.
func appendPlans(plans []PrimePlan, old, now *View, d *Demand, b Budget, p *Params) []PrimePlan {
	rate := p.PullBytesPerSecond
	saved := d.ColdSeconds - d.WarmSeconds
	if d.SnapshotBytes <= 0 || d.PerSecond <= 0 || d.PerSecond < b.MinPerSecond ||
		saved <= p.PrimeFixedSeconds+float64(d.SnapshotBytes)/rate {
		return plans
	}
	replicas := 1
	if h := now.Ledger.keys.get(d.Key); h != nil {
		replicas = max(1, int(h.replicas))
	}
	before := old.firstDaemons(d, replicas)
	// the probability that no holder of the key has a free slot
	used := min(max(now.Load(), minUtilisation), 1)
	if !now.isHeldByReady(d.Key) {
		used = 1
	}
	for _, at := range now.firstDaemons(d, replicas) {
		daemon := &now.Daemons[at]
		if containsDaemon(old, before, daemon) || now.isFreshEnough(d.Key, daemon, b) {
			continue
		}
		plans = append(plans, PrimePlan{Key: d.Key, Daemon: daemon.ID, Name: daemon.Name, Bytes: d.SnapshotBytes,
			SavesPerGB: d.PerSecond * 3600 * saved * used * 1e9 / float64(d.SnapshotBytes)})
	}
	return plans
}

// firstDaemons returns the positions of the first k daemons of a key's order that take its builds.
func (v *View) firstDaemons(d *Demand, k int) []int32 {
	var r ranks
	v.ranking.top(d.Key, maxRanks, &r)
	var out []int32
	for i := range r.n {
		if daemon := &v.Daemons[r.of[i].at]; daemon.Phase == Ready && daemon.supports(d.Platform) && len(out) < k {
			out = append(out, r.of[i].at)
		}
	}
	return out
}

// containsDaemon reports whether daemon, with the same volume, is at one of the positions in v.
func containsDaemon(v *View, positions []int32, daemon *Daemon) bool {
	return slices.ContainsFunc(positions, func(at int32) bool {
		return v.Daemons[at].ID == daemon.ID && v.Daemons[at].Epoch == daemon.Epoch
	})
}

// isHeldByReady reports whether a ready daemon holds key.
func (v *View) isHeldByReady(key KeyID) bool {
	for _, c := range v.Ledger.Copies(key) {
		if at, known := v.position(c.Daemon); known && v.Daemons[at].Phase == Ready && v.Daemons[at].Epoch == c.Epoch {
			return true
		}
	}
	return false
}

// isFreshEnough reports whether daemon's copy of key is in the making, fresh enough, or in its cool-down, so that it is
// not primed again.
func (v *View) isFreshEnough(key KeyID, daemon *Daemon, b Budget) bool {
	h := v.Ledger.keys.get(key)
	if h == nil {
		return false
	}
	i, found := h.find(daemon.ID)
	if !found || h.copies[i].Epoch != daemon.Epoch {
		return false
	}
	c := &h.copies[i]
	const halfStale = 25 // versions, at the usual 2% each
	return c.State == Pending || h.version-min(c.Version, h.version) < halfStale ||
		v.NowSeconds-c.UsedAtSeconds < b.CoolDownSeconds
}
