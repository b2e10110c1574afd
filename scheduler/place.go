// SPDX-License-Identifier: Apache-2.0

package scheduler

// Place picks the daemon for r out of v, or says that waiting for one is cheaper than any that is free now. If no
// daemon can start r now, it returns the decision with its forecast and a *NoFitError that says why. It changes
// nothing and, without an error, allocates nothing.
func Place(v *View, r *Request, p *Params) (d Decision, err error) {
	place(v, r, p, &d)
	if d.Action == NoFit {
		d.Refused = refusals(v, r)
	}
	return d, d.Err()
}

// bid is an Option without its name, for comparing: it has no pointers, which makes it cheap to write.
type candidate struct {
	total     float64
	cost      Cost
	daemon    DaemonID
	at        int32
	rank      int32 // 0: beyond the ranks looked at
	mode      Mode
	prime     uint8
	startable bool // a slot and every lock are free now
	exists    bool
}

// better is the total order of bids: cost, then rank, then identity.
func (b *candidate) isBetterThan(than *candidate) bool {
	if !than.exists || b.total != than.total {
		return !than.exists || b.total < than.total
	}
	if b.rank != than.rank {
		return than.rank == 0 || b.rank != 0 && b.rank < than.rank
	}
	return b.daemon < than.daemon
}

// put writes the option that the bid stands for.
func (b *candidate) writeTo(v *View, o *Option) {
	o.Daemon, o.Name, o.At, o.Rank, o.Mode, o.Prime = b.daemon, v.Daemons[b.at].Name, b.at, b.rank, b.mode, b.prime
	to, c := &o.Cost, &b.cost
	to.WaitSeconds, to.SetupSeconds, to.ServiceSeconds = c.WaitSeconds, c.SetupSeconds, c.ServiceSeconds
	to.PriceSeconds, to.EvictSeconds, to.FutureSeconds, to.RankSeconds = c.PriceSeconds, c.EvictSeconds, c.FutureSeconds, c.RankSeconds
}

// choice collects the best bids. They are told apart by their places in slot, so that none is ever copied.
type selection struct {
	entries       [4]candidate
	run, wait     uint8 // the best that can start now, and the best that cannot
	second        uint8 // the best of all the others
	scratch       uint8 // where the next one is worked out
	readyHolders  int   // daemons seen that hold the primary key and take builds
	closedHolders int   // those that hold it and take none
	coldWithheld  bool  // a cold start was possible and not allowed
}

// start gives each role a place. The zero choice is not ready for use.
func (c *selection) reset() { c.wait, c.second, c.scratch = 1, 2, 3 }

// of is the bid in a place.
func (c *selection) get(place uint8) *candidate { return &c.entries[place&3] }

// offer takes the spare bid into account. Offering a daemon twice is harmless.
func (c *selection) add() {
	b, best := c.get(c.scratch), &c.wait
	if b.startable {
		best = &c.run
	}
	x := c.get(*best)
	if x.exists && x.daemon == b.daemon {
		return
	}
	if b.isBetterThan(x) {
		*best, c.scratch = c.scratch, *best
		b = x
	}
	if b.exists && b.isBetterThan(c.get(c.second)) {
		c.second, c.scratch = c.scratch, c.second
	}
}

// place is Place into a decision of the caller's, which must be zero, without the error value and the count of
// refusals.
func place(v *View, r *Request, p *Params, out *Decision) {
	key := r.primary()
	if v.RankCache != nil {
		if head := v.RankCache.ranks.get(key); head != nil {
			placeRanked(v, r, p, head, out)
			return
		}
	}
	var head ranks
	v.ranking.top(key, scoredRanks, &head)
	placeRanked(v, r, p, &head, out)
}

// placeAmong is place for who knows the head of the rendezvous order of r's primary key.
func placeRanked(v *View, r *Request, p *Params, head *ranks, out *Decision) {
	var w scoring
	w.prepare(v, r, p)
	out.UID, out.Load, out.Price, out.Daemons = r.UID, w.load, w.price, len(v.Daemons)
	var c selection
	c.reset()
	seen := w.considerHolders(head, &c)
	if !w.holdersSuffice(&c) {
		w.considerHead(head, seen, &c)
	}
	if !c.get(c.run).exists && v.open > 0 && !w.considerRemembered(head, &c) {
		w.considerFleet(&c)
	}
	decide(&w, &c, out)
}

