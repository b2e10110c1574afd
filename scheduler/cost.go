// SPDX-License-Identifier: Apache-2.0

package scheduler

// maxKeys is how many keys of a request are scored. Further keys rarely have enough of the gain to change a decision.
const maxKeys = 8

// scoring holds what is needed to score one request against one view and does not depend on the daemon.
type scoring struct {
	v *View
	r *Request
	p *Params

	warm, cold    float64 // seconds
	price         float64 // of a slot-second
	load          float64
	noAssumptions bool // this cycle has placed nothing yet
	constrained   bool // the request has a platform or daemons to avoid
	mustStayWarm  bool // overdue: not cold while a ready daemon holds its caches
	replicaWanted bool // the primary key has fewer copies than wanted, so making one costs no price
	keys          int
	gain          [maxKeys]float64 // seconds each key saves; sums to cold-warm
	holdings      [maxKeys]*holding
	knownHolders  int               // copies of the primary key that were considered
	holderAt      [maxHolders]int32 // positions of their daemons, -1 for one that is not eligible
	forecast      forecast
	emptyKnown    bool // empty is computed
	empty         emptyCost
}

// emptyCost is the cost of running the request on a daemon that holds none of its keys and pulls at Params' rate,
// without the parts that depend on the daemon's load and volume.
type emptyCost struct {
	setup, service, price float64
	newBytes              int64
	mode                  Mode
	prime                 uint8
}

// prepare computes everything that does not depend on the daemon.
func (s *scoring) prepare(v *View, r *Request, p *Params) {
	s.v, s.r, s.p = v, r, p
	s.noAssumptions = len(v.assumed.item) == 0
	s.constrained = r.Platform != "" || len(r.FailedOn) > 0 || r.Alone
	s.warm, s.cold = r.expected(p)
	s.load = v.Load()
	s.price = p.price(s.load)
	s.mustStayWarm = s.load >= p.StayLoad && p.overdue(r)
	s.keys = min(len(r.Keys), maxKeys)
	for k := range s.keys {
		s.holdings[k] = v.Ledger.keys.get(r.Keys[k].ID)
	}
	if s.keys == 1 {
		s.gain[0] = s.cold - s.warm
	} else {
		s.splitGain()
	}
	if s.keys > 0 && s.holdings[0] != nil {
		wanted := s.holdings[0].replicas
		s.replicaWanted = wanted > 1 && s.eligibleCopies() < wanted
	}
}

// splitGain divides the seconds that a warm build saves among the keys.
func (s *scoring) splitGain() {
	saved := s.cold - s.warm
	sum := 0.0
	for k := range s.keys {
		sum += max(s.r.Keys[k].Gain, 0)
	}
	for k := range s.keys {
		part := 1 / float64(s.keys)
		if sum > 0 {
			part = max(s.r.Keys[k].Gain, 0) / sum
		}
		s.gain[k] = part * saved
	}
}

// computeEmptyCost sets empty. Call it after all holders were considered. It leaves emptyKnown false if a key is minor:
// holders of minor keys are not considered, so a daemon not considered yet may hold one.
func (s *scoring) computeEmptyCost() {
	if s.keys == 0 {
		return
	}
	none := Daemon{}
	b := &s.empty
	for k := range s.keys {
		if s.isMinor(k) {
			return
		}
		setup, service, price, primed := s.missingCost(k, residency{}, &none)
		b.setup += setup
		b.service += service
		b.price += price
		if primed {
			b.prime |= 1 << k
		}
		b.newBytes += s.r.Keys[k].Bytes
	}
	if b.prime&1 != 0 {
		b.mode = Primed
	}
	b.service += s.warm
	extra := b.setup + b.service - s.warm
	if !s.replicaWanted {
		b.price += s.price * extra
	}
	s.emptyKnown = true
}

// isMinor reports whether key k has less than 5 % of the gain. Daemons are not considered for holding a minor key, but
// it counts towards the score of those considered for other reasons.
func (s *scoring) isMinor(k int) bool { return s.gain[k] < 0.05*(s.cold-s.warm) }

// holdersSuffice reports whether no daemon without the key can win or be runner-up: it would have to redo or prime the
// key's work, and later builds pay for at most maxFutureShare of that.
func (s *scoring) holdersSuffice(c *selection) bool {
	if s.keys != 1 {
		return false
	}
	least := s.gain[0]
	if s.p.PrimeFixedSeconds < least {
		least = s.p.PrimeFixedSeconds
	}
	bound := s.warm + (1-maxFutureShare)*least
	run, second := c.get(c.run), c.get(c.second)
	return run.exists && second.exists && second.total < bound && run.total < bound
}

// cannotWin reports whether a daemon of this rank without any of the keys can be neither chosen nor runner-up, so that
// it need not be scored.
func (s *scoring) cannotWin(d *Daemon, rank int32, c *selection) bool {
	run, second := c.get(c.run), c.get(c.second)
	if !s.emptyKnown || d.PullBytesPerSecond > s.p.PullBytesPerSecond || !run.exists || !second.exists {
		return false
	}
	bound := run.total
	if second.total > bound { // max also handles NaN, which takes as long as the rest
		bound = second.total
	}
	b := &s.empty
	cost := b.setup + b.service + b.price
	ranked := cost + s.p.RankSeconds*float64(rank-1)
	if ranked <= bound {
		return false
	}
	most := maxFutureShare * (cost - s.warm)
	return ranked-most > bound || ranked-s.maxFutureGain(most) > bound
}

