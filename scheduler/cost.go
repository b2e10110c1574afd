// SPDX-License-Identifier: Apache-2.0

package scheduler

// maxKeys is how many keys of a request are weighed; further ones hardly ever hold a share of the gain worth a
// decision.
const maxKeys = 8

// weighing is one request against one view: everything about the request that does not depend on the daemon, worked
// out once.
type weighing struct {
	v *View
	r *Request
	p *Params

	warm, cold float64 // seconds
	price      float64 // of a slot-second
	load       float64
	nothingNew bool // no placement of this round is assumed yet
	picky      bool // it minds which daemon it gets
	stay       bool // overdue: never cold while a holder takes builds
	waived     bool // another copy of the primary key is wanted, so making one is free of the price
	keys       int
	gain       [maxKeys]float64 // seconds each key saves; sums to cold-warm
	held       [maxKeys]*holding
	offered    int              // so many of the primary key's copies were offered,
	at         [maxLooked]int32 // on the daemons at these positions, -1 for one that takes no builds
	ahead      outlook
	barren     bool // bare is known,
	bare       bare // which is what a daemon costs that holds none of the keys and pulls at Params' rate
}

// bare is the part of a bid that the daemon's state has no influence on.
type bare struct {
	setup, service, price float64
	newBytes              int64
	mode                  Mode
	prime                 uint8
}

// weigh prepares r.
func (w *weighing) weigh(v *View, r *Request, p *Params) {
	w.v, w.r, w.p = v, r, p
	w.nothingNew = len(v.assumed.item) == 0
	w.picky = r.Platform != "" || r.DiskBytes > 0 || len(r.FailedOn) > 0
	w.warm, w.cold = r.expected(p)
	w.load = v.Load()
	w.price = p.price(w.load)
	w.stay = w.load >= p.StayLoad && p.overdue(r)
	w.keys = min(len(r.Keys), maxKeys)
	for k := range w.keys {
		w.held[k] = v.Ledger.keys.get(r.Keys[k].ID)
	}
	if w.keys == 1 {
		w.gain[0] = w.cold - w.warm
	} else {
		w.shareGain()
	}
	w.waived = w.keys > 0 && w.held[0] != nil && w.held[0].replicas > 1 && w.copiesInReach() < w.held[0].replicas
}

