// SPDX-License-Identifier: Apache-2.0

package scheduler

// Place picks the daemon to run r on, or the daemon to wait for if waiting is cheaper than every daemon that is free
// now. If no daemon can start r now, it returns the decision with its forecast and a *NoFitError. It changes nothing
// and, without an error, allocates nothing.
func Place(v *View, r *Request, p *Params) (d Decision, err error) {
	place(v, r, p, &d)
	if d.Action == NoFit {
		d.Refused = refusals(v, r)
	}
	return d, d.Err()
}

// candidate is an Option without its name, for comparing: without pointers it is cheap to write.
type candidate struct {
	total     float64
	cost      Cost
	daemon    DaemonID
	at        int32
	rank      int32 // 0: not within scoredRanks
	mode      Mode
	prime     uint8
	startable bool // a slot and every lock are free now
	exists    bool
}

// isBetterThan reports whether b comes before than in the total order of candidates: cost, then rank, then identity.
func (b *candidate) isBetterThan(than *candidate) bool {
	if !than.exists || b.total != than.total {
		return !than.exists || b.total < than.total
	}
	if b.rank != than.rank {
		return than.rank == 0 || b.rank != 0 && b.rank < than.rank
	}
	return b.daemon < than.daemon
}

// writeTo writes the candidate as an Option.
func (b *candidate) writeTo(v *View, o *Option) {
	o.Daemon, o.Name, o.At, o.Rank, o.Mode, o.Prime = b.daemon, v.Daemons[b.at].Name, b.at, b.rank, b.mode, b.prime
	to, c := &o.Cost, &b.cost
	to.WaitSeconds, to.SetupSeconds, to.ServiceSeconds = c.WaitSeconds, c.SetupSeconds, c.ServiceSeconds
	to.PriceSeconds, to.EvictSeconds = c.PriceSeconds, c.EvictSeconds
	to.FutureSeconds, to.RankSeconds = c.FutureSeconds, c.RankSeconds
}

// selection keeps the best candidates. Roles are indexes into entries, so that no candidate is copied.
type selection struct {
	entries       [4]candidate
	run, wait     uint8 // the best startable candidate, and the best of the rest
	second        uint8 // the best of all others
	scratch       uint8 // where the next candidate is computed
	readyHolders  int   // eligible Ready daemons that hold the primary key
	closedHolders int   // other holders
	coldWithheld  bool  // a cold start was possible but not allowed
}

// reset assigns the roles their entries. The zero selection is not ready for use.
func (c *selection) reset() { c.wait, c.second, c.scratch = 1, 2, 3 }

// get returns the candidate of a role.
func (c *selection) get(role uint8) *candidate { return &c.entries[role&3] }

// add takes the scratch candidate into account. Adding a daemon twice is harmless.
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

// place is Place into a decision of the caller, which must be zero, without the error and the count of refusals.
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

// placeRanked is place for a caller that has the head of the primary key's rendezvous order.
func placeRanked(v *View, r *Request, p *Params, head *ranks, out *Decision) {
	var s scoring
	s.prepare(v, r, p)
	out.UID, out.Load, out.Price, out.Daemons = r.UID, s.load, s.price, len(v.Daemons)
	var c selection
	c.reset()
	seen := s.considerHolders(head, &c)
	if !s.holdersSuffice(&c) {
		s.considerHead(head, seen, &c)
	}
	if !c.get(c.run).exists && v.open > 0 && !s.considerRemembered(head, &c) {
		s.considerFleet(&c)
	}
	if wait := c.get(c.wait); !c.get(c.run).exists && wait.exists && v.Daemons[wait.at].Phase != Ready {
		s.considerFull(&c)
	}
	decide(&s, &c, out)
}

// considerHead considers the daemons at the head of the order, except those in the bit set seen.
func (s *scoring) considerHead(head *ranks, seen uint16, c *selection) {
	s.computeEmptyCost()
	for i := range min(head.n, scoredRanks) {
		if at := head.at[i]; seen&(1<<i) == 0 && !s.cannotWin(&s.v.Daemons[at], int32(i+1), c) {
			s.considerEmpty(at, int32(i+1), c)
		}
	}
}