// isEligible reports whether d may run the request now or later: lastingRefusal is Fits, or will be when d has
// restarted.
func (s *scoring) isEligible(d *Daemon) bool {
	if d.Phase == Ready {
		return !s.constrained && d.KeptFor == "" || requestRefusal(d, s.r) == Fits
	}
	return d.isReturning(s.v.NowSeconds, s.p) && requestRefusal(d, s.r) == Fits
}

// eligibleHolder returns the position of the copy's daemon, and whether that daemon still has the copy's volume and is
// eligible.
func (s *scoring) eligibleHolder(c *Copy) (at int32, eligible bool) {
	at, known := s.v.position(c.Daemon)
	return at, known && s.v.Daemons[at].Epoch == c.Epoch && s.isEligible(&s.v.Daemons[at])
}

// primaryHolder is eligibleHolder for the primary key's i-th copy, from holderAt where it was considered already.
func (s *scoring) primaryHolder(i int) (at int32, eligible bool) {
	if i < s.knownHolders {
		return s.holderAt[i], s.holderAt[i] >= 0
	}
	return s.eligibleHolder(&s.holdings[0].copies[i])
}

// eligibleCopies counts the primary key's copies on eligible daemons, copies in the making included.
func (s *scoring) eligibleCopies() int32 {
	n := int32(0)
	for i := range s.holdings[0].copies {
		if _, eligible := s.eligibleHolder(&s.holdings[0].copies[i]); eligible {
			n++
		}
	}
	a := &s.v.assumed
	if len(a.item) == 0 {
		return n
	}
	for i := a.head[s.r.Keys[0].ID]; i != 0; i = a.item[i-1].next {
		if _, known := s.holdings[0].find(a.item[i-1].daemon); !known {
			n++ // may count a daemon twice: errs towards fewer copies
		}
	}
	return n
}

// residency is what a build finds of one key on one daemon.
type residency struct {
	fresh        float64 // part of the gain, 0..1
	readySeconds float64 // until the key can be used at that freshness
	present      bool    // a copy takes up space there already
	complete     bool    // the copy is finished, so that an update moves only the difference
}

// isHeldElsewhere reports whether an eligible daemon other than d has a copy of key k or is making one.
func (s *scoring) isHeldElsewhere(k int, d *Daemon) bool {
	if h := s.holdings[k]; h != nil {
		for i := range h.copies {
			if _, eligible := s.eligibleHolder(&h.copies[i]); eligible && h.copies[i].Daemon != d.ID {
				return true
			}
		}
	}
	a := &s.v.assumed
	if len(a.item) == 0 {
		return false
	}
	for i := a.head[s.r.Keys[k].ID]; i != 0; i = a.item[i-1].next {
		if a.item[i-1].daemon != d.ID {
			return true
		}
	}
	return false
}

// copyOn returns the copy of key k on d, or nil.
func (s *scoring) copyOn(k int, d *Daemon) *Copy {
	if h := s.holdings[k]; h != nil {
		if i, ok := h.find(d.ID); ok && h.copies[i].Epoch == d.Epoch {
			return &h.copies[i]
		}
	}
	return nil
}

// residencyOf returns what a build finds of key k on d. c is the copy on d, or nil.
func (s *scoring) residencyOf(k int, d *Daemon, c *Copy) residency {
	if c != nil && c.Users == 0 && c.State == Confirmed && s.noAssumptions && c.Version == s.holdings[k].version {
		return residency{fresh: 1, present: true, complete: true}
	}
	return s.residencyInUse(k, d, c)
}

// residencyInUse is residencyOf for a copy that is stale, in use or missing.
func (s *scoring) residencyInUse(k int, d *Daemon, c *Copy) residency {
	use := &s.r.Keys[k]
	endsAt, users := s.v.assumed.lookup(use.ID, d.ID)
	if c == nil && users == 0 {
		return residency{}
	}
	f := residency{present: true}
	pending := true
	if c != nil {
		users += c.Users
		endsAt = max(endsAt, c.ReleaseAtSeconds)
		pending = c.State == Pending
		f.complete = !pending
		f.fresh = s.freshness(k, c)
	}
	if users == 0 {
		return f
	}
	release := max(endsAt-s.v.NowSeconds, s.p.OverdueShare*s.warm)
	switch {
	case use.Sharing == Private:
		f.fresh = 0
	case use.Sharing == Locked:
		f.readySeconds = release
		if pending {
			f.fresh = 1
		}
	case pending && s.p.JoinLoses*(1+s.price) < 1:
		f.fresh = 1 - min(s.p.JoinLoses*release/max(s.gain[k], 1e-9), 1)
	case pending && release < s.gain[k]*(1+s.price):
		f.readySeconds, f.fresh = release, 1 // single flight: let the first build make it
	}
	return f
}

