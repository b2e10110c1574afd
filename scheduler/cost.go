// SPDX-License-Identifier: Apache-2.0

package scheduler

// maxKeys is how many keys of a request are weighed; further ones hardly ever hold a share of the gain worth a
// decision.
const maxKeys = 8

// weighing is one request against one view: everything about the request that does not depend on the daemon, worked
// out once.
type scoring struct {
	v *View
	r *Request
	p *Params

	warm, cold    float64 // seconds
	price         float64 // of a slot-second
	load          float64
	noAssumptions bool // no placement of this round is assumed yet
	constrained   bool // it minds which daemon it gets
	mustStayWarm  bool // overdue: never cold while a holder takes builds
	replicaWanted bool // another copy of the primary key is wanted, so making one is free of the price
	keys          int
	gain          [maxKeys]float64 // seconds each key saves; sums to cold-warm
	holdings      [maxKeys]*holding
	knownHolders  int               // so many of the primary key's copies were offered,
	holderAt      [maxHolders]int32 // on the daemons at these positions, -1 for one that takes no builds
	forecast      forecast
	emptyKnown    bool      // bare is known,
	empty         emptyCost // which is what a daemon costs that holds none of the keys and pulls at Params' rate
}

// bare is the part of a bid that the daemon's state has no influence on.
type emptyCost struct {
	setup, service, price float64
	newBytes              int64
	mode                  Mode
	prime                 uint8
}

// weigh prepares r.
func (w *scoring) prepare(v *View, r *Request, p *Params) {
	w.v, w.r, w.p = v, r, p
	w.noAssumptions = len(v.assumed.item) == 0
	w.constrained = r.Platform != "" || len(r.FailedOn) > 0
	w.warm, w.cold = r.expected(p)
	w.load = v.Load()
	w.price = p.price(w.load)
	w.mustStayWarm = w.load >= p.StayLoad && p.overdue(r)
	w.keys = min(len(r.Keys), maxKeys)
	for k := range w.keys {
		w.holdings[k] = v.Ledger.keys.get(r.Keys[k].ID)
	}
	if w.keys == 1 {
		w.gain[0] = w.cold - w.warm
	} else {
		w.splitGain()
	}
	w.replicaWanted = w.keys > 0 && w.holdings[0] != nil && w.holdings[0].replicas > 1 && w.eligibleCopies() < w.holdings[0].replicas
}

// shareGain divides what a warm build saves among the keys.
func (w *scoring) splitGain() {
	saved := w.cold - w.warm
	sum := 0.0
	for k := range w.keys {
		sum += max(w.r.Keys[k].Gain, 0)
	}
	for k := range w.keys {
		part := 1 / float64(w.keys)
		if sum > 0 {
			part = max(w.r.Keys[k].Gain, 0) / sum
		}
		w.gain[k] = part * saved
	}
}

// bareBid works out what daemons that hold none of the keys have in common, once all that hold one were offered. It
// leaves it unknown where a key is too small for its holders to be gone after: they would not be known to hold it.
func (w *scoring) computeEmptyCost() {
	if w.keys == 0 {
		return
	}
	none := Daemon{}
	b := &w.empty
	for k := range w.keys {
		if w.isMinor(k) {
			return
		}
		setup, service, price, primed := w.missingCost(k, residency{}, &none)
		b.setup += setup
		b.service += service
		b.price += price
		if primed {
			b.prime |= 1 << k
		}
		b.newBytes += w.r.Keys[k].Bytes
	}
	if b.prime&1 != 0 {
		b.mode = Primed
	}
	b.service += w.warm
	extra := b.setup + b.service - w.warm
	if !w.replicaWanted {
		b.price += w.price * extra
	}
	w.emptyKnown = true
}

// small reports whether key k saves too little to go after the daemons that hold it; it still counts where other keys
// lead.
func (w *scoring) isMinor(k int) bool { return w.gain[k] < 0.05*(w.cold-w.warm) }

// isSettled reports whether the choice is between daemons that hold the only key, so that others need not be weighed
// at all: they have to do the key's work again or to prime it, of which later builds pay no more than paidShare.
func (w *scoring) holdersSuffice(c *selection) bool {
	if w.keys != 1 {
		return false
	}
	least := w.gain[0]
	if w.p.PrimeFixedSeconds < least {
		least = w.p.PrimeFixedSeconds
	}
	beyond := w.warm + (1-maxFutureShare)*least
	run, second := c.get(c.run), c.get(c.second)
	return run.exists && second.exists && second.total < beyond && run.total < beyond
}