// primary returns the key that decides the home. A build without caches gets a key of its own, so that such builds
// spread.
func (r *Request) primary() KeyID {
	if len(r.Keys) > 0 {
		return r.Keys[0].ID
	}
	return KeyOf("", r.UID)
}

// considerHolders considers every daemon that holds a key of the request and returns their ranks as a bit set.
func (s *scoring) considerHolders(head *ranks, c *selection) (seen uint16) {
	for k := range s.keys {
		if s.isMinor(k) {
			continue
		}
		if h := s.holdings[k]; h != nil {
			for i := range h.copies {
				seen |= s.considerCopy(&h.copies[i], k, head, c)
			}
		}
		a := &s.v.assumed
		if len(a.item) == 0 {
			continue
		}
		for i := a.head[s.r.Keys[k].ID]; i != 0; i = a.item[i-1].next {
			at, rank := s.v.locate(a.item[i-1].daemon, head)
			ranks, _ := s.considerHolder(at, rank, k, s.copyOn(0, &s.v.Daemons[at]), c)
			seen |= ranks
		}
	}
	return seen
}

// considerCopy considers the daemon of a copy of key k, if it is in the fleet with the copy's volume.
func (s *scoring) considerCopy(copied *Copy, k int, head *ranks, c *selection) (seen uint16) {
	up := false
	at, rank := s.v.locate(copied.Daemon, head)
	if at >= 0 && s.v.Daemons[at].Epoch == copied.Epoch {
		if k > 0 {
			copied = s.copyOn(0, &s.v.Daemons[at])
		}
		seen, up = s.considerHolder(at, rank, k, copied, c)
	}
	if k == 0 && s.knownHolders < maxHolders {
		if !up {
			at = -1
		}
		s.holderAt[s.knownHolders] = at
		s.knownHolders++
	}
	return seen
}

// locate returns the position of a daemon, or -1 if it is not in the fleet, and its rank in head, or 0. It searches
// head first, where most copies are.
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

// considerHolder considers the daemon at position at, which holds key k, and reports whether it is eligible. first is
// the primary key's copy there, or nil.
func (s *scoring) considerHolder(at, rank int32, k int, first *Copy, c *selection) (seen uint16, up bool) {
	if rank > 0 {
		seen = 1 << (rank - 1)
	}
	up = s.consider(at, rank, first, c)
	if k == 0 && up && s.v.Daemons[at].Phase == Ready {
		c.readyHolders++
	} else if k == 0 {
		c.closedHolders++
	}
	return seen, up
}

// considerEmpty considers a daemon that holds none of the keys.
func (s *scoring) considerEmpty(at, rank int32, c *selection) {
	d := &s.v.Daemons[at]
	if !s.emptyKnown || d.PullBytesPerSecond > 0 && d.PullBytesPerSecond != s.p.PullBytesPerSecond {
		s.consider(at, rank, s.copyOn(0, d), c)
	} else if s.isEligible(d) {
		b := c.get(c.scratch)
		s.scoreEmpty(at, rank, b)
		s.accept(b, c)
	}
}

// consider scores the daemon at position at if it is eligible, and reports whether it is. first is the primary key's
// copy there, or nil.
func (s *scoring) consider(at, rank int32, first *Copy, c *selection) bool {
	if !s.isEligible(&s.v.Daemons[at]) {
		return false
	}
	b := c.get(c.scratch)
	s.score(at, rank, first, b)
	s.accept(b, c)
	return true
}

// accept adds the scratch candidate, unless it is a cold start that is not allowed.
func (s *scoring) accept(b *candidate, c *selection) {
	if !s.mustStayWarm || b.mode != Cold || c.readyHolders == 0 {
		c.add()
	} else if b.startable {
		c.coldWithheld = true
	}
}

// considerRemembered considers the first daemon with a free slot among the remembered ranks beyond scoredRanks, and
// reports whether it found one.
func (s *scoring) considerRemembered(head *ranks, c *selection) bool {
	for i := scoredRanks; i < head.n; i++ {
		d := &s.v.Daemons[head.at[i]]
		if refusal(d, s.r) == Fits && !s.isLocked(d) {
			return s.consider(head.at[i], 0, s.copyOn(0, d), c)
		}
	}
	return false
}

