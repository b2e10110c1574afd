// SPDX-License-Identifier: Apache-2.0

package scheduler

// Place picks the daemon for r out of v, or says that waiting for one is cheaper than any that is free now. If no daemon can start r now, it
// returns the decision with its forecast and a *NoFitError that says why. It changes nothing and, without an error, allocates nothing.
func Place(v *View, r *Request, p *Params) (Decision, error) {
	var d Decision
	place(v, r, p, &d)
	if d.Action == NoFit {
		d.Refused = refusals(v, r)
	}
	return d, d.Err()
}

// bid is an Option in short, for comparing.
type bid struct {
	total     float64
	daemon    DaemonID
	at        int32
	rank      int32 // 0: beyond the ranks looked at
	mode      Mode
	startable bool // a slot and every lock are free now
	exists    bool
}

// better is the total order of bids: cost, then rank, then identity.
func (b *bid) better(than *bid) bool {
	if !than.exists || b.total != than.total {
		return !than.exists || b.total < than.total
	}
	if b.rank != than.rank {
		return than.rank == 0 || b.rank != 0 && b.rank < than.rank
	}
	return b.daemon < than.daemon
}

// choice collects the best bids.
type choice struct {
	run, wait bid  // the best that can start now, and the best that cannot
	second    bid  // the best of all the others
	holders   int  // daemons seen that hold the primary key and take builds
	down      int  // those that hold it and take none
	held      bool // a cold start was possible and not allowed
}

// offer takes one bid into account. Offering a daemon twice is harmless.
func (c *choice) offer(b *bid) {
	best := &c.wait
	if b.startable {
		best = &c.run
	}
	switch {
	case best.exists && best.daemon == b.daemon:
	case b.better(best):
		c.pass(best)
		*best = *b
	default:
		c.pass(b)
	}
}

// pass makes b the runner-up if it beats the present one.
func (c *choice) pass(b *bid) {
	if b.exists && b.better(&c.second) {
		c.second = *b
	}
}

// place is Place into a decision of the caller's, without the error value and the count of refusals.
func place(v *View, r *Request, p *Params, out *Decision) {
	var w weighing
	w.weigh(v, r, p)
	*out = Decision{UID: r.UID, Load: w.load, Price: w.price, Daemons: len(v.Daemons)}
	var order ranks
	head := v.order(r, &order)
	var c choice
	seen := w.holders(head, &c)
	w.bareCost()
	for i := range min(head.n, weighedRanks) {
		if at := head.of[i].at; seen&(1<<i) == 0 && !w.hopeless(&v.Daemons[at], int32(i+1), &c) {
			w.consider(at, int32(i+1), &c)
		}
	}
	if !c.run.exists && v.open > 0 && !w.further(head, &c) {
		w.anywhere(&c)
	}
	conclude(&w, &c, out)
}

// order is the head of the rendezvous order of r's primary key: remembered, or worked out into scratch.
func (v *View) order(r *Request, scratch *ranks) *ranks {
	key := r.primary()
	if v.Candidates != nil {
		if known := v.Candidates.of[key]; known != nil {
			return known
		}
	}
	v.ranking.top(key, weighedRanks, scratch)
	return scratch
}

// primary is the key that decides the home. A build without caches gets one of its own, so that such builds spread.
func (r *Request) primary() KeyID {
	if len(r.Keys) > 0 {
		return r.Keys[0].ID
	}
	return KeyOf("", r.UID)
}

// holders offers every daemon that holds a key of the request. It returns the ranks it dealt with as a bit set.
func (w *weighing) holders(head *ranks, c *choice) (seen uint16) {
	for k := range w.keys {
		if w.small(k) {
			continue
		}
		if h := w.held[k]; h != nil {
			for i := range h.copies {
				seen |= w.holder(&h.copies[i], k, head, c)
			}
		}
		a := &w.v.assumed
		if len(a.item) == 0 {
			continue
		}
		for i := a.head[w.r.Keys[k].ID]; i != 0; i = a.item[i-1].next {
			seen |= w.offerHolder(w.v.must(a.item[i-1].daemon), k, head, c)
		}
	}
	return seen
}