// hopeless reports whether the daemon of this rank, which holds none of the keys, can neither be chosen nor be the
// runner-up, so that it need not be weighed.
func (w *scoring) cannotWin(d *Daemon, rank int32, c *selection) bool {
	run, second := c.get(c.run), c.get(c.second)
	if !w.emptyKnown || d.PullBytesPerSecond > w.p.PullBytesPerSecond || !run.exists || !second.exists {
		return false
	}
	beyond := run.total
	if second.total > beyond { // max would see to NaNs, which takes as long as the rest
		beyond = second.total
	}
	b := &w.empty
	cost := b.setup + b.service + b.price
	ranked := cost + w.p.RankSeconds*float64(rank-1)
	if ranked <= beyond {
		return false
	}
	most := maxFutureShare * (cost - w.warm)
	return ranked-most > beyond || ranked-w.maxFutureGain(most) > beyond
}

// fits reports whether d takes the request now or later: whether it passes standing.
func (w *scoring) isEligible(d *Daemon) bool {
	return d.Phase == Ready && !w.constrained || lastingRefusal(d, w.r) == Fits
}

// reach is the daemon of a copy, if it has the copy's volume and takes builds.
func (w *scoring) eligibleHolder(c *Copy) (at int32, within bool) {
	at, known := w.v.position(c.Daemon)
	return at, known && w.v.Daemons[at].Epoch == c.Epoch && w.isEligible(&w.v.Daemons[at])
}

// holderAt is reach for the primary key's i-th copy, without another look where it was offered.
func (w *scoring) primaryHolder(i int) (at int32, within bool) {
	if i < w.knownHolders {
		return w.holderAt[i], w.holderAt[i] >= 0
	}
	return w.eligibleHolder(&w.holdings[0].copies[i])
}

// copiesInReach counts the primary key's copies on daemons that take builds, those being made included.
func (w *scoring) eligibleCopies() int32 {
	n := int32(0)
	for i := range w.holdings[0].copies {
		if _, within := w.eligibleHolder(&w.holdings[0].copies[i]); within {
			n++
		}
	}
	a := &w.v.assumed
	if len(a.item) == 0 {
		return n
	}
	for i := a.head[w.r.Keys[0].ID]; i != 0; i = a.item[i-1].next {
		if _, known := w.holdings[0].find(a.item[i-1].daemon); !known {
			n++ // may count a daemon twice, which errs towards too few copies
		}
	}
	return n
}

// found is what a build would find of one key on one daemon.
type residency struct {
	fresh        float64 // 0..1 of the gain
	readySeconds float64 // until it can be used so
	present      bool    // a copy takes up space there already,
	complete     bool    // and is not still being made, so that bringing it up to date moves only what differs
}

// isElsewhere reports whether another daemon than d that takes builds has a copy of key k, or is making one.
func (w *scoring) isHeldElsewhere(k int, d *Daemon) bool {
	if h := w.holdings[k]; h != nil {
		for i := range h.copies {
			if _, within := w.eligibleHolder(&h.copies[i]); within && h.copies[i].Daemon != d.ID {
				return true
			}
		}
	}
	a := &w.v.assumed
	if len(a.item) == 0 {
		return false
	}
	for i := a.head[w.r.Keys[k].ID]; i != 0; i = a.item[i-1].next {
		if a.item[i-1].daemon != d.ID {
			return true
		}
	}
	return false
}

// copyOn is the copy of key k on d, or nil.
func (w *scoring) copyOn(k int, d *Daemon) *Copy {
	if h := w.holdings[k]; h != nil {
		if i, ok := h.find(d.ID); ok && h.copies[i].Epoch == d.Epoch {
			return &h.copies[i]
		}
	}
	return nil
}

// find is what there is of key k on d, where c is its copy, if the ledger knows one.
func (w *scoring) residencyOf(k int, d *Daemon, c *Copy) residency {
	if c != nil && c.Users == 0 && c.State == Confirmed && w.noAssumptions && c.Version == w.holdings[k].version {
		return residency{fresh: 1, present: true, complete: true}
	}
	return w.residencyInUse(k, d, c)
}

// findAll is find for a copy that is behind, in use or not there.
func (w *scoring) residencyInUse(k int, d *Daemon, c *Copy) residency {
	use := &w.r.Keys[k]
	endsAt, users := w.v.assumed.lookup(use.ID, d.ID)
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
		f.fresh = w.freshness(k, c)
	}
	if users == 0 {
		return f
	}
	release := max(endsAt-w.v.NowSeconds, w.p.OverdueShare*w.warm)
	switch {
	case use.Sharing == Private:
		f.fresh = 0
	case use.Sharing == Locked:
		f.readySeconds = release
		if pending {
			f.fresh = 1
		}
	case pending && w.p.JoinLoses*(1+w.price) < 1:
		f.fresh = 1 - min(w.p.JoinLoses*release/max(w.gain[k], 1e-9), 1)
	case pending && release < w.gain[k]*(1+w.price):
		f.readySeconds, f.fresh = release, 1 // single flight: let the first build make it
	}
	return f
}

