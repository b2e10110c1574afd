// SPDX-License-Identifier: Apache-2.0

// Package prefetch fills the cache mounts that the manager requests in the BuildDaemon's spec, before builds need them.
package prefetch

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/openllb/hlb-operator/agent/board"
	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/self"
	"github.com/openllb/hlb-operator/agent/snapshot"
	"github.com/openllb/hlb-operator/agent/usage"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/internal/write"
)

// checkEvery is how soon requests are looked at again while the agent can't fill mounts: a lost Lease or daemon comes
// back without an event on the BuildDaemon.
const checkEvery = 2 * time.Second

// maxTries is how often one request is tried.
const maxTries = 3

// tryPause is the pause after the first failure, and while a build uses the mount; each further failure adds as much.
const tryPause = 15 * time.Second

// Daemon is what a Prefetcher must know of the agent's daemon.
type Daemon interface {
	// IsServing reports whether the daemon answers.
	IsServing() bool
	// Held returns the bytes of each cache mount that the daemon holds.
	Held() map[string]int64
	// RoomFor returns an error unless so many bytes fit without anything being evicted.
	RoomFor(bytes int64) error
	// RecordPrefetch records a mount that was filled by a copy that began at a moment.
	RecordPrefetch(id, epoch string, began time.Time)
	// Observe lists the daemon's cache.
	Observe(ctx context.Context)
}

// Prefetcher fills the requested mounts one at a time, in the order of the requests, while the daemon takes builds.
type Prefetcher struct {
	Self   self.Self
	Client client.Client // reads from the cache
	Daemon Daemon
	Maker  *snapshot.Maker
	Usage  *usage.Journal
	Board  *board.Board
	// HasLease reports whether the agent holds its Lease, IsDraining whether it takes no more builds.
	HasLease, IsDraining func() bool
	Events               events.EventRecorder
	Log                  logr.Logger
	Now                  func() time.Time

	mu    sync.Mutex
	tried map[requestID]try
}

// requestID tells a request from another one for the same mount.
type requestID struct {
	mount string
	asked int64 // Unix seconds
}

func idOf(r *v1alpha1.PrefetchRequest) requestID { return requestID{r.ID, r.RequestedAt.Unix()} }

// try is how far a request has come.
type try struct {
	failures int
	next     time.Time // not before
	end      *v1alpha1.PrefetchStatus
}

// SetUp watches the BuildDaemon.
func (p *Prefetcher) SetUp(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("prefetch-" + p.Self.Daemon).
		For(&v1alpha1.BuildDaemon{}).
		Complete(reconcile.AsReconciler(p.Client, p))
}

