// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/attempt"
	"github.com/openllb/hlb-operator/internal/status"
)

const tick = time.Second

// managerSteps emits what the manager may do next.
func (w *world) managerSteps(s *state) {
	if !s.m.build.fresh {
		n := *s
		n.m.build = view{s.build, true}
		w.emit(label{"the manager", "observes the build", ""}, n)
	}
	for d := range s.holder {
		w.managerLease(s, d)
	}
	w.managerBuild(s)
	w.judge(s)
	if s.faults > 0 {
		n := *s
		n.faults--
		n.m.over = nobody
		for d := range n.m.leases {
			n.m.leases[d].age = 0
		}
		if n.m != s.m {
			w.emit(label{"the manager", "restarts", ""}, n)
		}
	}
}

// managerLease emits what the manager may do about a Lease.
func (w *world) managerLease(s *state, d int) {
	l := s.m.leases[d]
	if !l.fresh {
		n := *s
		n.m.leases[d] = lease{holder: s.holder[d], fresh: true, known: true}
		w.emit(label{"the manager", "observes the Lease of", daemonName(uint8(d))}, n)
	}
	object, unchanged := l.holder.lease(), time.Duration(l.age)*tick
	if w.without == takeEarly {
		unchanged = leaseTicks * tick
	}
	if w.without != takeNot && attempt.Take(object, unchanged, leaseTicks*tick) {
		w.takeLease(s, d, taken, "takes the Lease of")
	}
	by := s.m.build.build.releasing.by
	object = l.holder.lease()
	if s.faults > 0 && by != nobody && attempt.Revoke(object, holderName(by)) {
		n := *s
		n.faults--
		w.takeLease(&n, d, revoked, "revokes the Lease of")
	}
}

func (w *world) takeLease(s *state, d int, to holder, what string) {
	fresh := s.m.leases[d].fresh || w.without == takeBlind
	l := label{"the manager", what, daemonName(uint8(d))}
	w.writeLease(s, d, to, fresh, l, func(n *state, o outcome) {
		if o == written {
			n.m.leases[d] = lease{holder: to, fresh: true, known: true}
		}
	})
}

// judge has the manager look whether the session that may be executing is over.
func (w *world) judge(s *state) {
	session, may := w.executing(s.m.build.build)
	if !may || s.m.over == session.by {
		return
	}
	d := session.daemon
	l := s.m.leases[d]
	n := *s
	if w.without != loseByCache {
		if !l.fresh {
			l = lease{holder: s.holder[d], fresh: true, known: true}
		}
		n.m.leases[d] = l
	}
	object, unchanged := l.holder.lease(), time.Duration(l.age)*tick
	if l.holder == never {
		object = nil
	}
	if w.without == revokedIsOver && l.holder == revoked {
		unchanged = leaseTicks * tick
	}
	over := attempt.IsOver(object, session.by.session(d), unchanged, leaseTicks*tick)
	if over || w.without == loseUnproven || w.without == releaseEarly {
		n.m.over = session.by
		w.emit(label{"the manager", "finds the session over:", holderName(session.by)}, n)
	}
}

// executor is a session and its daemon.
type executor struct {
	by     holder
	daemon uint8
}

func (w *world) executing(b build) (executor, bool) {
	r := w.mem.do(op{name: "executing", build: b}, func(o *v1alpha1.HLBBuild) (bool, int) {
		s, ok := attempt.Executing(o)
		if !ok {
			return false, 0
		}
		return true, int(holderOf(s.ID))<<8 | int(numberIn(s.Daemon.Name))
	})
	return executor{holder(r.value >> 8), uint8(r.value)}, r.done
}

// managerBuild emits what the manager may do about the build.
func (w *world) managerBuild(s *state) {
	b := s.m.build.build
	over := false
	if e, may := w.executing(b); may {
		over = s.m.over == e.by
	}
	w.managerWrite(s, "opens a run", b, func(o *v1alpha1.HLBBuild) bool {
		if !status.NeedsRun(o) {
			return false
		}
		if w.without == openNoRelease && o.Status.Run != nil {
			o.Status.Run.StartedBy = ""
		}
		attempt.Open(o, nextRun(o), epoch)
		return true
	})
	for d := range uint8(daemons) {
		if !w.hasAgent(d) {
			continue
		}
		w.managerWrite(s, "places the run on "+daemonName(d), b, func(o *v1alpha1.HLBBuild) bool {
			if w.without == placeReleasing && o.Status.Releasing != nil && !status.IsFinal(o) {
				o.Status.Releasing, o.Status.Placement = nil, nil
			}
			return attempt.Place(o, v1alpha1.PlacementStatus{Daemon: daemonName(d)}, epoch)
		})
	}
	w.managerWrite(s, "withdraws the placement", b, func(o *v1alpha1.HLBBuild) bool {
		if w.without == withdrawClaimed && status.IsBound(o) {
			o.Status.Run.StartedBy, o.Status.Run.StartedAt = "", nil
		}
		return attempt.Withdraw(o, "withdrawn", epoch)
	})
	if w.without != releaseEarly && over {
		w.managerWrite(s, "declares the attempt lost", b, func(o *v1alpha1.HLBBuild) bool {
			w.forgetIsolation(o)
			return attempt.DeclareLost(o, true, attempt.Cause{Reason: v1alpha1.ReasonDaemonLost}, 0, epoch)
		})
	}
	if w.without != releaseNot && over {
		w.managerWrite(s, "ends the release", b, func(o *v1alpha1.HLBBuild) bool {
			return attempt.Release(o, true, epoch)
		})
	}
	w.managerWrite(s, "decides about the next attempt", b, func(o *v1alpha1.HLBBuild) bool {
		w.forgetIsolation(o)
		return attempt.Next(o, 0, epoch)
	})
	w.managerWrite(s, "looks for what was missing", b, func(o *v1alpha1.HLBBuild) bool {
		was := status.IsHeld(o)
		status.CheckAgain(o, epoch.Add(time.Hour))
		return was && !status.IsHeld(o)
	})
	if s.faults > 0 {
		n := *s
		n.faults--
		w.managerWrite(&n, "gives the attempt up", b, func(o *v1alpha1.HLBBuild) bool {
			return attempt.GiveUp(o, "no report", epoch)
		})
	}
}

// forgetIsolation is the mutation that decides about a run as if it had not been alone on its daemon.
func (w *world) forgetIsolation(o *v1alpha1.HLBBuild) {
	if w.without == isolationNot && o.Status.Run != nil {
		o.Status.Run.Isolated = false
	}
}

func nextRun(o *v1alpha1.HLBBuild) v1alpha1.RunStatus {
	run := v1alpha1.RunStatus{Generation: 1, RequestedAt: status.Requested(o), ID: "r-1"}
	if old := o.Status.Run; old != nil {
		run.ID = "r-" + string('0'+old.Number+1)
	}
	return run
}

// managerWrite writes a change of the build as the manager does: what it conflicts with, its cache will bring.
func (w *world) managerWrite(s *state, what string, b build, change func(*v1alpha1.HLBBuild) bool) {
	after, done := w.mem.change(op{name: what, build: b}, change)
	if !done || !s.m.build.fresh {
		return
	}
	w.writeBuild(s, write{build: after}, true, label{"the manager", what, ""}, func(n *state, o outcome) {
		if o == written {
			n.m.build = view{after, true}
		}
	})
}