// freshness returns the part of the gain that copy c of key k gives, 0..1:
//
//	max(0, 1 - StalePerVersion × versions behind)
func (s *scoring) freshness(k int, c *Copy) float64 {
	newest := s.holdings[k].version
	switch {
	case c.State == Pending:
		return 0
	case c.Version < newest:
		return max(0, 1-s.p.StalePerVersion*float64(newest-c.Version))
	}
	return 1
}

// score writes the best way of running the request on the eligible daemon at position at into b. first is the primary
// key's copy there, or nil; copies of other keys are looked up.
func (s *scoring) score(at, rank int32, first *Copy, b *candidate) {
	d := &s.v.Daemons[at]
	wait := d.slotWait(s.v.NowSeconds, s.p)
	setup, service, price := 0.0, s.warm, 0.0
	var newBytes int64
	if s.keys == 0 {
		service = s.cold
	}
	b.mode, b.prime = Cold, 0
	primaryPresent := false
	for k := range s.keys {
		c := first
		if k > 0 {
			c = s.copyOn(k, d)
		}
		f := s.residencyOf(k, d, c)
		if f.readySeconds > wait {
			wait = f.readySeconds
		}
		if k == 0 {
			primaryPresent = f.present
			if f.fresh > 0 {
				b.mode = Warm
			}
		}
		if f.fresh < 1 {
			fetch, more, pulls, primed := s.missingCost(k, f, d)
			setup += fetch
			service += more
			price += pulls
			if primed {
				b.prime |= 1 << k
				if k == 0 {
					b.mode = Primed
				}
			}
		}
		if !f.present {
			newBytes += s.r.Keys[k].Bytes
		}
	}
	if !s.replicaWanted || primaryPresent {
		price += s.price * (setup + service - s.warm)
	}
	s.total(at, rank, wait, setup, service, price, newBytes, b)
}

// scoreEmpty is score for a daemon that holds none of the keys and pulls at Params' rate.
func (s *scoring) scoreEmpty(at, rank int32, b *candidate) {
	x := &s.empty
	b.mode, b.prime = x.mode, x.prime
	s.total(at, rank, s.v.Daemons[at].slotWait(s.v.NowSeconds, s.p), x.setup, x.service, x.price, x.newBytes, b)
}

// total adds the parts of the cost that depend on the daemon's load and volume, and the sum.
func (s *scoring) total(at, rank int32, wait, setup, service, price float64, newBytes int64, b *candidate) {
	d := &s.v.Daemons[at]
	evict, future := 0.0, 0.0
	if over := newBytes - d.FreeBytes; over > 0 && newBytes > 0 {
		evict = float64(over) / 1e9 * d.EvictSecondsPerGB
	}
	if most := maxFutureShare * (setup + service - s.warm + price + evict); most > 0 && s.keys > 0 {
		future = s.futureSeconds(at, d, most)
	}
	ranked := s.p.RankSeconds * scoredRanks
	if rank > 0 {
		ranked = s.p.RankSeconds * float64(rank-1)
	}
	// assigned by field: copying a Cost takes longer than computing it
	c := &b.cost
	c.WaitSeconds, c.SetupSeconds, c.ServiceSeconds = wait, setup, service
	c.PriceSeconds, c.EvictSeconds, c.FutureSeconds, c.RankSeconds = price, evict, future, ranked
	b.total = wait + setup + service + price + evict + future + ranked
	b.daemon, b.at, b.rank, b.startable, b.exists = d.ID, at, rank, wait <= 0, true
}

// missingCost returns what key k adds to set-up, service and price in seconds, given its residency r on d. The missing
// part is redone or primed, whichever takes less time; priming must also be worth the price of its bytes. Updating a
// finished copy moves RefreshSpread × the missing part of the bytes, and at most all.
func (s *scoring) missingCost(k int, f residency, d *Daemon) (setup, service, price float64, primed bool) {
	use := &s.r.Keys[k]
	missing := s.gain[k] * (1 - f.fresh)
	if use.SnapshotBytes <= 0 || use.SnapshotFresh <= f.fresh {
		return 0, missing, 0, false
	}
	bytes := float64(use.SnapshotBytes)
	if f.complete {
		bytes *= min(s.p.RefreshSpread*(use.SnapshotFresh-f.fresh), 1)
	}
	rate := d.PullBytesPerSecond
	if rate <= 0 {
		rate = s.p.PullBytesPerSecond
	}
	setup = s.p.PrimeFixedSeconds + bytes/rate
	service = s.gain[k]*(1-use.SnapshotFresh) + (s.p.PrimedFactor-1)*s.warm/float64(s.keys)
	perGB := s.p.PullSecondsPerGB
	if s.p.WaitSecondsPerGB > 0 && s.isHeldElsewhere(k, d) {
		perGB += s.p.WaitSecondsPerGB
	}
	price = perGB * bytes / 1e9
	if setup+service+price < missing {
		return setup, service, price, true
	}
	return 0, missing, 0, false
}
