// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"slices"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/scheduler"
)

// queue lists the builds that wait, with their requests, nearly in the order in which they are served: the scheduler
// sorts what is sorted already much faster. It is kept from cycle to cycle, since most of it stays the same.
type queue struct {
	builds   []pendingBuild // sorted by before
	requests []scheduler.Request
	added    []pendingBuild         // since the last settle
	dropped  int                    // entries of builds that are out of date
	last     uint64                 // the newest entry
	byUID    map[string]*buildState // builds that wait
}

// pendingBuild is an entry. It is out of date when the build has another entry or none.
type pendingBuild struct {
	build   *buildState
	demand  *demand
	renewal uint32 // of the demand, that the request has
	entry   uint64
	queued  float64 // when, in Unix seconds
	lost    string  // the daemon that lost the latest attempt and is to be avoided, empty for none
}

func newQueue() queue { return queue{byUID: map[string]*buildState{}} }

// add makes an entry for a build that waits and has none.
func (q *queue) add(k *buildState) {
	q.last++
	k.entry = q.last
	q.byUID[string(k.UID)] = k
	run := k.object.Status.Run
	p := pendingBuild{build: k, entry: k.entry, queued: seconds(run.QueuedAt.Time)}
	if run.Lost != nil && run.Lost.Reason != v1alpha1.ReasonDaemonDraining {
		p.lost = run.Lost.Daemon
	}
	q.added = append(q.added, p)
}

// remove takes a build out, if it is in.
func (q *queue) remove(k *buildState) {
	if k.entry == 0 {
		return
	}
	k.entry = 0
	delete(q.byUID, string(k.UID))
	q.dropped++
}

func (p *pendingBuild) isOutdated() bool { return p.build.entry != p.entry }

// before is an order of service: by priority, queue and age, without builds that are overdue and shares.
func (p *pendingBuild) before(q *pendingBuild) int {
	a, b := p.build, q.build
	return cmp.Or(
		cmp.Compare(b.object.Spec.Priority, a.object.Spec.Priority),
		cmp.Compare(a.object.Spec.Queue, b.object.Spec.Queue),
		cmp.Compare(p.queued, q.queued),
		cmp.Compare(a.UID, b.UID),
	)
}

// settle drops what is out of date and puts what was added in its place. request makes the constant part of an entry's
// request.
func (q *queue) settle(request func(*pendingBuild) scheduler.Request) {
	q.added = slices.DeleteFunc(q.added, func(p pendingBuild) bool { return p.isOutdated() })
	if q.dropped > 0 {
		q.compact()
	}
	if len(q.added) == 0 {
		return
	}
	slices.SortFunc(q.added, func(a, b pendingBuild) int { return a.before(&b) })
	old := len(q.builds)
	q.builds = slices.Grow(q.builds, len(q.added))[:old+len(q.added)]
	q.requests = slices.Grow(q.requests, len(q.added))[:old+len(q.added)]
	to := len(q.builds) - 1
	for next := len(q.added) - 1; next >= 0; to-- {
		if old > 0 && q.builds[old-1].before(&q.added[next]) > 0 {
			old--
			q.builds[to], q.requests[to] = q.builds[old], q.requests[old]
			continue
		}
		q.builds[to] = q.added[next]
		q.requests[to] = request(&q.builds[to])
		next--
	}
	q.added = q.added[:0]
}

// compact drops entries that are out of date. It moves whole runs of the others.
func (q *queue) compact() {
	kept, run := 0, 0 // the run of entries to keep that is being read begins there
	keep := func(end int) {
		if kept != run {
			copy(q.builds[kept:], q.builds[run:end])
			copy(q.requests[kept:], q.requests[run:end])
		}
		kept += end - run
	}
	for i := range q.builds {
		if q.builds[i].isOutdated() {
			keep(i)
			run = i + 1
		}
	}
	keep(len(q.builds))
	clear(q.builds[kept:])
	clear(q.requests[kept:])
	q.builds, q.requests, q.dropped = q.builds[:kept], q.requests[:kept], 0
}

// updateQueue brings the requests of the builds that wait up to the cycle.
func (s *State) updateQueue() {
	q := &s.queue
	q.settle(func(p *pendingBuild) scheduler.Request {
		b := p.build.object
		p.demand = s.demandOf(b)
		return scheduler.Request{
			UID:      string(b.UID),
			Queue:    b.Spec.Queue,
			Priority: b.Spec.Priority,
			Platform: normalPlatform(b.Spec.Platform()),
		}
	})
	now := seconds(s.now)
	for i := range q.builds {
		p, r := &q.builds[i], &q.requests[i]
		s.renew(p.demand)
		if !p.demand.remembered {
			p.demand.remembered = true
			s.candidates.Learn(s.view, p.demand.id.key)
		}
		r.AgeSeconds = now - p.queued
		if p.renewal != p.demand.renewal {
			p.renewal = p.demand.renewal
			r.Keys, r.WarmSeconds, r.ColdSeconds = p.demand.keys, p.demand.warm, p.demand.cold
		}
		if p.lost != "" {
			r.FailedOn = s.failedOn(p.lost, r.Platform)
		}
	}
}

// failedOn is the identity of the daemon that lost a build's attempt, nil if it is gone, or if no other daemon takes
// builds of the platform: the build would wait for ever.
func (s *State) failedOn(daemon, platform string) []scheduler.DaemonID {
	d := s.daemons[daemon]
	if d == nil || d.object == nil || !s.view.HasAlternative(d.is.ID, platform) {
		return nil
	}
	return []scheduler.DaemonID{d.is.ID}
}