// Reconcile fills the first mount that is due.
func (p *Prefetcher) Reconcile(ctx context.Context, bd *v1alpha1.BuildDaemon) (reconcile.Result, error) {
	p.keep(bd.Spec.Prefetch)
	wait, next := p.next(bd.Spec.Prefetch)
	if next == nil && wait == 0 {
		return reconcile.Result{}, nil
	}
	cache, err := p.Self.BuildCache(ctx, p.Client)
	if err != nil {
		return reconcile.Result{}, err
	}
	if !p.HasLease() || !p.Daemon.IsServing() || p.IsDraining() {
		return reconcile.Result{RequeueAfter: checkEvery}, nil
	}
	if next == nil {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	p.fill(ctx, cache, bd, next)
	return reconcile.Result{RequeueAfter: time.Millisecond}, nil // with the requests as they are by then
}

// next returns the first request that is due, or else how long until one is; 0 when all have ended.
func (p *Prefetcher) next(requests []v1alpha1.PrefetchRequest) (wait time.Duration, due *v1alpha1.PrefetchRequest) {
	for i := range requests {
		if p.isDue(&requests[i]) {
			return 0, &requests[i]
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.Now()
	for i := range requests {
		if t := p.tried[idOf(&requests[i])]; t.end == nil && (wait == 0 || t.next.Sub(now) < wait) {
			wait = max(t.next.Sub(now), time.Millisecond)
		}
	}
	return wait, nil
}

// keep forgets requests that were taken back.
func (p *Prefetcher) keep(requests []v1alpha1.PrefetchRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := make(map[requestID]try, len(requests))
	for i := range requests {
		if t, known := p.tried[idOf(&requests[i])]; known {
			kept[idOf(&requests[i])] = t
		}
	}
	changed := len(kept) < len(p.tried)
	p.tried = kept
	if changed {
		p.publish()
	}
}

// publish publishes the ends of requests. p.mu is held.
func (p *Prefetcher) publish() {
	var ends []v1alpha1.PrefetchStatus
	for _, t := range p.tried {
		if t.end != nil {
			ends = append(ends, *t.end)
		}
	}
	p.Board.SetPrefetched(ends)
}

func (p *Prefetcher) isDue(r *v1alpha1.PrefetchRequest) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tried[idOf(r)]
	return t.end == nil && !p.Now().Before(t.next)
}

// fill tries a request once.
func (p *Prefetcher) fill(
	ctx context.Context, cache *v1alpha1.BuildCache, bd *v1alpha1.BuildDaemon, r *v1alpha1.PrefetchRequest,
) {
	p.mu.Lock()
	t := p.tried[idOf(r)]
	p.mu.Unlock()
	result := p.attempt(ctx, cache, r, &t)
	if ctx.Err() != nil {
		return // the agent ends; the next one begins again
	}
	if result != nil {
		t.end = &v1alpha1.PrefetchStatus{PrimeStatus: *result, RequestedAt: r.RequestedAt}
		t.end.Message = status.Clip(t.end.Message, 512)
	}
	p.mu.Lock()
	if p.tried == nil {
		p.tried = map[requestID]try{}
	}
	p.tried[idOf(r)] = t
	if t.end != nil {
		p.publish()
	}
	p.mu.Unlock()
	if t.end != nil {
		p.report(bd, result)
	}
}

// report logs the end of a request and sends its event.
func (p *Prefetcher) report(bd *v1alpha1.BuildDaemon, end *v1alpha1.PrimeStatus) {
	p.Log.Info("Prefetch finished", "mount", end.ID, "outcome", end.Outcome, "reason", end.Message,
		"durationSeconds", end.DurationSeconds)
	write.Send(p.Events, write.MountPrefetched(bd, end)...)
}

// attempt fills a mount if there is room and no build uses it. It returns the end of the request, or nil and changes t
// when the request is to be tried again.
func (p *Prefetcher) attempt(
	ctx context.Context, cache *v1alpha1.BuildCache, r *v1alpha1.PrefetchRequest, t *try,
) *v1alpha1.PrimeStatus {
	if bytes, held := p.Daemon.Held()[r.ID]; held {
		return &v1alpha1.PrimeStatus{ID: r.ID, Outcome: v1alpha1.PrimeHeld, Bytes: bytes}
	}
	failed := func(err error) *v1alpha1.PrimeStatus {
		return &v1alpha1.PrimeStatus{ID: r.ID, Outcome: v1alpha1.PrimeFailed, Message: err.Error()}
	}
	if err := p.Daemon.RoomFor(r.Bytes); err != nil {
		return failed(err)
	}
	began, epoch := p.Now(), p.Usage.Epoch()
	result, err := p.Maker.Prefetch(ctx, cache, epoch, daemon.Mount{ID: r.ID, Sharing: string(r.Sharing)})
	if err != nil {
		p.Log.Error(err, "Failed to write the state of snapshots")
		if result == nil {
			result = failed(err)
		}
	}
	switch {
	case result == nil: // a build uses it, and it will be held before long
		t.next = p.Now().Add(tryPause)
	case result.Outcome == v1alpha1.PrimeTimedOut: // another try would pull as much once more
		return result
	case result.Outcome == v1alpha1.PrimeFailed:
		t.failures++
		t.next = p.Now().Add(time.Duration(t.failures) * tryPause)
		p.Log.V(1).Info("A cache mount was not prefetched", "mount", r.ID, "attempt", t.failures,
			"reason", result.Message)
		if t.failures >= maxTries {
			return result
		}
	case result.Outcome == v1alpha1.PrimeNoSnapshot:
		return result
	default:
		p.Daemon.RecordPrefetch(result.ID, epoch, began)
		p.Daemon.Observe(ctx) // so that the status lists the mount when it reports the end of the request
		return result
	}
	return nil
}
