// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/write"
	"github.com/openllb/hlb-operator/scheduler"
)

const (
	// prefetchRest is how long the same daemons must have taken builds before copies are made for them: one that is
	// restarted is back by then.
	prefetchRest = 2 * time.Minute
	// prefetchLasts is how long a request stands, as the API says.
	prefetchLasts = 10 * time.Minute
	// prefetchAtOnce is the API's limit of a daemon's requests.
	prefetchAtOnce = 16
	// prefetchCoolDown is how long a copy that was used or asked for is left alone, whatever came of it.
	prefetchCoolDown = time.Hour
)

// prefetching is what the loop of a BuildCache with spec.prefetch remembers for it. A new one has saved up nothing,
// so that a manager that is restarted spends no more than one that is not; requests that it finds it takes back as it
// would its own.
type prefetching struct {
	// the fleet as it was when it was last at rest: all that its changes were worth was brought in; nil before
	rested       *scheduler.View
	members      []member  // who takes builds, as last seen
	since        time.Time // they have been the same
	planned      time.Time // when the last plan was made
	bytesPerHour float64
	savings      float64 // bytes that may be asked for now
	savedAt      time.Time
	ended        map[prefetchID]time.Time // requests that ended, for as long as they are not to be repeated
}

// member is a daemon that takes builds, with the volume it has.
type member struct {
	id    scheduler.DaemonID
	epoch scheduler.Epoch
}

// prefetchID is a mount on a daemon's volume.
type prefetchID struct {
	daemon, epoch, mount string
}

// prefetch has daemons bring in what builds will want there after the fleet has changed, and takes back what they are
// done with. It says when it has to look again, 0 for not before something changes.
func (r *PlacementReconciler) prefetch(ctx context.Context, f *fleet) (time.Duration, error) {
	requests, again, err := f.prefetch()
	if err != nil {
		return 0, fmt.Errorf("plan copies ahead of builds: %w", err)
	}
	var errs []error
	for i := range requests {
		if d := &f.daemons[i]; !slices.Equal(d.Spec.Prefetch, requests[i]) { // those that stand are copies
			errs = append(errs, r.writePrefetch(ctx, f, d, requests[i]))
		}
	}
	return again, errors.Join(errs...)
}

// writePrefetch writes a daemon's requests, and pays for those that are new. A conflict means that the daemon changed
// meanwhile; the next plan tries again.
func (r *PlacementReconciler) writePrefetch(
	ctx context.Context,
	f *fleet,
	d *v1alpha1.BuildDaemon,
	requests []v1alpha1.PrefetchRequest,
) error {
	after := d.DeepCopy()
	after.Spec.Prefetch = requests
	writer := &write.Writer{Client: r.Client, Events: r.Events}
	outcome, err := writer.Patch(ctx, d, after, write.Yield)
	if err != nil {
		return fmt.Errorf("ask %s for cache mounts: %w", d.Name, err)
	}
	if outcome != write.Written {
		return nil
	}
	for _, q := range f.memory.prefetch.pay(d.Spec.Prefetch, requests) {
		log.FromContext(ctx).Info("Asked for a cache mount", "daemon", d.Name, "mount", q.ID, "bytes", q.Bytes)
	}
	return nil
}

// pay takes what was asked for out of the savings, and returns it.
func (p *prefetching) pay(before, after []v1alpha1.PrefetchRequest) []v1alpha1.PrefetchRequest {
	added := slices.DeleteFunc(
		slices.Clone(after),
		func(r v1alpha1.PrefetchRequest) bool { return slices.Contains(before, r) },
	)
	for i := range added {
		p.savings -= float64(added[i].Bytes)
	}
	return added
}