// freshness is the part of the gain that copy c of key k still gives.
func (w *scoring) freshness(k int, c *Copy) float64 {
	newest := w.holdings[k].version
	switch {
	case c.State == Pending:
		return 0
	case c.Version < newest:
		return max(0, 1-w.p.StalePerVersion*float64(newest-c.Version))
	}
	return 1
}

// bid fills b with the best way of running the request on the daemon at position at, which passed standing. first is
// the primary key's copy there, or nil; others are looked for.
func (w *scoring) score(at, rank int32, first *Copy, b *candidate) {
	d := &w.v.Daemons[at]
	wait := d.slotWait(w.v.NowSeconds, w.p)
	setup, service, price := 0.0, w.warm, 0.0
	var newBytes int64
	if w.keys == 0 {
		service = w.cold
	}
	b.mode, b.prime = Cold, 0
	primaryPresent := false
	for k := range w.keys {
		c := first
		if k > 0 {
			c = w.copyOn(k, d)
		}
		f := w.residencyOf(k, d, c)
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
			s, more, pulls, primed := w.missingCost(k, f, d)
			setup += s
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
			newBytes += w.r.Keys[k].Bytes
		}
	}
	if !w.replicaWanted || primaryPresent {
		price += w.price * (setup + service - w.warm)
	}
	w.total(at, rank, wait, setup, service, price, newBytes, b)
}

// barrenBid is bid for a daemon that holds none of the keys and pulls at Params' rate.
func (w *scoring) scoreEmpty(at, rank int32, b *candidate) {
	x := &w.empty
	b.mode, b.prime = x.mode, x.prime
	w.total(at, rank, w.v.Daemons[at].slotWait(w.v.NowSeconds, w.p), x.setup, x.service, x.price, x.newBytes, b)
}

// finish adds what depends on the daemon's state beside its copies, and the sum.
func (w *scoring) total(at, rank int32, wait, setup, service, price float64, newBytes int64, b *candidate) {
	d := &w.v.Daemons[at]
	evict, future := 0.0, 0.0
	if over := newBytes - d.FreeBytes; over > 0 && newBytes > 0 {
		evict = float64(over) / 1e9 * d.EvictSecondsPerGB
	}
	if most := maxFutureShare * (setup + service - w.warm + price + evict); most > 0 && w.keys > 0 {
		future = w.futureSeconds(at, d, most)
	}
	ranked := w.p.RankSeconds * scoredRanks
	if rank > 0 {
		ranked = w.p.RankSeconds * float64(rank-1)
	}
	// field by field, and not read again: a Cost put together elsewhere and copied takes longer than the arithmetic
	c := &b.cost
	c.WaitSeconds, c.SetupSeconds, c.ServiceSeconds = wait, setup, service
	c.PriceSeconds, c.EvictSeconds, c.FutureSeconds, c.RankSeconds = price, evict, future, ranked
	b.total = wait + setup + service + price + evict + future + ranked
	b.daemon, b.at, b.rank, b.startable, b.exists = d.ID, at, rank, wait <= 0, true
}

// fill is what key k adds to set-up, service and price where f is what there is of it: what is missing is either done
// again or primed, whichever takes less time, where pulling must also be worth its price. Bringing a copy up to date
// moves only the layers of the snapshot that have files it lacks.
func (w *scoring) missingCost(k int, f residency, d *Daemon) (setupSeconds, serviceSeconds, priceSeconds float64, primed bool) {
	use := &w.r.Keys[k]
	missing := w.gain[k] * (1 - f.fresh)
	if use.SnapshotBytes <= 0 || use.SnapshotFresh <= f.fresh {
		return 0, missing, 0, false
	}
	bytes := float64(use.SnapshotBytes)
	if f.complete {
		bytes *= min(w.p.RefreshSpread*(use.SnapshotFresh-f.fresh), 1)
	}
	rate := d.PullBytesPerSecond
	if rate <= 0 {
		rate = w.p.PullBytesPerSecond
	}
	setup := w.p.PrimeFixedSeconds + bytes/rate
	service := w.gain[k]*(1-use.SnapshotFresh) + (w.p.PrimedFactor-1)*w.warm/float64(w.keys)
	perGB := w.p.PullSecondsPerGB
	if w.p.WaitSecondsPerGB > 0 && w.isHeldElsewhere(k, d) {
		perGB += w.p.WaitSecondsPerGB
	}
	price := perGB * bytes / 1e9
	if setup+service+price < missing {
		return setup, service, price, true
	}
	return 0, missing, 0, false
}
