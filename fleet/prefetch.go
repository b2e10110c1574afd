// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"slices"
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/scheduler"
)

const (
	// prefetchRest is how long the same daemons must have taken builds before copies are made for them: one that is
	// restarted is back by then.
	prefetchRest = 2 * time.Minute
	// prefetchTimeout is how long a request stands, as the API says.
	prefetchTimeout = 10 * time.Minute
	// maxRequests is the API's limit of a daemon's requests.
	maxRequests = 16
	// prefetchCoolDown is how long a copy that was used or requested is left alone, whatever came of it.
	prefetchCoolDown = time.Hour
	// maxBytesPerHour is as good as no bound, and an int64.
	maxBytesPerHour = 1 << 60
)

// prefetchState is the state of prefetching for a BuildCache with spec.prefetch. A new one has no budget, so that a
// manager that is restarted spends no more than one that is not. Requests of the manager before it are removed as its
// own are.
type prefetchState struct {
	// Baseline is the membership for which all prefetches were made, as a view without builds; nil before the first.
	Baseline     *baseline `json:"baseline,omitempty"`
	Members      []member  `json:"members,omitempty"` // that take builds, as last observed
	Since        time.Time `json:"since,omitzero"`    // they have been the same
	PlannedAt    time.Time `json:"plannedAt,omitzero"`
	BytesPerHour float64   `json:"bytesPerHour,omitempty"`
	Budget       bucket    `json:"budget"` // of bytes that may be requested now
	// Ended are requests that ended, for as long as they are not to be repeated.
	Ended map[prefetchID]time.Time `json:"ended,omitempty"`
}

// member is a daemon that takes builds, with the volume it has.
type member struct {
	ID    scheduler.DaemonID `json:"id,string"`
	Epoch scheduler.Epoch    `json:"epoch,string"`
}

// planPrefetch requests prefetches that pay off after a membership change, and removes requests that have ended or
// timed out.
func (s *State) planPrefetch(w *Writes) error {
	requests, err := s.prefetchRequests()
	if err != nil {
		return err
	}
	for i, d := range s.members {
		var wanted []v1alpha1.PrefetchRequest
		if requests != nil {
			wanted = requests[i]
		}
		have := d.object.Spec.Prefetch
		if slices.Equal(have, wanted) { // those that stand are copies
			continue
		}
		added := slices.DeleteFunc(
			slices.Clone(wanted),
			func(r v1alpha1.PrefetchRequest) bool { return slices.Contains(have, r) },
		)
		w.Prefetch = append(w.Prefetch, PrefetchWrite{Daemon: d.object, Requests: wanted, Added: added})
	}
	w.Recheck = s.prefetch.recheck(requests, s.now)
	return nil
}

// prefetchRequests lists the requests that each member should have, nil for none at all.
func (s *State) prefetchRequests() ([][]v1alpha1.PrefetchRequest, error) {
	spec := s.cache.Spec.Prefetch
	if spec == nil {
		s.prefetch = nil
		return nil, nil
	}
	if s.prefetch == nil {
		s.prefetch = &prefetchState{Budget: bucket{At: s.now}, Ended: map[prefetchID]time.Time{}}
	}
	p, pending := s.prefetch, false
	p.refill(spec.BandwidthPerHour.AsApproximateFloat64(), s.now)
	requests := make([][]v1alpha1.PrefetchRequest, len(s.members))
	for i, d := range s.members {
		requests[i] = p.standing(d.object, s.now)
		pending = pending || len(requests[i]) > 0
	}
	if err := p.observeMembers(s.view, wantedReplicas(s.cache), s.now); err != nil {
		return nil, err
	}
	if !p.isDue(s.now) {
		return requests, nil
	}
	p.PlannedAt = s.now
	open, err := s.addPrefetches(requests)
	if err == nil && !open && !pending {
		err = p.setBaseline(s.view)
	}
	return requests, err
}