// holder offers the daemon of a copy of key k, if it is in the fleet with the copy's volume.
func (w *weighing) holder(copied *Copy, k int, head *ranks, c *choice) (seen uint16) {
	at, known := w.v.position(copied.Daemon)
	if !known || w.v.Daemons[at].Epoch != copied.Epoch {
		return 0
	}
	return w.offerHolder(at, k, head, c)
}

// offerHolder offers the daemon at position at as one that holds key k.
func (w *weighing) offerHolder(at int32, k int, head *ranks, c *choice) (seen uint16) {
	rank := int32(0)
	for i := range min(head.n, weighedRanks) {
		if head.of[i].at == at {
			rank, seen = int32(i+1), 1<<i
			break
		}
	}
	if up := w.consider(at, rank, c); k == 0 && up {
		c.holders++
	} else if k == 0 {
		c.down++
	}
	return seen
}

// consider offers the daemon at position at if it may take the request now or later, and says whether it may.
func (w *weighing) consider(at, rank int32, c *choice) bool {
	if standing(&w.v.Daemons[at], w.r) != Fits {
		return false
	}
	var o Option
	w.option(at, rank, &o)
	b := bid{total: o.Cost.Total(), daemon: o.Daemon, at: at, rank: rank, mode: o.Mode, startable: o.Cost.WaitSeconds <= 0, exists: true}
	if w.stay && b.mode == Cold && c.holders > 0 {
		c.held = c.held || b.startable
		return true
	}
	c.offer(&b)
	return true
}

// further is anywhere within the ranks that are remembered beyond those weighed. It says whether it found one.
func (w *weighing) further(head *ranks, c *choice) bool {
	for i := weighedRanks; i < head.n; i++ {
		d := &w.v.Daemons[head.of[i].at]
		if refusal(d, w.r) == Fits && !w.locked(d) {
			return w.consider(head.of[i].at, 0, c)
		}
	}
	return false
}

// anywhere offers the daemon with a free slot that comes first in the rendezvous order of the whole fleet.
func (w *weighing) anywhere(c *choice) {
	key := w.r.primary()
	best, bestAt := ranked{}, int32(-1)
	weighted := len(w.v.ranking.classes) > 1
	for i := range w.v.Daemons {
		d := &w.v.Daemons[i]
		if d.free() <= 0 || standing(d, w.r) != Fits {
			continue
		}
		x := ranked{affinity: affinity(key, d.ID), id: d.ID}
		if weighted {
			x.score = score(x.affinity, d.Weight)
		}
		if bestAt >= 0 && !x.before(&best) || w.locked(d) {
			continue
		}
		best, bestAt = x, int32(i)
	}
	if bestAt >= 0 {
		w.consider(bestAt, 0, c)
	}
}

// locked reports whether a key of the request keeps it from starting on d, whatever slots are free.
func (w *weighing) locked(d *Daemon) bool {
	for k := range w.keys {
		if w.find(k, d).readySeconds > 0 {
			return true
		}
	}
	return false
}

// conclude turns the best bids into the decision.
func conclude(w *weighing, c *choice, out *Decision) {
	chosen := c.wait
	switch {
	case !c.run.exists:
		out.Action, out.Why = NoFit, NoDaemonFits
		if c.wait.exists && (w.v.Daemons[c.wait.at].free() > 0 || c.held) {
			out.Action, out.Why = Wait, WaitsForWarmDaemon // for a lock rather than a slot, or by being overdue
		}
	case c.wait.exists && c.wait.better(&c.run):
		out.Action, out.Why = Wait, WaitsForWarmDaemon
		c.pass(&c.run)
	default:
		out.Action, out.Why, chosen = Run, why(w, c), c.run
		c.pass(&c.wait)
	}
	if chosen.exists {
		w.option(chosen.at, chosen.rank, &out.Chosen)
	}
	if c.second.exists {
		w.option(c.second.at, c.second.rank, &out.RunnerUp)
	}
}

// why names the reason for running on c.run.
func why(w *weighing, c *choice) Why {
	switch {
	case w.keys == 0:
		return NoCaches
	case c.run.mode == Warm:
		return WarmDaemon
	case c.holders > 0 && w.waived:
		return NewReplica
	case c.holders > 0:
		return Spilled
	case c.down > 0:
		return HolderDown
	case c.run.rank == 1:
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