// prefetch is the requests that each daemon should have, and when to look again, 0 for not before something changes.
func (f *fleet) prefetch() (requests [][]v1alpha1.PrefetchRequest, again time.Duration, err error) {
	m, spec := f.memory, f.cache.Spec.Prefetch
	requests = make([][]v1alpha1.PrefetchRequest, len(f.daemons))
	if spec == nil {
		m.prefetch = nil
		return requests, 0, nil
	}
	if m.prefetch == nil {
		m.prefetch = &prefetching{savedAt: f.now, ended: map[prefetchID]time.Time{}}
	}
	p, standing := m.prefetch, false
	p.earn(spec.BandwidthPerHour.AsApproximateFloat64(), f.now)
	for i := range f.daemons {
		requests[i] = p.standing(&f.daemons[i], f.now)
		standing = standing || len(requests[i]) > 0
	}
	if err := p.watch(m.view, wantedReplicas(f.cache), f.now); err != nil {
		return nil, 0, err
	}
	if p.isDue(f.now) {
		p.planned = f.now
		open, err := f.planPrefetch(requests)
		if err == nil && !open && !standing {
			err = p.settle(m.view)
		}
		if err != nil {
			return nil, 0, err
		}
	}
	return requests, p.again(requests, f.now), nil
}

// earn adds what may be spent since it was last called, up to an hour's.
func (p *prefetching) earn(bytesPerHour float64, now time.Time) {
	p.bytesPerHour = min(bytesPerHour, maxBytesPerHour)
	p.savings = min(p.savings+p.bytesPerHour*now.Sub(p.savedAt).Hours(), p.bytesPerHour)
	p.savedAt = now
}

// maxBytesPerHour is as good as no bound, and an int64.
const maxBytesPerHour = 1 << 60

// standing are the requests of a daemon that have neither ended nor grown old. Those that have are not repeated for a
// while.
func (p *prefetching) standing(d *v1alpha1.BuildDaemon, now time.Time) []v1alpha1.PrefetchRequest {
	var out []v1alpha1.PrefetchRequest
	for _, r := range d.Spec.Prefetch {
		done := slices.ContainsFunc(
			d.Status.Prefetch,
			func(s v1alpha1.PrefetchStatus) bool { return s.ID == r.ID && s.RequestedAt.Equal(&r.RequestedAt) },
		)
		if !done && now.Sub(r.RequestedAt.Time) < prefetchLasts {
			out = append(out, r)
			continue
		}
		p.ended[prefetchID{d.Name, d.Status.VolumeEpoch, r.ID}] = now
	}
	return out
}

// watch notes who takes builds. The first fleet that is whole, or has been the same for long enough, counts as one at
// rest.
func (p *prefetching) watch(view *scheduler.View, wanted int32, now time.Time) error {
	if members := membersOf(view); p.since.IsZero() || !slices.Equal(members, p.members) {
		p.members, p.since = members, now
	}
	if p.rested == nil && len(p.members) > 0 && (len(p.members) >= int(wanted) || now.Sub(p.since) >= prefetchRest) {
		return p.settle(view)
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

// settle takes the fleet for one at rest.
func (p *prefetching) settle(view *scheduler.View) (err error) {
	daemons := slices.Clone(view.Daemons)
	for i := range daemons {
		daemons[i].Busy = nil
	}
	p.rested, err = scheduler.NewView(daemons, nil, view.NowSeconds)
	return err
}

// isChanged says whether builds are taken by others than when the fleet was last at rest. While nobody takes any
// there is nothing to decide.
func (p *prefetching) isChanged() bool {
	return p.rested != nil && len(p.members) > 0 && !slices.Equal(membersOf(p.rested), p.members)
}

// isDue says whether a plan is to be made now.
func (p *prefetching) isDue(now time.Time) bool {
	return p.isChanged() && now.Sub(p.since) >= prefetchRest && now.Sub(p.planned) >= sweepEvery
}

// again is how long until there is something to do even if nothing happens, 0 for never.
func (p *prefetching) again(requests [][]v1alpha1.PrefetchRequest, now time.Time) time.Duration {
	var next time.Time
	due := func(at time.Time) {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	if rests := p.since.Add(prefetchRest); p.isChanged() || p.rested == nil && len(p.members) > 0 {
		due(latest(rests, p.planned.Add(sweepEvery)))
	}
	for _, list := range requests {
		for i := range list {
			due(list[i].RequestedAt.Add(prefetchLasts))
		}
	}
	if next.IsZero() {
		return 0
	}
	return max(next.Sub(now), time.Second)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
