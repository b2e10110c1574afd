// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"slices"
)

var agentNames = [agents]string{"agent A", "agent B"}

// label is what a step is, for people.
type label struct{ who, what, which string }

func (l label) String() string {
	if l.which == "" {
		return l.who + " " + l.what
	}
	return l.who + " " + l.what + " " + l.which
}

// world is a scenario: whose agent is whose, and what is left out of the protocol.
type world struct {
	daemonOf [agents]uint8
	without  mutation
	// steady agents renew in time as long as they run. It saves states.
	steady [agents]bool
	mem    memory
	// emit takes a step and the state it leads to.
	emit func(label, state)
}

func (w *world) hasAgent(d uint8) bool { return slices.Contains(w.daemonOf[:], d) }

// expand emits all steps from a state.
func (w *world) expand(s *state) {
	w.tick(s)
	w.managerSteps(s)
	for i := range s.a {
		w.agentSteps(s, i)
	}
	if s.isLate {
		n := *s
		w.apply(&n, n.late)
		w.emit(label{"the API server", "receives a late write", ""}, n)
	}
	if s.asks > 0 {
		n := *s
		n.asks--
		b := n.build
		b.asked++
		w.apply(&n, write{build: b})
		w.emit(label{"a user", "asks for another run", ""}, n)
	}
}

// outcome is what the writer learns of a write.
type outcome int

const (
	written outcome = iota
	failed
	conflict
)

// apply changes the build on the server. Everybody's view is outdated.
func (w *world) apply(n *state, change write) {
	old := n.build
	if of := change.of; of != (claimed{}) {
		switch {
		case old.run != of.run || old.attempt != of.attempt || old.startedBy != of.by || old.lost == old.attempt:
			n.broken = staleReport
		case change.final && n.ended&(1<<of.run) != 0:
			n.broken = secondEnd
		}
		if change.final {
			n.ended |= 1 << of.run
		}
	}
	n.build, n.isLate, n.late = change.build, false, write{}
	n.m.build.fresh = false
	for i := range n.a {
		n.a[i].build.fresh = false
	}
}

// writeBuild emits what may come of a write. The lock holds if fresh.
func (w *world) writeBuild(s *state, change write, fresh bool, l label, then func(*state, outcome)) {
	emit := w.outcomes(s, fresh, l, func(n *state) { w.apply(n, change) }, then)
	if fresh && s.faults > 0 {
		emit("(no answer yet)", failed, 1, func(n *state) { n.late, n.isLate = change, true })
	}
}

// outcomes emits what may come of any write: apply is what it changes on the server. The lock holds if fresh. It
// returns how another outcome of the same write is emitted, at a cost of faults.
func (w *world) outcomes(
	s *state, fresh bool, l label, apply func(*state), then func(*state, outcome),
) (emit func(suffix string, o outcome, cost uint8, prepare func(*state))) {
	emit = func(suffix string, o outcome, cost uint8, prepare func(*state)) {
		n := *s
		n.faults -= cost
		prepare(&n)
		then(&n, o)
		if as := *s; cost > 0 { // a fault that nobody notices is none
			if as.faults -= cost; n == as {
				return
			}
		}
		w.emit(label{l.who, l.what, l.which + suffix}, n)
	}
	if !fresh {
		emit("(conflict)", conflict, 0, func(*state) {})
		return emit
	}
	emit("", written, 0, apply)
	if s.faults > 0 {
		emit("(the answer is lost)", failed, 1, apply)
		emit("(refused)", failed, 1, func(*state) {})
	}
	return emit
}

// writeLease is writeBuild for a Lease.
func (w *world) writeLease(s *state, d int, to holder, fresh bool, l label, then func(*state, outcome)) {
	apply := func(n *state) {
		n.holder[d] = to
		n.m.leases[d].fresh = false
		for i := range n.a {
			if int(w.daemonOf[i]) == d {
				n.a[i].lease.fresh = false
			}
		}
	}
	w.outcomes(s, fresh, l, apply, then)
}

// tick emits that time passes. Timers that are due then have fired before it does.
func (w *world) tick(s *state) {
	n := *s
	older := func(age *uint8) { *age = min(*age+1, leaseTicks) }
	for d := range n.m.leases {
		if n.m.leases[d].known {
			older(&n.m.leases[d].age)
		}
	}
	for i := range n.a {
		a := &n.a[i]
		if a.pause == frozen {
			continue
		}
		older(&a.age)
		if a.lease.known {
			older(&a.lease.age)
		}
		if a.pause == stopped {
			continue
		}
		if w.steady[i] && a.session != nobody && a.lease.fresh && a.lease.holder == a.session {
			w.renewInTime(&n, i)
		}
		if a.session != nobody && a.age >= fenceAfter && w.without != fenceNot {
			w.drop(a)
		}
		w.stopInTime(a)
	}
	if n != *s {
		w.emit(label{"time", "passes", ""}, n)
	}
}

// renewInTime renews the Lease of a steady agent, and the manager sees it.
func (w *world) renewInTime(n *state, i int) {
	n.a[i].age = 0
	if l := &n.m.leases[w.daemonOf[i]]; l.fresh {
		l.age = 0
	}
}

// stopInTime ends an attempt that was to stop: nothing executes any more when the Lease can be taken.
func (w *world) stopInTime(a *agent) {
	if a.session == nobody && a.age >= leaseTicks && (a.at == stopping || a.at == cancelled) {
		w.end(a)
	}
}

// normalize clears what no step depends on, so that fewer states differ.
func (w *world) normalize(n *state) {
	for d := range n.m.leases {
		l := &n.m.leases[d]
		if l.holder == nobody || l.holder == taken || l.holder == never && l.fresh {
			l.age = 0
		}
	}
	for i := range n.a {
		a := &n.a[i]
		if l := &a.lease; !l.known {
			*l = lease{holder: never, age: l.age, fresh: l.fresh}
		}
		if a.session != nobody || a.lease.holder == nobody || a.lease.holder == taken || a.lease.holder == never {
			a.lease.age = 0
		}
		if a.at != idle && a.at != finished {
			a.last = claimed{}
		}
	}
	if over := n.m.over; over != nobody && over != n.build.startedBy && over != n.build.releasing.by &&
		over != n.m.build.build.startedBy && over != n.m.build.build.releasing.by && !n.isLate {
		n.m.over = nobody
	}
}

// check returns what is wrong with a state.
func (w *world) check(s *state) fault {
	if s.broken != sound {
		return s.broken
	}
	b, count := s.build, 0
	if b.deaths >= maxDeaths && b.lost != b.attempt && !b.final {
		return poisonAgain
	}
	for i := range s.a {
		a := s.a[i]
		if a.pause != running || a.at != executing && a.at != stopping && a.at != cancelled {
			continue
		}
		count++
		switch r := b.releasing; {
		case r.by != nobody:
			if a.on != claimed(r) {
				return executedAfterwards
			}
		case a.on != (claimed{b.run, b.attempt, b.startedBy}) || b.final || b.daemon == nowhere || b.lost == b.attempt:
			return executedAfterwards
		}
	}
	if count > 1 {
		return doubleExecution
	}
	return sound
}
