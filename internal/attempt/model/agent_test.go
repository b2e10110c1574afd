// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/attempt"
)

// agentSteps emits what an agent may do next.
func (w *world) agentSteps(s *state, i int) {
	a := s.a[i]
	who := agentNames[i]
	if s.faults > 0 && a.pause == running {
		w.agentFaults(s, i)
	}
	if a.pause == gone {
		return
	}
	if a.pause == stopped || a.pause == frozen {
		n := *s
		w.awake(&n.a[i])
		w.emit(label{who, "goes on", ""}, n)
		return
	}
	if !a.build.fresh {
		n := *s
		n.a[i].build = view{s.build, true}
		w.emit(label{who, "observes the build", ""}, n)
	}
	w.keepLease(s, i)
	switch a.at {
	case idle:
		w.idleSteps(s, i)
	case executing:
		w.executingSteps(s, i)
	case stopping, cancelled:
		n := *s
		w.end(&n.a[i])
		w.emit(label{who, "has ended the attempt", ""}, n)
	case finished:
		w.report(s, i)
	}
	w.acknowledge(s, i)
}

// agentFaults emits crashes and pauses.
func (w *world) agentFaults(s *state, i int) {
	n := *s
	n.faults--
	old := n.a[i]
	n.a[i] = agent{sessions: old.sessions, age: leaseTicks, build: old.build, lease: lease{holder: never}}
	if old.kept {
		n.a[i].at, n.a[i].on, n.a[i].end, n.a[i].kept = finished, old.on, old.end, true
	}
	w.emit(label{agentNames[i], "crashes and starts again", ""}, n)
	if s.a[1-i].pause != gone {
		n.a[i] = agent{age: leaseTicks, lease: lease{holder: never}, pause: gone}
		w.emit(label{agentNames[i], "is gone for good", ""}, n)
	}
	if old.session == nobody {
		return // a pause would change nothing
	}
	for _, p := range []pause{stopped, frozen} {
		n := *s
		n.faults--
		n.a[i].pause = p
		w.emit(label{agentNames[i], pauseNames[p], ""}, n)
	}
}

var pauseNames = map[pause]string{stopped: "is stopped", frozen: "is frozen with its machine"}

// awake has a process go on. What its timers were to do, they do at once.
func (w *world) awake(a *agent) {
	if a.pause == frozen {
		a.pause = unsuspecting
		return
	}
	a.pause = running
	if a.session != nobody && a.age >= fenceAfter && w.without != fenceNot {
		w.drop(a)
	}
	w.stopInTime(a)
}

// drop ends the session.
func (w *world) drop(a *agent) {
	a.session = nobody
	if a.at == executing {
		a.at = stopping
	}
}

// end is that nothing executes any more of an attempt that was to stop. Nobody wants to know the end of one that was
// cancelled.
func (w *world) end(a *agent) {
	a.last = a.on
	if a.pause == unsuspecting && a.session == nobody {
		a.pause = running
	}
	if a.at == cancelled {
		a.at, a.on = idle, claimed{}
		return
	}
	a.at, a.end = finished, lost
}

// decide is what the agent does about the build as it sees it.
func (w *world) decide(s *state, i int, known claimed) attempt.Action {
	a, d := s.a[i], w.daemonOf[i]
	r := w.mem.do(op{name: "decide", build: a.build.build, arg: known, self: a.session, daemon: d},
		func(o *v1alpha1.HLBBuild) (bool, int) {
			id := known.object(d).ID
			session := a.session.session(d)
			session.Daemon = daemonKey(d)
			return true, int(attempt.Decide(o, session, &id))
		})
	return attempt.Action(r.value)
}

// idleSteps emits what an agent may do that is on no attempt.
func (w *world) idleSteps(s *state, i int) {
	a := s.a[i]
	if a.session == nobody && w.without != claimNoSession {
		return
	}
	b := a.build.build
	c := claimed{b.run, b.attempt, a.session}
	switch w.decide(s, i, a.last) {
	case attempt.Start:
		if w.without == claimNoSession && a.session == nobody {
			c.by = session(i, a.sessions)
		}
		w.claim(s, i, c)
	case attempt.Resume:
		if w.without != resumeNot {
			n := *s
			n.a[i].at, n.a[i].on = executing, c
			w.emit(label{agentNames[i], "goes on with its claim", ""}, n)
		}
	case attempt.Orphan:
		w.disown(s, i)
	}
}

func (w *world) claim(s *state, i int, c claimed) {
	d := w.daemonOf[i]
	change := func(o *v1alpha1.HLBBuild) bool {
		return attempt.Claim(o, c.object(d), epoch)
	}
	after, done := w.mem.change(op{name: "claim", build: s.a[i].build.build, arg: c, daemon: d}, change)
	if !done {
		return
	}
	w.agentWrite(s, i, write{build: after}, w.without == claimBlind, "claims the attempt",
		func(n *state, o outcome) {
			if o == written {
				n.a[i].at, n.a[i].on = executing, c
			}
		})
}

func (w *world) disown(s *state, i int) {
	a, d := s.a[i], w.daemonOf[i]
	b := a.build.build
	c := claimed{b.run, b.attempt, b.startedBy}
	after, done := w.mem.change(op{name: "disown", build: b, arg: c, self: a.session, daemon: d},
		func(o *v1alpha1.HLBBuild) bool {
			return attempt.Disown(o, c.object(d), a.session.session(d), "orphaned", epoch)
		})
	if done {
		w.agentWrite(s, i, write{build: after}, false, "reports an earlier session's attempt", nil)
	}
}