// considerFull considers all daemons although they are full: the next slot there may come before the end of a restart.
func (s *scoring) considerFull(c *selection) {
	for i := range s.v.Daemons {
		if d := &s.v.Daemons[i]; d.Phase == Ready {
			s.consider(int32(i), 0, s.copyOn(0, d), c)
		}
	}
}

// considerFleet considers the first daemon with a free slot in the rendezvous order of the whole fleet.
func (s *scoring) considerFleet(c *selection) {
	key := s.r.primary()
	best, bestAt := ranked{}, int32(-1)
	weighted := len(s.v.ranking.classes) > 1
	for i := range s.v.Daemons {
		d := &s.v.Daemons[i]
		if d.Phase != Ready || d.freeSlots() <= 0 || !s.isEligible(d) {
			continue
		}
		x := ranked{affinity: affinity(key, d.ID), id: d.ID}
		if weighted {
			x.score = weightedScore(x.affinity, d.Weight)
		}
		if bestAt >= 0 && !x.before(&best) || s.isLocked(d) {
			continue
		}
		best, bestAt = x, int32(i)
	}
	if bestAt >= 0 {
		s.consider(bestAt, 0, s.copyOn(0, &s.v.Daemons[bestAt]), c)
	}
}

// isLocked reports whether a key in use on d keeps the request from starting there, whatever slots are free.
func (s *scoring) isLocked(d *Daemon) bool {
	for k := range s.keys {
		if s.residencyOf(k, d, s.copyOn(k, d)).readySeconds > 0 {
			return true
		}
	}
	return false
}

// decide turns the best candidates into the decision.
func decide(s *scoring, c *selection, out *Decision) {
	run, wait, second := c.get(c.run), c.get(c.wait), c.get(c.second)
	chosen, other := wait, run
	switch {
	case !run.exists:
		out.Action, out.Reason = NoFit, NoDaemonFits
		if wait.exists && (c.coldWithheld || s.hasFreeSlots(wait)) {
			// because a cold start is not allowed, or for a restart or a lock instead of a slot
			out.Action, out.Reason = Wait, s.waitReason(wait)
		}
	case wait.exists && wait.isBetterThan(run) && !s.hasWaitedEnough(run, wait):
		out.Action, out.Reason = Wait, s.waitReason(wait)
	default:
		out.Action, out.Reason = Run, reasonFor(s, c, run)
		chosen, other = run, wait
	}
	if other.exists && other.isBetterThan(second) {
		second = other
	}
	if chosen.exists {
		chosen.writeTo(s.v, &out.Chosen)
	}
	if second.exists {
		second.writeTo(s.v, &out.RunnerUp)
	}
}

// hasWaitedEnough reports whether the request must take run rather than wait on: its whole wait would exceed WaitFactor
// times what run costs more than wait without the wait. A build that waits because that is cheaper, again and again,
// would otherwise wait without end. From StayLoad on there is no such bound: builds that run elsewhere then make others
// wait.
func (s *scoring) hasWaitedEnough(run, wait *candidate) bool {
	if s.load >= s.p.StayLoad {
		return false
	}
	extra := run.total - (wait.total - wait.cost.WaitSeconds)
	return s.r.AgeSeconds+wait.cost.WaitSeconds > s.p.WaitFactor*max(extra, 0)
}

// hasFreeSlots reports whether it is not for the daemon's running builds that the candidate can't start.
func (s *scoring) hasFreeSlots(wait *candidate) bool {
	d := &s.v.Daemons[wait.at]
	return d.Phase != Ready || d.freeSlots() > 0
}

// waitReason returns the reason for waiting for the candidate.
func (s *scoring) waitReason(wait *candidate) Reason {
	if s.v.Daemons[wait.at].Phase != Ready {
		return WaitsForRestart
	}
	return WaitsForWarmDaemon
}

// reasonFor returns the reason for running as the candidate.
func reasonFor(s *scoring, c *selection, run *candidate) Reason {
	switch {
	case s.keys == 0:
		return NoCaches
	case run.mode == Warm:
		return WarmDaemon
	case c.readyHolders > 0 && s.replicaWanted:
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

// refusals counts the daemons that cannot start r now, by reason.
func refusals(v *View, r *Request) Refusals {
	var counts Refusals
	for i := range v.Daemons {
		if reason := refusal(&v.Daemons[i], r); reason != Fits {
			counts[reason]++
		}
	}
	return counts
}