// others offers the daemons at the head of the order that hold none of the keys, but for those that were seen.
func (w *scoring) considerHead(head *ranks, seen uint16, c *selection) {
	w.computeEmptyCost()
	for i := range min(head.n, scoredRanks) {
		if at := head.at[i]; seen&(1<<i) == 0 && !w.cannotWin(&w.v.Daemons[at], int32(i+1), c) {
			w.considerEmpty(at, int32(i+1), c)
		}
	}
}

// primary is the key that decides the home. A build without caches gets one of its own, so that such builds spread.
func (r *Request) primary() KeyID {
	if len(r.Keys) > 0 {
		return r.Keys[0].ID
	}
	return KeyOf("", r.UID)
}

// holders offers every daemon that holds a key of the request. It returns the ranks it dealt with as a bit set.
func (w *scoring) considerHolders(head *ranks, c *selection) (seen uint16) {
	for k := range w.keys {
		if w.isMinor(k) {
			continue
		}
		if h := w.holdings[k]; h != nil {
			for i := range h.copies {
				seen |= w.considerCopy(&h.copies[i], k, head, c)
			}
		}
		a := &w.v.assumed
		if len(a.item) == 0 {
			continue
		}
		for i := a.head[w.r.Keys[k].ID]; i != 0; i = a.item[i-1].next {
			at, rank := w.v.locate(a.item[i-1].daemon, head)
			ranks, _ := w.considerHolder(at, rank, k, w.copyOn(0, &w.v.Daemons[at]), c)
			seen |= ranks
		}
	}
	return seen
}

// holder offers the daemon of a copy of key k, if it is in the fleet with the copy's volume.
func (w *scoring) considerCopy(copied *Copy, k int, head *ranks, c *selection) (seen uint16) {
	up := false
	at, rank := w.v.locate(copied.Daemon, head)
	if at >= 0 && w.v.Daemons[at].Epoch == copied.Epoch {
		if k > 0 {
			copied = w.copyOn(0, &w.v.Daemons[at])
		}
		seen, up = w.considerHolder(at, rank, k, copied, c)
	}
	if k == 0 && w.knownHolders < maxHolders {
		if !up {
			at = -1
		}
		w.holderAt[w.knownHolders] = at
		w.knownHolders++
	}
	return seen
}

// locate is the position of a daemon, or -1 if it is not in the fleet, and its rank in head, or 0. Copies are mostly
// where the head of the order says, so that is where it looks first.
func (v *View) locate(id DaemonID, head *ranks) (at, rank int32) {
	for i := range min(head.n, scoredRanks) {
		if at = head.at[i]; v.ids[at] == id {
			return at, int32(i + 1)
		}
	}
	if at, known := v.position(id); known {
		return at, 0
	}
	return -1, 0
}

// offerHolder offers the daemon at position at as one that holds key k. first is the primary key's copy there, or nil.
func (w *scoring) considerHolder(at, rank int32, k int, first *Copy, c *selection) (seen uint16, up bool) {
	if rank > 0 {
		seen = 1 << (rank - 1)
	}
	up = w.consider(at, rank, first, c)
	if k == 0 && up {
		c.readyHolders++
	} else if k == 0 {
		c.closedHolders++
	}
	return seen, up
}

// beyond offers a daemon that is none of the holders.
func (w *scoring) considerEmpty(at, rank int32, c *selection) {
	d := &w.v.Daemons[at]
	if !w.emptyKnown || d.PullBytesPerSecond > 0 && d.PullBytesPerSecond != w.p.PullBytesPerSecond {
		w.consider(at, rank, w.copyOn(0, d), c)
	} else if w.isEligible(d) {
		b := c.get(c.scratch)
		w.scoreEmpty(at, rank, b)
		w.accept(b, c)
	}
}