// executingSteps emits what may become of an attempt that executes.
func (w *world) executingSteps(s *state, i int) {
	for e := range missing + 1 {
		n := *s
		n.a[i].at, n.a[i].end = finished, e
		n.a[i].last = n.a[i].on
		w.emit(label{agentNames[i], "ends the attempt:", endNames[e]}, n)
	}
	if w.decide(s, i, s.a[i].on) != attempt.Continue {
		n := *s
		n.a[i].at = cancelled
		w.emit(label{agentNames[i], "cancels the attempt", ""}, n)
	}
}

var endNames = map[end]string{
	succeeded: "success", lost: "infrastructure failed", missing: "something is missing",
}

// report emits a report of the end, or that it is void.
func (w *world) report(s *state, i int) {
	a, d := s.a[i], w.daemonOf[i]
	if a.session == nobody {
		return
	}
	c := a.on
	e := attempt.End{}
	switch a.end {
	case lost:
		e.Lost = &attempt.Cause{Reason: v1alpha1.ReasonLeaseLost}
	case missing:
		e.Missing = &attempt.Cause{Reason: v1alpha1.ReasonSecretNotFound}
	}
	e.At.Time = epoch
	what := "report " + endNames[a.end]
	finish := func(o *v1alpha1.HLBBuild) bool {
		if now, ok := attempt.ClaimedAttempt(o); w.without == reportAny && ok {
			return attempt.Finish(o, now, e)
		}
		return attempt.Finish(o, c.object(d), e)
	}
	after, done := w.mem.change(op{name: what, build: a.build.build, arg: c, daemon: d}, finish)
	if !done {
		if a.build.fresh {
			n := *s
			n.a[i].at, n.a[i].on, n.a[i].kept = idle, claimed{}, false
			w.emit(label{agentNames[i], "drops a report that is void", ""}, n)
		}
		return
	}
	change := write{build: after, of: c, final: a.end == succeeded}
	w.agentWrite(s, i, change, w.without == reportBlind, "reports the end", func(n *state, o outcome) {
		switch {
		case o == written, o == failed && w.without == reportDropped:
			n.a[i].at, n.a[i].on, n.a[i].kept = idle, claimed{}, false
		case o == failed:
			n.a[i].kept = true
		}
	})
}

// acknowledge emits the acknowledgement of a release.
func (w *world) acknowledge(s *state, i int) {
	a, d := s.a[i], w.daemonOf[i]
	if w.without == acknowledgeNot || a.build.build.releasing.by == nobody {
		return
	}
	active := a.at == executing || a.at == stopping || a.at == cancelled
	flag := active && w.without != acknowledgeEarly
	after, done := w.mem.change(op{name: "acknowledge", build: a.build.build, self: a.session, daemon: d, flag: flag},
		func(o *v1alpha1.HLBBuild) bool {
			return attempt.AcknowledgeRelease(o, a.session.session(d), flag, epoch)
		})
	if done {
		w.agentWrite(s, i, write{build: after}, false, "acknowledges the release", nil)
	}
}

// agentWrite writes a change of the build as an agent does: after a conflict, it reads the build from the API server.
func (w *world) agentWrite(
	s *state, i int, change write, blind bool, what string, then func(*state, outcome),
) {
	fresh := s.a[i].build.fresh || blind
	w.writeBuild(s, change, fresh, label{agentNames[i], what, ""}, func(n *state, o outcome) {
		switch o {
		case written:
			n.a[i].build = view{change.build, true}
		case conflict:
			n.a[i].build = view{n.build, true}
		}
		if then != nil {
			then(n, o)
		}
	})
}

// keepLease emits what an agent may do about its Lease.
func (w *world) keepLease(s *state, i int) {
	a, d := s.a[i], int(w.daemonOf[i])
	if !a.lease.known || !a.lease.fresh {
		n := *s
		l := lease{holder: s.holder[d], fresh: true, known: true}
		if a.lease.fresh {
			l.age = a.lease.age
		}
		n.a[i].lease = l
		if a.session != nobody && s.holder[d] != a.session && w.without != continueAfterTaken &&
			w.without != renewTaken {
			w.drop(&n.a[i])
		}
		w.heard(&n.a[i])
		w.emit(label{agentNames[i], "reads its Lease", ""}, n)
	}
	if !a.lease.known {
		return
	}
	self, isNew := a.session, false
	object := a.lease.holder.lease()
	if self == nobody {
		tooSoon := a.age < leaseTicks && w.without != sessionAtOnce && w.without != sessionSameID
		if tooSoon || a.sessions == sessionsPerAgent {
			return
		}
		self, isNew = session(i, a.sessions+1), true
		if w.without == sessionSameID && a.sessions > 0 {
			self = session(i, a.sessions)
		}
		unchanged := time.Duration(a.lease.age) * tick
		if w.without == acquireForeign {
			unchanged = leaseTicks * tick
		}
		if !attempt.MayAcquire(object, holderName(self), unchanged, leaseTicks*tick) {
			return
		}
	} else if w.steady[i] ||
		!attempt.Renew(object, holderName(self), leaseTicks*tick, epoch) && w.without != renewTaken {
		return
	}
	what := map[bool]string{true: "acquires its Lease", false: "renews its Lease"}[isNew]
	w.writeLease(s, d, self, a.lease.fresh, label{agentNames[i], what, ""}, func(n *state, o outcome) {
		me := &n.a[i]
		if o != written {
			me.lease.known = false
			if isNew {
				me.sessions++
			}
			return
		}
		me.lease = lease{holder: self, fresh: true, known: true}
		me.age, me.session = 0, self
		w.heard(me)
		if isNew {
			me.sessions = max(me.sessions, uint8(self)%16)
		}
	})
}

// heard notes that the agent knows how its Lease stands. What it may still be executing, it is about to end.
func (w *world) heard(a *agent) {
	if a.pause == unsuspecting && a.at != stopping && a.at != cancelled {
		a.pause = running
	}
}
