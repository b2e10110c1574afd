// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"cmp"
	"math"
	"slices"
)

// The order in which a cycle serves the queue: builds past their own MaxWait first, then by falling priority. Within a
// priority, overdue builds come first, oldest first; after them, queues take turns by their shares, oldest build first.
//
// An overdue build needs no other reservation. A cycle runs whenever a slot is freed, so the overdue build is offered
// that slot before any younger build; while it waits for a daemon, its claim delays that daemon's slots for all builds
// decided later. No reservation is stored, and a restarted scheduler makes the same ones again.

// queueEntry is one request's place in the order.
type queueEntry struct {
	at      int // index in the queue given to Cycle
	class   int64
	overdue bool
}

// maxWaitClass is the class of builds past their MaxWait, above every priority.
const maxWaitClass = math.MaxInt64

// sortQueue sorts the queue up to fairness: within a class, overdue builds first and the rest grouped by queue.
func sortQueue(queue []Request, p *Params) []queueEntry {
	order := make([]queueEntry, len(queue))
	for i := range queue {
		r := &queue[i]
		order[i] = queueEntry{at: i, class: int64(r.Priority), overdue: p.overdue(r)}
		if r.MaxWaitSeconds > 0 && r.AgeSeconds >= r.MaxWaitSeconds {
			order[i].class, order[i].overdue = maxWaitClass, true
		}
	}
	slices.SortFunc(order, func(a, b queueEntry) int {
		x, y := &queue[a.at], &queue[b.at]
		if c := cmp.Compare(b.class, a.class); c != 0 {
			return c
		}
		if a.overdue != b.overdue {
			if a.overdue {
				return -1
			}
			return 1
		}
		if !a.overdue {
			if c := cmp.Compare(x.Queue, y.Queue); c != 0 {
				return c
			}
		}
		if c := cmp.Compare(y.AgeSeconds, x.AgeSeconds); c != 0 { // as a rule: the names need not be compared then
			return c
		}
		return cmp.Or(cmp.Compare(x.UID, y.UID), cmp.Compare(a.at, b.at))
	})
	return order
}

// overdue reports whether r has waited long enough to be decided before its queue's turn.
func (p *Params) overdue(r *Request) bool {
	warm, _ := r.expected(p)
	return r.AgeSeconds > max(p.OverdueSeconds, p.OverdueFactor*warm)
}

// queueLane holds one queue's requests of one class that are not overdue, oldest first.
type queueLane struct {
	queue   string
	entries []queueEntry
	tag     float64
}

// serve calls visit for every entry in the order of service, until visit returns false. slotSeconds is what the entry
// was given, and is charged to its queue.
func serve(
	order []queueEntry, queue []Request, shares *Shares,
	visit func(queueEntry) (slotSeconds float64, more bool),
) {
	tags := map[string]float64{} // of queues served in this round
	now := shares.now
	charge := func(name string, seconds float64) {
		start := max(now, shares.tag[name], tags[name])
		now = max(now, start)
		tags[name] = start + seconds/shares.weightOf(name)
	}
	for len(order) > 0 {
		end := 1
		for end < len(order) && order[end].class == order[0].class && order[end].overdue == order[0].overdue {
			end++
		}
		block := order[:end]
		order = order[end:]
		if block[0].overdue {
			for _, t := range block {
				given, more := visit(t)
				if given > 0 {
					charge(queue[t.at].Queue, given)
				}
				if !more {
					return
				}
			}
			continue
		}
		lanes := lanesOf(block, queue)
		for len(lanes) > 0 {
			best := nextLane(lanes, shares, tags, now)
			l := &lanes[best]
			given, more := visit(l.entries[0])
			if given > 0 {
				charge(l.queue, given)
			}
			if !more {
				return
			}
			if l.entries = l.entries[1:]; len(l.entries) == 0 {
				lanes = slices.Delete(lanes, best, best+1)
			}
		}
	}
}

// lanesOf splits a block, which is grouped by queue, into a lane for each queue.
func lanesOf(block []queueEntry, queue []Request) []queueLane {
	var lanes []queueLane
	for len(block) > 0 {
		name, end := queue[block[0].at].Queue, 1
		for end < len(block) && queue[block[end].at].Queue == name {
			end++
		}
		lanes = append(lanes, queueLane{queue: name, entries: block[:end]})
		block = block[end:]
	}
	return lanes
}

// nextLane returns the index of the lane with the smallest tag; ties go to the older build, then to the smaller name.
func nextLane(lanes []queueLane, shares *Shares, tags map[string]float64, now float64) int {
	best := 0
	for i := range lanes {
		lanes[i].tag = max(now, shares.tag[lanes[i].queue], tags[lanes[i].queue])
		if lanes[i].tag < lanes[best].tag {
			best = i
		}
	}
	return best
}
