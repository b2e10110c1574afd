// SPDX-License-Identifier: Apache-2.0

package scheduler

// Where a copy is made the next builds of its key will want to run. So an option that makes one, or brings an old one
// up to date, is paid for what they will wait less; and a key that nobody holds passes over daemons that are busy
// most of the time.

// crowdLimit is the utilisation beyond which expected waits are not believed to grow: the formula has a pole at 1.
const crowdLimit = 0.95

// crowd is how long a build is expected to wait for a daemon. Its form is that of a queue with a few servers: the
// typical rest of a build, over the slots, times u²/(1-u).
func (p *Params) crowd(d *Daemon) float64 {
	if d.Utilisation <= 0 {
		return 0
	}
	u := min(d.Utilisation, crowdLimit)
	typical := d.TypicalSeconds
	if typical <= 0 {
		typical = p.UnknownSeconds
	}
	return p.Crowding * typical / float64(max(d.Slots, 1)) * u * u / (1 - u)
}

// busyHome is the utilisation from which on a daemon is passed over for the first copy of a key. Below, expected
// waits are small beside the noise of what is known of the next builds, and a key's home should not depend on it.
const busyHome = 0.5

// paidShare is how much of what a copy costs may be paid for by later builds: a free warm daemon must win.
const paidShare = 0.98

// maxLooked is how many daemons that hold the primary key are thought of; few keys have more than three.
const maxLooked = 8

// outlook is what later builds of the primary key may expect of the daemons that hold it.
type outlook struct {
	known  bool
	builds float64 // how many of them within the horizon
	spill  float64 // what each would take longer by making a copy elsewhere, in seconds
	// what sharing the builds between two copies is expected to cost each: every build leaves the other copies behind
	keep   float64
	n      int
	holder [maxLooked]lookedAt // the best first
}

// lookedAt is one daemon that takes builds and holds the primary key.
type lookedAt struct {
	at   int32
	wait float64 // expected
	full float64 // how likely no slot is free
}

// lookAt is what a build of the key may expect of d.
func (w *weighing) lookAt(at int32, d *Daemon) lookedAt {
	return lookedAt{at: at, wait: min(w.p.crowd(d), w.ahead.spill), full: d.Utilisation * d.Utilisation}
}

// foresee is the outlook of a request with keys, worked out when it is first asked for: most placements need none.
func (w *weighing) foresee() *outlook {
	o := &w.ahead
	if o.known {
		return o
	}
	o.known, o.builds = true, w.p.UnknownBuilds
	h := w.held[0]
	if h != nil && h.perSecond > 0 {
		o.builds = h.perSecond * w.p.HorizonSeconds
	}
	none := Daemon{}
	setup, service, _, _ := w.fill(0, found{}, &none)
	o.spill, o.keep = setup+service, w.p.KeepShare*w.p.StalePerVersion*w.gain[0]
	if h != nil {
		for i := range h.copies {
			if at, within := w.holderAt(i); within {
				o.joins(w.lookAt(at, &w.v.Daemons[at]))
			}
		}
	}
	a := &w.v.assumed
	if len(a.item) == 0 {
		return o
	}
	for i := a.head[w.r.Keys[0].ID]; i != 0; i = a.item[i-1].next {
		if at := w.v.must(a.item[i-1].daemon); !o.has(at) {
			o.joins(w.lookAt(at, &w.v.Daemons[at]))
		}
	}
	return o
}

// has reports whether the daemon is among the holders.
func (o *outlook) has(at int32) bool {
	for i := range o.n {
		if o.holder[i].at == at {
			return true
		}
	}
	return false
}

// joins adds a daemon that holds the primary key.
func (o *outlook) joins(x lookedAt) {
	if o.n == maxLooked {
		return
	}
	i := o.n
	for ; i > 0 && o.holder[i-1].wait > x.wait; i-- {
		o.holder[i] = o.holder[i-1]
	}
	o.holder[i] = x
	o.n++
}

// loss is what a later build is expected to lose where it can, and others by it: on the best daemon alone, or on
// several in turns. The daemon at position but is left out and fresh, if not nil, put in.
func (o *outlook) loss(but int32, fresh *lookedAt) float64 {
	if fresh == nil && o.n > 0 && o.holder[0].wait <= 0 && o.holder[0].at != but {
		return 0 // the best of them is hardly ever busy, as on most fleets
	}
	lost, full, keep := o.spill, 1.0, 0.0
	first := true
	take := func(x *lookedAt) {
		if first {
			first, lost, full = false, x.wait, x.full
			return
		}
		keep += o.keep
		lost = min(lost, full*x.wait+keep)
		full *= x.full
	}
	for i := range o.n {
		x := &o.holder[i]
		if fresh != nil && fresh.wait < x.wait {
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
func (w *weighing) future(at int32, d *Daemon, most float64) float64 {
	o := w.foresee()
	if o.builds <= 0 {
		return 0
	}
	if o.n == 0 {
		if d.Utilisation < busyHome {
			return 0 // keys start at home, where every scheduler with the same fleet looks first
		}
		return o.builds * min(w.p.crowd(d), o.spill)
	}
	if w.load >= w.p.PriceKnee || o.n == 1 && o.holder[0].at == at {
		return 0
	}
	before := o.loss(at, nil)
	if before <= 0 {
		return 0
	}
	here := w.lookAt(at, d)
	gain := before - o.loss(at, &here)
	gain *= o.builds * (1 - w.load/w.p.PriceKnee)
	return -max(min(gain, most), 0)
}

// hope is the most that a further copy can gain, whichever daemon makes it.
func (w *weighing) hope(most float64) float64 {
	if most <= 0 || w.load >= w.p.PriceKnee {
		return 0
	}
	o := w.foresee()
	if o.n == 0 {
		return 0
	}
	return max(min(o.builds*o.loss(-1, nil)*(1-w.load/w.p.PriceKnee), most), 0)
}