// consider offers the daemon at position at if it may take the request now or later, and says whether it may. first
// is the primary key's copy there, or nil.
func (w *scoring) consider(at, rank int32, first *Copy, c *selection) bool {
	if !w.isEligible(&w.v.Daemons[at]) {
		return false
	}
	b := c.get(c.scratch)
	w.score(at, rank, first, b)
	w.accept(b, c)
	return true
}

// accept offers the spare bid, unless it is a cold start that is not allowed.
func (w *scoring) accept(b *candidate, c *selection) {
	if !w.mustStayWarm || b.mode != Cold || c.readyHolders == 0 {
		c.add()
	} else if b.startable {
		c.coldWithheld = true
	}
}

// further is anywhere within the ranks that are remembered beyond those weighed. It says whether it found one.
func (w *scoring) considerRemembered(head *ranks, c *selection) bool {
	for i := scoredRanks; i < head.n; i++ {
		d := &w.v.Daemons[head.at[i]]
		if refusal(d, w.r) == Fits && !w.isLocked(d) {
			return w.consider(head.at[i], 0, w.copyOn(0, d), c)
		}
	}
	return false
}

// anywhere offers the daemon with a free slot that comes first in the rendezvous order of the whole fleet.
func (w *scoring) considerFleet(c *selection) {
	key := w.r.primary()
	best, bestAt := ranked{}, int32(-1)
	weighted := len(w.v.ranking.classes) > 1
	for i := range w.v.Daemons {
		d := &w.v.Daemons[i]
		if d.freeSlots() <= 0 || !w.isEligible(d) {
			continue
		}
		x := ranked{affinity: affinity(key, d.ID), id: d.ID}
		if weighted {
			x.score = weightedScore(x.affinity, d.Weight)
		}
		if bestAt >= 0 && !x.before(&best) || w.isLocked(d) {
			continue
		}
		best, bestAt = x, int32(i)
	}
	if bestAt >= 0 {
		w.consider(bestAt, 0, w.copyOn(0, &w.v.Daemons[bestAt]), c)
	}
}

// locked reports whether a key of the request keeps it from starting on d, whatever slots are free.
func (w *scoring) isLocked(d *Daemon) bool {
	for k := range w.keys {
		if w.residencyOf(k, d, w.copyOn(k, d)).readySeconds > 0 {
			return true
		}
	}
	return false
}

// conclude turns the best bids into the decision.
func decide(w *scoring, c *selection, out *Decision) {
	run, wait, second := c.get(c.run), c.get(c.wait), c.get(c.second)
	chosen, other := wait, run
	switch {
	case !run.exists:
		out.Action, out.Reason = NoFit, NoDaemonFits
		if wait.exists && (w.v.Daemons[wait.at].freeSlots() > 0 || c.coldWithheld) {
			out.Action, out.Reason = Wait, WaitsForWarmDaemon // for a lock rather than a slot, or by being overdue
		}
	case wait.exists && wait.isBetterThan(run):
		out.Action, out.Reason = Wait, WaitsForWarmDaemon
	default:
		out.Action, out.Reason = Run, reasonFor(w, c, run)
		chosen, other = run, wait
	}
	if other.exists && other.isBetterThan(second) {
		second = other
	}
	if chosen.exists {
		chosen.writeTo(w.v, &out.Chosen)
	}
	if second.exists {
		second.writeTo(w.v, &out.RunnerUp)
	}
}

// why names the reason for running as bid.
func reasonFor(w *scoring, c *selection, run *candidate) Reason {
	switch {
	case w.keys == 0:
		return NoCaches
	case run.mode == Warm:
		return WarmDaemon
	case c.readyHolders > 0 && w.replicaWanted:
		return NewReplica
	case c.readyHolders > 0:
		return Spilled
	case c.closedHolders > 0:
		return HolderDown
	case run.rank == 1:
		return HomeDaemon
	default:
		return NextInRank
	}
}

// refusals counts why each daemon cannot start r now. Only called when none can.
func refusals(v *View, r *Request) Refusals {
	var counts Refusals
	for i := range v.Daemons {
		if why := refusal(&v.Daemons[i], r); why != Fits {
			counts[why]++
		}
	}
	return counts
}
