// SPDX-License-Identifier: Apache-2.0

package scheduler

// The next builds of a key will want to run where its copy is. So a candidate that makes or updates a copy is credited
// with the waiting it saves them, and the first copy of a key is not made on a daemon that is busy most of the time.

// maxCrowding bounds the utilisation in expectedWait: the formula has a pole at 1.
const maxCrowding = 0.95

// expectedWait returns how long a build waits for a slot of d in the mean, in seconds, by the formula of a queue with a
// few servers:
//
//	Crowding × TypicalSeconds / Slots × u² / (1-u), u = Utilisation
func (p *Params) expectedWait(d *Daemon) float64 {
	if d.Utilisation <= 0 {
		return 0
	}
	u := min(d.Utilisation, maxCrowding)
	typical := d.TypicalSeconds
	if typical <= 0 {
		typical = p.UnknownSeconds
	}
	return p.Crowding * typical / float64(max(d.Slots, 1)) * u * u / (1 - u)
}

// busyHomeUtilisation is the utilisation from which a daemon is passed over for the first copy of a key. Below it,
// expected waits are within the noise of the forecast, and the home of a key must not depend on noise.
const busyHomeUtilisation = 0.5

// maxFutureShare bounds the part of the cost of a copy that later builds pay for: a free warm daemon must win.
const maxFutureShare = 0.98

// maxHolders is how many holders of the primary key are forecast. Few keys have more than three.
const maxHolders = 8

// forecast is what later builds of the primary key can expect of the daemons that hold it.
type forecast struct {
	known        bool
	builds       float64 // expected within the horizon
	spillSeconds float64 // extra time of a build that makes a copy elsewhere
	// staleSeconds is the cost per build of keeping a second copy: each build makes the other copies stale.
	staleSeconds float64
	n            int
	holders      [maxHolders]holderForecast // by waitSeconds, ascending
}

// holderForecast is the forecast of one eligible daemon that holds the primary key.
type holderForecast struct {
	at          int32
	waitSeconds float64
	fullShare   float64 // probability that no slot is free
}

// forecastHolder returns the forecast of the daemon d at position at.
func (s *scoring) forecastHolder(at int32, d *Daemon) holderForecast {
	return holderForecast{
		at:          at,
		waitSeconds: min(s.p.expectedWait(d), s.forecast.spillSeconds),
		fullShare:   d.Utilisation * d.Utilisation,
	}
}

// ensureForecast returns the forecast of a request with keys and computes it on first use: most placements need none.
func (s *scoring) ensureForecast() *forecast {
	o := &s.forecast
	if o.known {
		return o
	}
	o.known, o.builds = true, s.p.UnknownBuilds
	h := s.holdings[0]
	if h != nil && h.perSecond > 0 {
		o.builds = h.perSecond * s.p.HorizonSeconds
	}
	none := Daemon{}
	setup, service, _, _ := s.missingCost(0, residency{}, &none)
	o.spillSeconds, o.staleSeconds = setup+service, s.p.KeepShare*s.p.StalePerVersion*s.gain[0]
	if h != nil {
		for i := range h.copies {
			if at, eligible := s.primaryHolder(i); eligible {
				o.add(s.forecastHolder(at, &s.v.Daemons[at]))
			}
		}
	}
	a := &s.v.assumed
	if len(a.item) == 0 {
		return o
	}
	for i := a.head[s.r.Keys[0].ID]; i != 0; i = a.item[i-1].next {
		if at := s.v.knownPosition(a.item[i-1].daemon); !o.has(at) {
			o.add(s.forecastHolder(at, &s.v.Daemons[at]))
		}
	}
	return o
}

// has reports whether the daemon at a position is among the holders.
func (o *forecast) has(at int32) bool {
	for i := range o.n {
		if o.holders[i].at == at {
			return true
		}
	}
	return false
}

// add inserts a holder in its place, unless maxHolders are known.
func (o *forecast) add(x holderForecast) {
	if o.n == maxHolders {
		return
	}
	i := o.n
	for ; i > 0 && o.holders[i-1].waitSeconds > x.waitSeconds; i-- {
		o.holders[i] = o.holders[i-1]
	}
	o.holders[i] = x
	o.n++
}

// expectedLoss returns the seconds that a later build is expected to lose. With holders 1..n by ascending wait it is
// the least, over k, of
//
//	full(1) × … × full(k-1) × wait(k) + (k-1) × staleSeconds
//
// and spillSeconds without holders. exclude is a position to leave out, extra a holder to add, or nil.
func (o *forecast) expectedLoss(exclude int32, extra *holderForecast) float64 {
	if extra == nil && o.n > 0 && o.holders[0].waitSeconds <= 0 && o.holders[0].at != exclude {
		return 0 // the best holder is hardly ever busy, the common case
	}
	lost, full, stale := o.spillSeconds, 1.0, 0.0
	first := true
	next := func(x *holderForecast) {
		if first {
			first, lost, full = false, x.waitSeconds, x.fullShare
			return
		}
		stale += o.staleSeconds
		lost = min(lost, full*x.waitSeconds+stale)
		full *= x.fullShare
	}
	for i := range o.n {
		x := &o.holders[i]
		if extra != nil && extra.waitSeconds < x.waitSeconds {
			next(extra)
			extra = nil
		}
		if x.at != exclude {
			next(x)
		}
	}
	if extra != nil {
		next(extra)
	}
	return lost
}

// futureSeconds returns the cost to later builds of the primary key, in seconds, of making or updating a copy on d; it
// is negative for a gain. Without other copies the cost is what they wait there. With other copies the gain is what
// they wait less, at most the given bound.
func (s *scoring) futureSeconds(at int32, d *Daemon, most float64) float64 {
	o := s.ensureForecast()
	if o.builds <= 0 {
		return 0
	}
	if o.n == 0 {
		if d.Utilisation < busyHomeUtilisation {
			return 0 // keys start at home, which every scheduler with the same fleet computes alike
		}
		return o.builds * min(s.p.expectedWait(d), o.spillSeconds)
	}
	if s.load >= s.p.PriceKnee || o.n == 1 && o.holders[0].at == at {
		return 0
	}
	before := o.expectedLoss(at, nil)
	if before <= 0 {
		return 0
	}
	here := s.forecastHolder(at, d)
	gain := before - o.expectedLoss(at, &here)
	gain *= o.builds * (1 - s.load/s.p.PriceKnee)
	return -max(min(gain, most), 0)
}

// maxFutureGain bounds the gain of a further copy on any daemon.
func (s *scoring) maxFutureGain(most float64) float64 {
	if most <= 0 || s.load >= s.p.PriceKnee {
		return 0
	}
	o := s.ensureForecast()
	if o.n == 0 {
		return 0
	}
	return max(min(o.builds*o.expectedLoss(-1, nil)*(1-s.load/s.p.PriceKnee), most), 0)
}
