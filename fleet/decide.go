// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/scheduler"
)

// A round of more builds than largeRound takes tens of milliseconds when every build is looked at, and megabytes to
// explain.
const (
	largeRound           = 1000
	largeRoundInterval   = time.Second
	largeExplainInterval = 10 * time.Second
)

// Status updates of waiting builds are limited, so that they don't delay placements at the API server: when thousands
// wait and a daemon comes or goes, the reason of all of them changes.
const (
	waitUpdatesPerSecond = 50
	waitUpdatesBurst     = 200
	// minReasonInterval and minCountInterval are how long a status keeps a reason before it gets another one, or
	// another count of refusals.
	minReasonInterval = 10 * time.Second
	minCountInterval  = time.Minute
)

// A long queue moves while builds of it are placed. Most of its builds are placed before anybody reads why they wait,
// so their status is updated late and few at a time. Opening a run and placing it is then one write.
const (
	shortQueue             = 16
	movingInterval         = 5 * time.Second // since the latest placement
	movingWait             = 30 * time.Second
	movingUpdatesPerSecond = 5
)

// decide decides the queue. Of a large queue it decides only what can start now, but once in a while looks at every
// build, to update why it waits and to explain the round.
func (s *State) decide(w *Writes) {
	s.updateQueue()
	requests := s.queue.requests
	w.Queued = len(requests)
	if w.Queued == 0 {
		return
	}
	params := s.Params()
	if w.Queued > largeRound && s.now.Sub(s.lookedAt) < largeRoundInterval {
		for _, d := range scheduler.DecideStarts(s.view, requests, &params) {
			w.Builds = append(w.Builds, BuildWrite{Build: s.queue.byUID[d.UID].object, Decision: d})
			s.placedAt = s.now
		}
		return
	}
	s.lookedAt = s.now
	decisions := scheduler.Cycle(s.view, requests, &params)
	w.Builds = s.selectWrites(decisions)
	isExplained := w.Queued <= largeRound || s.now.Sub(s.explainedAt) >= largeExplainInterval
	if s.Explain && isExplained && len(w.Builds) > 0 {
		s.explainedAt = s.now
		w.Round = &Round{Record: scheduler.NewRecord(s.view, requests, &params, decisions)}
		for i := range s.queue.builds {
			w.Round.Names = append(w.Round.Names, s.queue.builds[i].build.object.Name)
		}
	}
}

// selectWrites selects the decisions to write: every placement, then status updates of waiting builds up to the rate
// limit, builds without any first.
func (s *State) selectWrites(decisions []scheduler.Decision) []BuildWrite {
	var out []BuildWrite
	for i := range decisions {
		if decisions[i].Action == scheduler.Run {
			out = append(out, BuildWrite{Build: s.queue.builds[i].build.object, Decision: decisions[i]})
			s.placedAt = s.now
		}
	}
	moving := len(decisions)-len(out) > shortQueue && s.now.Sub(s.placedAt) < movingInterval
	rate := float64(waitUpdatesPerSecond)
	if moving {
		rate = movingUpdatesPerSecond
	}
	s.waitUpdates.refill(rate, time.Second, waitUpdatesBurst, s.now)
	for _, again := range []bool{false, true} {
		for i := range decisions {
			k, d := s.queue.builds[i].build, &decisions[i]
			since := s.now.Sub(k.UpdatedAt)
			if d.Action == scheduler.Run || again == k.UpdatedAt.IsZero() || since < minReasonInterval {
				continue
			}
			if moving && s.now.Sub(k.object.Status.Run.QueuedAt.Time) < movingWait {
				continue
			}
			sameReason, needed := needsUpdate(k.object, d, since >= minCountInterval)
			if !needed {
				if sameReason && k.UpdatedAt.IsZero() {
					k.UpdatedAt = s.now // by the manager before this one
				}
				continue
			}
			if !s.waitUpdates.take() {
				return out
			}
			k.UpdatedAt = s.now
			out = append(out, BuildWrite{Build: k.object, Decision: *d})
		}
	}
	return out
}

// needsUpdate reports whether the status of a build that keeps waiting is out of date: it has another reason or, where
// counts matter, for want of a daemon another count of refusals, or it has moved far in the queue. The seconds that a
// wait is expected to take change all the time and don't count.
func needsUpdate(build *v1alpha1.HLBBuild, d *scheduler.Decision, counts bool) (sameReason, needed bool) {
	for i := range build.Status.Conditions {
		if c := &build.Status.Conditions[i]; c.Type == v1alpha1.ConditionScheduled {
			same := c.Reason == waitReason(d)
			isOther := d.Action == scheduler.NoFit && c.Message != d.String() ||
				hasMoved(build.Status.Run.QueuePosition, d.Position)
			return same, !same || counts && isOther
		}
	}
	return false, true
}

// hasMoved reports whether a place in the queue is at most half or at least twice what the status says. A build that
// moves up from the nth place is so told of it about log2 n times.
func hasMoved(said, is int32) bool { return is != said && (is <= said/2 || is >= 2*said) }
