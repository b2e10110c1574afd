// SPDX-License-Identifier: Apache-2.0

package scheduler

import "slices"

// Cycle decides the whole queue against one view, in the order of priority, overdue age and shares. Each decision
// assumes the earlier ones. Decision i is for queue[i]. Cycle leaves v and its ledger unchanged except for v.Queued,
// which becomes len(queue): the caller binds the builds to Run and updates the view. Equal inputs give equal decisions,
// whatever the order of queue and daemons.
func Cycle(v *View, queue []Request, p *Params) []Decision {
	out := make([]Decision, len(queue))
	none := refusalCache{}
	runCycle(v, queue, p, func(scratch *View, at int, d *Decision) bool {
		switch {
		case d.Action == Run:
			none.invalidate()
		case d.Action == NoFit && d.Reason != QueueFull:
			d.Refused = none.get(scratch, &queue[at])
		}
		out[at] = *d
		return true
	})
	return out
}

// DecideStarts returns only the Run decisions of Cycle, in the order of service. It stops when the fleet is full, so
// that a long queue is cheap.
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
		return scratch.open > 0 && d.Reason != QueueFull
	})
	return out
}

// runCycle calls yield with each decision and the view that includes the earlier ones, until yield returns false.
func runCycle(v *View, queue []Request, p *Params, yield func(scratch *View, at int, d *Decision) bool) {
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
	waiting := 0
	serve(sortQueue(queue, p), queue, shares, func(t queueEntry) (float64, bool) {
		r := &queue[t.at]
		d = Decision{}
		if p.MaxPending > 0 && waiting >= p.MaxPending {
			d.UID, d.Reason, d.Daemons = r.UID, QueueFull, len(scratch.Daemons)
		} else {
			place(&scratch, r, p, &d)
		}
		if d.Action != Run {
			waiting++
			d.Position = int32(waiting)
		}
		d.Overdue = t.overdue
		given := scratch.assume(r, &d)
		return given, yield(&scratch, t.at, &d)
	})
}

// refusalCache keeps the last count of refusals: in a long queue most requests are refused for the same reasons.
type refusalCache struct {
	known    bool
	platform string
	counts   Refusals
}

func (c *refusalCache) invalidate() { c.known = false }

// get returns refusals(v, r). Requests without FailedOn that don't run alone differ by platform only.
func (c *refusalCache) get(v *View, r *Request) Refusals {
	if len(r.FailedOn) > 0 || r.Alone {
		return refusals(v, r)
	}
	if !c.known || c.platform != r.Platform {
		c.known, c.platform, c.counts = true, r.Platform, refusals(v, r)
	}
	return c.counts
}

// assume changes v to the state after d, and returns the slot-seconds given to the request. Busy lists are replaced and
// never written: the original view shares them.
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

// claim marks the slot of d that is free first as taken by a request that waits for it, so that later requests see it
// taken until that request ends.
func (d *Daemon) claim(startsAtSeconds, seconds float64) {
	slot := Busy{EndsAtSeconds: startsAtSeconds + seconds, ExpectedSeconds: seconds}
	if d.Phase != Ready {
		if first, taken := d.takenAfterReturn(); taken < int(d.Slots) {
			d.Busy = append(slices.Clip(d.Busy), slot)
		} else if taken > 0 {
			d.Busy = slices.Clone(d.Busy)
			d.Busy[first] = slot
		}
		return
	}
	if d.freeSlots() > 0 || len(d.Busy) == 0 {
		return // it waits for a lock, or the ends are unknown
	}
	first := 0
	for i := range d.Busy {
		if d.Busy[i].EndsAtSeconds < d.Busy[first].EndsAtSeconds {
			first = i
		}
	}
	d.Busy = slices.Clone(d.Busy)
	d.Busy[first] = slot
}