// shareGain divides what a warm build saves among the keys.
func (w *weighing) shareGain() {
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
func (w *weighing) bareBid() {
	if w.keys == 0 {
		return
	}
	none := Daemon{}
	b := &w.bare
	for k := range w.keys {
		if w.small(k) {
			return
		}
		setup, service, price, primed := w.fill(k, found{}, &none)
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
	if !w.waived {
		b.price += w.price * extra
	}
	w.barren = true
}

// small reports whether key k saves too little to go after the daemons that hold it; it still counts where other keys
// lead.
func (w *weighing) small(k int) bool { return w.gain[k] < 0.05*(w.cold-w.warm) }

// isSettled reports whether the choice is between daemons that hold the only key, so that others need not be weighed
// at all: they have to do the key's work again or to prime it, of which later builds pay no more than paidShare.
func (w *weighing) isSettled(c *choice) bool {
	if w.keys != 1 {
		return false
	}
	least := w.gain[0]
	if w.p.PrimeFixedSeconds < least {
		least = w.p.PrimeFixedSeconds
	}
	beyond := w.warm + (1-paidShare)*least
	run, second := c.of(c.run), c.of(c.second)
	return run.exists && second.exists && second.total < beyond && run.total < beyond
}

// hopeless reports whether the daemon of this rank, which holds none of the keys, can neither be chosen nor be the
// runner-up, so that it need not be weighed.
func (w *weighing) hopeless(d *Daemon, rank int32, c *choice) bool {
	run, second := c.of(c.run), c.of(c.second)
	if !w.barren || d.PullBytesPerSecond > w.p.PullBytesPerSecond || !run.exists || !second.exists {
		return false
	}
	beyond := run.total
	if second.total > beyond { // max would see to NaNs, which takes as long as the rest
		beyond = second.total
	}
	b := &w.bare
	cost := b.setup + b.service + b.price
	ranked := cost + w.p.RankSeconds*float64(rank-1)
	if ranked <= beyond {
		return false
	}
	most := paidShare * (cost - w.warm)
	return ranked-most > beyond || ranked-w.hope(most) > beyond
}

// fits reports whether d takes the request now or later: whether it passes standing.
func (w *weighing) fits(d *Daemon) bool {
	return d.Phase == Ready && !w.picky || standing(d, w.r) == Fits
}

// reach is the daemon of a copy, if it has the copy's volume and takes builds.
func (w *weighing) reach(c *Copy) (at int32, within bool) {
	at, known := w.v.position(c.Daemon)
	return at, known && w.v.Daemons[at].Epoch == c.Epoch && w.fits(&w.v.Daemons[at])
}

// holderAt is reach for the primary key's i-th copy, without another look where it was offered.
func (w *weighing) holderAt(i int) (at int32, within bool) {
	if i < w.offered {
		return w.at[i], w.at[i] >= 0
	}
	return w.reach(&w.held[0].copies[i])
}

// copiesInReach counts the primary key's copies on daemons that take builds, those being made included.
func (w *weighing) copiesInReach() int32 {
	n := int32(0)
	for i := range w.held[0].copies {
		if _, within := w.reach(&w.held[0].copies[i]); within {
			n++
		}
	}
	a := &w.v.assumed
	if len(a.item) == 0 {
		return n
	}
	for i := a.head[w.r.Keys[0].ID]; i != 0; i = a.item[i-1].next {
		if _, known := w.held[0].find(a.item[i-1].daemon); !known {
			n++ // may count a daemon twice, which errs towards too few copies
		}
	}
	return n
}

// found is what a build would find of one key on one daemon.
type found struct {
	fresh        float64 // 0..1 of the gain
	readySeconds float64 // until it can be used so
	present      bool    // a copy takes up space there already,
	whole        bool    // and is not still being made, so that bringing it up to date moves only what differs
}

// isElsewhere reports whether another daemon than d that takes builds has a copy of key k, or is making one.
func (w *weighing) isElsewhere(k int, d *Daemon) bool {
	if h := w.held[k]; h != nil {
		for i := range h.copies {
			if _, within := w.reach(&h.copies[i]); within && h.copies[i].Daemon != d.ID {
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
func (w *weighing) copyOn(k int, d *Daemon) *Copy {
	if h := w.held[k]; h != nil {
		if i, ok := h.find(d.ID); ok && h.copies[i].Epoch == d.Epoch {
			return &h.copies[i]
		}
	}
	return nil
}

// find is what there is of key k on d, where c is its copy, if the ledger knows one.
func (w *weighing) find(k int, d *Daemon, c *Copy) found {
	if c != nil && c.Users == 0 && c.State == Confirmed && w.nothingNew && c.Version == w.held[k].version {
		return found{fresh: 1, present: true, whole: true}
	}
	return w.findAll(k, d, c)
}

// findAll is find for a copy that is behind, in use or not there.
func (w *weighing) findAll(k int, d *Daemon, c *Copy) found {
	use := &w.r.Keys[k]
	endsAt, users := w.v.assumed.of(use.ID, d.ID)
	if c == nil && users == 0 {
		return found{}
	}
	f := found{present: true}
	pending := true
	if c != nil {
		users += c.Users
		endsAt = max(endsAt, c.ReleaseAtSeconds)
		pending = c.State == Pending
		f.whole = !pending
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
func (w *weighing) freshness(k int, c *Copy) float64 {
	fresh := 1.0
	if newest := w.held[k].version; c.Version < newest {
		fresh = max(0, 1-w.p.StalePerVersion*float64(newest-c.Version))
	}
	switch c.State {
	case Pending:
		return 0
	case Unverified:
		return fresh * w.p.UnverifiedFresh
	default:
		return fresh
	}
}

// bid fills b with the best way of running the request on the daemon at position at, which passed standing. first is
// the primary key's copy there, or nil; others are looked for.
func (w *weighing) bid(at, rank int32, first *Copy, b *bid) {
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
		f := w.find(k, d, c)
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
			s, more, pulls, primed := w.fill(k, f, d)
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
	if !w.waived || primaryPresent {
		price += w.price * (setup + service - w.warm)
	}
	w.finish(at, rank, wait, setup, service, price, newBytes, b)
}

// barrenBid is bid for a daemon that holds none of the keys and pulls at Params' rate.
func (w *weighing) barrenBid(at, rank int32, b *bid) {
	x := &w.bare
	b.mode, b.prime = x.mode, x.prime
	w.finish(at, rank, w.v.Daemons[at].slotWait(w.v.NowSeconds, w.p), x.setup, x.service, x.price, x.newBytes, b)
}

// finish adds what depends on the daemon's state beside its copies, and the sum.
func (w *weighing) finish(at, rank int32, wait, setup, service, price float64, newBytes int64, b *bid) {
	d := &w.v.Daemons[at]
	evict, future := 0.0, 0.0
	if over := newBytes - d.FreeBytes; over > 0 && newBytes > 0 {
		evict = float64(over) / 1e9 * d.EvictSecondsPerGB
	}
	if most := paidShare * (setup + service - w.warm + price + evict); most > 0 && w.keys > 0 {
		future = w.future(at, d, most)
	}
	ranked := w.p.RankSeconds * weighedRanks
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
func (w *weighing) fill(k int, f found, d *Daemon) (setupSeconds, serviceSeconds, priceSeconds float64, primed bool) {
	use := &w.r.Keys[k]
	missing := w.gain[k] * (1 - f.fresh)
	if use.SnapshotBytes <= 0 || use.SnapshotFresh <= f.fresh {
		return 0, missing, 0, false
	}
	bytes := float64(use.SnapshotBytes)
	if f.whole {
		bytes *= min(w.p.RefreshSpread*(use.SnapshotFresh-f.fresh), 1)
	}
	rate := d.PullBytesPerSecond
	if rate <= 0 {
		rate = w.p.PullBytesPerSecond
	}
	setup := w.p.PrimeFixedSeconds + bytes/rate
	service := w.gain[k]*(1-use.SnapshotFresh) + (w.p.PrimedFactor-1)*w.warm/float64(w.keys)
	perGB := w.p.PullSecondsPerGB
	if w.p.WaitSecondsPerGB > 0 && w.isElsewhere(k, d) {
		perGB += w.p.WaitSecondsPerGB
	}
	price := perGB * bytes / 1e9
	if setup+service+price < missing {
		return setup, service, price, true
	}
	return 0, missing, 0, false
}
