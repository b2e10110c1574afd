// SPDX-License-Identifier: Apache-2.0

package scheduler

// Where a copy is made the next builds of its key will want to run. So an option that makes one, or brings an old one
// up to date, is paid for what they will wait less; and a key that nobody holds passes over daemons that are busy
// most of the time.

// crowdLimit is the utilisation beyond which expected waits are not believed to grow: the formula has a pole at 1.
const maxCrowding = 0.95

// crowd is how long a build is expected to wait for a daemon. Its form is that of a queue with a few servers: the
// typical rest of a build, over the slots, times u²/(1-u).
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

// busyHome is the utilisation from which on a daemon is passed over for the first copy of a key. Below, expected
// waits are small beside the noise of what is known of the next builds, and a key's home should not depend on it.
const busyHomeUtilisation = 0.5

// paidShare is how much of what a copy costs may be paid for by later builds: a free warm daemon must win.
const maxFutureShare = 0.98

// maxLooked is how many daemons that hold the primary key are thought of; few keys have more than three.
const maxHolders = 8

// outlook is what later builds of the primary key may expect of the daemons that hold it.
type forecast struct {
	known        bool
	builds       float64 // how many of them within the horizon
	spillSeconds float64 // what each would take longer by making a copy elsewhere, in seconds
	// what sharing the builds between two copies is expected to cost each: every build leaves the other copies behind
	staleSeconds float64
	n            int
	holders      [maxHolders]holderForecast // the best first
}

// lookedAt is one daemon that takes builds and holds the primary key.
type holderForecast struct {
	at          int32
	waitSeconds float64 // expected
	fullShare   float64 // how likely no slot is free
}

// lookAt is what a build of the key may expect of d.
func (w *scoring) forecastHolder(at int32, d *Daemon) holderForecast {
	return holderForecast{at: at, waitSeconds: min(w.p.expectedWait(d), w.forecast.spillSeconds), fullShare: d.Utilisation * d.Utilisation}
}

// foresee is the outlook of a request with keys, worked out when it is first asked for: most placements need none.
func (w *scoring) ensureForecast() *forecast {
	o := &w.forecast
	if o.known {
		return o
	}
	o.known, o.builds = true, w.p.UnknownBuilds
	h := w.holdings[0]
	if h != nil && h.perSecond > 0 {
		o.builds = h.perSecond * w.p.HorizonSeconds
	}
	none := Daemon{}
	setup, service, _, _ := w.missingCost(0, residency{}, &none)
	o.spillSeconds, o.staleSeconds = setup+service, w.p.KeepShare*w.p.StalePerVersion*w.gain[0]
	if h != nil {
		for i := range h.copies {
			if at, within := w.primaryHolder(i); within {
				o.add(w.forecastHolder(at, &w.v.Daemons[at]))
			}
		}
	}
	a := &w.v.assumed
	if len(a.item) == 0 {
		return o
	}
	for i := a.head[w.r.Keys[0].ID]; i != 0; i = a.item[i-1].next {
		if at := w.v.knownPosition(a.item[i-1].daemon); !o.has(at) {
			o.add(w.forecastHolder(at, &w.v.Daemons[at]))
		}
	}
	return o
}

// has reports whether the daemon is among the holders.
func (o *forecast) has(at int32) bool {
	for i := range o.n {
		if o.holders[i].at == at {
			return true
		}
	}
	return false
}

// joins adds a daemon that holds the primary key.
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

// loss is what a later build is expected to lose where it can, and others by it: on the best daemon alone, or on
// several in turns. The daemon at position but is left out and fresh, if not nil, put in.
func (o *forecast) expectedLoss(but int32, fresh *holderForecast) float64 {
	if fresh == nil && o.n > 0 && o.holders[0].waitSeconds <= 0 && o.holders[0].at != but {
		return 0 // the best of them is hardly ever busy, as on most fleets
	}
	lost, full, keep := o.spillSeconds, 1.0, 0.0
	first := true
	take := func(x *holderForecast) {
		if first {
			first, lost, full = false, x.waitSeconds, x.fullShare
			return
		}
		keep += o.staleSeconds
		lost = min(lost, full*x.waitSeconds+keep)
		full *= x.fullShare
	}
	for i := range o.n {
		x := &o.holders[i]
		if fresh != nil && fresh.waitSeconds < x.waitSeconds {
			take(fresh)
			fresh = nil
		}
		if x.at != but {
			take(x)
		}
	}
	if fresh != nil {
		take(fresh)
	}
	return lost
}

// future is what later builds of the primary key are expected to lose, or with a minus to gain, by a copy on d that
// is made, or brought up to date. Without other copies they lose what they wait there; with others they gain what
// they wait less, but never more than most.
func (w *scoring) futureSeconds(at int32, d *Daemon, most float64) float64 {
	o := w.ensureForecast()
	if o.builds <= 0 {
		return 0
	}
	if o.n == 0 {
		if d.Utilisation < busyHomeUtilisation {
			return 0 // keys start at home, where every scheduler with the same fleet looks first
		}
		return o.builds * min(w.p.expectedWait(d), o.spillSeconds)
	}
	if w.load >= w.p.PriceKnee || o.n == 1 && o.holders[0].at == at {
		return 0
	}
	before := o.expectedLoss(at, nil)
	if before <= 0 {
		return 0
	}
	here := w.forecastHolder(at, d)
	gain := before - o.expectedLoss(at, &here)
	gain *= o.builds * (1 - w.load/w.p.PriceKnee)
	return -max(min(gain, most), 0)
}

// hope is the most that a further copy can gain, whichever daemon makes it.
func (w *scoring) maxFutureGain(most float64) float64 {
	if most <= 0 || w.load >= w.p.PriceKnee {
		return 0
	}
	o := w.ensureForecast()
	if o.n == 0 {
		return 0
	}
	return max(min(o.builds*o.expectedLoss(-1, nil)*(1-w.load/w.p.PriceKnee), most), 0)
}
