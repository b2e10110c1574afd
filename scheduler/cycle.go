// SPDX-License-Identifier: Apache-2.0

package scheduler

import "slices"

// Round decides the whole queue against one view, in the order of priority, overdue age and shares, each decision
// assuming the ones before it. Decision i answers queue[i]. It leaves v and its ledger as they are, except for
// v.Queued, which becomes len(queue): the caller binds what is to Run and tells the view. Equal inputs give equal
// decisions whatever the order of queue and of daemons.
func Cycle(v *View, queue []Request, p *Params) []Decision {
	out := make([]Decision, len(queue))
	none := refusalCache{}
	runCycle(v, queue, p, func(scratch *View, at int, d *Decision) bool {
		switch d.Action {
		case Run:
			none.invalidate()
		case NoFit:
			d.Refused = none.get(scratch, &queue[at])
		}
		out[at] = *d
		return true
	})
	return out
}

// Starts is Round for callers that only want to know what to start now: the Run decisions of Round, in the order of
// service. It stops as soon as the fleet is full, which makes it cheap for long queues.
func DecideStarts(v *View, queue []Request, p *Params) []Decision {
	v.Queued = len(queue)
	v.Recount()
	if v.open == 0 || len(queue) == 0 {
		return nil
	}
	var out []Decision
	runCycle(v, queue, p, func(scratch *View, _ int, d *Decision) bool {
		if d.Action == Run {
			out = append(out, *d)
		}
		return scratch.open > 0
	})
	return out
}

// round calls tell with each decision, and the view in which it is carried out, until tell returns false.
func runCycle(v *View, queue []Request, p *Params, tell func(scratch *View, at int, d *Decision) bool) {
	v.Queued = len(queue)
	v.Recount()
	scratch := *v
	scratch.Daemons = slices.Clone(v.Daemons)
	scratch.assumed = assumptions{}
	shares := v.Shares
	if shares == nil {
		shares = NewShares()
	}
	var d Decision
	serve(sortQueue(queue, p), queue, shares, func(t queueEntry) (float64, bool) {
		r := &queue[t.at]
		d = Decision{}
		place(&scratch, r, p, &d)
		d.Overdue = t.overdue
		given := scratch.assume(r, &d)
		return given, tell(&scratch, t.at, &d)
	})
}

// refusalCounts remembers the last count of refusals, because in a long queue most requests are refused alike.
type refusalCache struct {
	known    bool
	platform string
	counts   Refusals
}

func (c *refusalCache) invalidate() { c.known = false }

// of is refusals(v, r). Only the platform tells ordinary requests apart.
func (c *refusalCache) get(v *View, r *Request) Refusals {
	if len(r.FailedOn) > 0 {
		return refusals(v, r)
	}
	if !c.known || c.platform != r.Platform {
		c.known, c.platform, c.counts = true, r.Platform, refusals(v, r)
	}
	return c.counts
}

// assume makes v as it will be once d is carried out, and returns the slot-seconds that d gives to the request. Busy
// lists are replaced, never written, because the view they came from shares them.
func (v *View) assume(r *Request, d *Decision) (slotSeconds float64) {
	o := &d.Chosen
	if !o.Exists() {
		return 0
	}
	daemon := &v.Daemons[o.At]
	seconds := o.Cost.SetupSeconds + o.Cost.ServiceSeconds
	if d.Action != Run {
		daemon.claim(o.Cost.WaitSeconds+v.NowSeconds, seconds)
		return 0
	}
	ends := v.NowSeconds + seconds
	daemon.Reserved++
	daemon.Busy = append(slices.Clip(daemon.Busy), Busy{EndsAtSeconds: ends, ExpectedSeconds: seconds})
	v.busy++
	v.open--
	v.Queued--
	for k := range r.Keys {
		v.assumed.add(r.Keys[k].ID, daemon.ID, ends)
	}
	return seconds
}

// claim keeps the slot of d that is free first for a request that waits for it: whoever is asked later sees it taken
// until that request is done.
func (d *Daemon) claim(startsAtSeconds, seconds float64) {
	if d.freeSlots() > 0 || len(d.Busy) == 0 {
		return // it waits for a lock, or lengths are unknown
	}
	first := 0
	for i := range d.Busy {
		if d.Busy[i].EndsAtSeconds < d.Busy[first].EndsAtSeconds {
			first = i
		}
	}
	d.Busy = slices.Clone(d.Busy)
	d.Busy[first] = Busy{EndsAtSeconds: startsAtSeconds + seconds, ExpectedSeconds: seconds}
}