// refill adds the budget since the last call, up to that of an hour.
func (p *prefetchState) refill(bytesPerHour float64, now time.Time) {
	p.BytesPerHour = min(bytesPerHour, maxBytesPerHour)
	p.Budget.refill(p.BytesPerHour, time.Hour, p.BytesPerHour, now)
}

// spend subtracts a request from the budget.
func (p *prefetchState) spend(r *v1alpha1.PrefetchRequest) { p.Budget.Tokens -= float64(r.Bytes) }

// standing are the requests of a daemon that have neither ended nor timed out. Those that have are not repeated for a
// while.
func (p *prefetchState) standing(d *v1alpha1.BuildDaemon, now time.Time) []v1alpha1.PrefetchRequest {
	var out []v1alpha1.PrefetchRequest
	for _, r := range d.Spec.Prefetch {
		done := slices.ContainsFunc(
			d.Status.Prefetch,
			func(s v1alpha1.PrefetchStatus) bool { return s.ID == r.ID && s.RequestedAt.Equal(&r.RequestedAt) },
		)
		if !done && now.Sub(r.RequestedAt.Time) < prefetchTimeout {
			out = append(out, r)
			continue
		}
		p.Ended[prefetchID{d.Name, d.Status.VolumeEpoch, r.ID}] = now
	}
	return out
}

// observeMembers notes which daemons take builds. The first fleet that is whole, or has been the same for long enough,
// becomes the baseline.
func (p *prefetchState) observeMembers(view *scheduler.View, wanted int32, now time.Time) error {
	if members := membersOf(view); p.Since.IsZero() || !slices.Equal(members, p.Members) {
		p.Members, p.Since = members, now
	}
	if p.Baseline == nil && len(p.Members) > 0 &&
		(len(p.Members) >= int(wanted) || now.Sub(p.Since) >= prefetchRest) {
		return p.setBaseline(view)
	}
	return nil
}

// membersOf lists the daemons that take builds, in the order of the view.
func membersOf(view *scheduler.View) []member {
	out := make([]member, 0, len(view.Daemons))
	for i := range view.Daemons {
		if d := &view.Daemons[i]; d.Phase == scheduler.Ready {
			out = append(out, member{d.ID, d.Epoch})
		}
	}
	return out
}

// setBaseline makes the present fleet the baseline.
func (p *prefetchState) setBaseline(view *scheduler.View) error {
	daemons := slices.Clone(view.Daemons)
	for i := range daemons {
		daemons[i].Busy = nil
	}
	made, err := newBaseline(daemons, view.NowSeconds)
	p.Baseline = made
	return err
}

// isChanged reports whether the daemons that take builds differ from the baseline. Without any there is nothing to
// decide.
func (p *prefetchState) isChanged() bool {
	return p.Baseline != nil && len(p.Members) > 0 && !slices.Equal(membersOf(p.Baseline.view), p.Members)
}

// isDue reports whether a plan is to be made now.
func (p *prefetchState) isDue(now time.Time) bool {
	return p.isChanged() && now.Sub(p.Since) >= prefetchRest && now.Sub(p.PlannedAt) >= sweepInterval
}

// recheck is how long until there is something to do even if nothing happens, 0 for never. It works on nil.
func (p *prefetchState) recheck(requests [][]v1alpha1.PrefetchRequest, now time.Time) time.Duration {
	if p == nil {
		return 0
	}
	var next time.Time
	due := func(at time.Time) {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	if p.isChanged() || p.Baseline == nil && len(p.Members) > 0 {
		due(latest(p.Since.Add(prefetchRest), p.PlannedAt.Add(sweepInterval)))
	}
	for _, list := range requests {
		for i := range list {
			due(list[i].RequestedAt.Add(prefetchTimeout))
		}
	}
	if next.IsZero() {
		return 0
	}
	return max(next.Sub(now), time.Second)
}
