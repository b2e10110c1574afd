// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/ledger"
	"github.com/openllb/hlb-operator/agent/snapshot"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/internal/write"
)

// prefetchEvery is how often the agent looks for mounts that it is to bring in.
const prefetchEvery = 2 * time.Second

// prefetchTries is how often one request is tried.
const prefetchTries = 3

// prefetchPause is how long after the first failure the next try comes, and how long a mount that a build uses is
// left alone; each further pause is longer by it.
const prefetchPause = 15 * time.Second

// prefetcher brings in the cache mounts that the manager asks for, one at a time and in the order of the requests,
// while the daemon takes builds.
type prefetcher struct {
	inventory *inventory
	maker     *snapshot.Maker
	ledger    *ledger.Ledger
	draining  func() bool
	now       func() time.Time

	mu    sync.Mutex
	tried map[prefetchID]prefetchTry
}

// prefetchID tells a request from another one for the same mount.
type prefetchID struct {
	mount string
	asked int64 // Unix seconds
}

func idOf(r *v1alpha1.PrefetchRequest) prefetchID { return prefetchID{r.ID, r.RequestedAt.Unix()} }

// prefetchTry is how far a request has come.
type prefetchTry struct {
	failures int
	next     time.Time // not before
	end      *v1alpha1.PrimeStatus
}

func newPrefetcher(w *worker) *prefetcher {
	return &prefetcher{
		inventory: w.inventory,
		maker:     w.mounts.Maker,
		ledger:    w.ledger,
		now:       w.now,
		tried:     map[prefetchID]prefetchTry{},
		draining: func() bool {
			_, draining := w.attempts.load()
			return draining
		},
	}
}

// run brings in what is asked for until ctx is done.
func (p *prefetcher) run(ctx context.Context) {
	looks := time.NewTicker(prefetchEvery)
	defer looks.Stop()
	for {
		for p.look(ctx) {
		}
		select {
		case <-ctx.Done():
			return
		case <-looks.C:
		}
	}
}

// look brings in the first mount that is due, and says whether there was one.
func (p *prefetcher) look(ctx context.Context) bool {
	cache, bd := p.inventory.buildCache(ctx), &v1alpha1.BuildDaemon{}
	if cache == nil || p.inventory.client.Get(ctx, p.inventory.name(), bd) != nil {
		return false
	}
	p.keep(bd.Spec.Prefetch)
	if _, held := p.inventory.lease.Session(); !held || !p.inventory.isServing() || p.draining() {
		return false
	}
	for i := range bd.Spec.Prefetch {
		if r := &bd.Spec.Prefetch[i]; p.isDue(r) {
			p.bring(ctx, cache, bd, r)
			return ctx.Err() == nil
		}
	}
	return false
}

// keep forgets requests that were taken back.
func (p *prefetcher) keep(requests []v1alpha1.PrefetchRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := make(map[prefetchID]prefetchTry, len(requests))
	for i := range requests {
		if t, known := p.tried[idOf(&requests[i])]; known {
			kept[idOf(&requests[i])] = t
		}
	}
	if len(kept) < len(p.tried) {
		p.inventory.kick()
	}
	p.tried = kept
}

func (p *prefetcher) isDue(r *v1alpha1.PrefetchRequest) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tried[idOf(r)]
	return t.end == nil && !p.now().Before(t.next)
}

// bring tries a request once.
func (p *prefetcher) bring(
	ctx context.Context,
	cache *v1alpha1.BuildCache,
	bd *v1alpha1.BuildDaemon,
	r *v1alpha1.PrefetchRequest,
) {
	t := p.try(ctx, cache, r)
	if ctx.Err() != nil {
		return // the agent ends; the next one begins again
	}
	p.mu.Lock()
	p.tried[idOf(r)] = t
	p.mu.Unlock()
	if t.end == nil {
		return
	}
	p.inventory.log.Info(
		"Done with a request for a cache mount",
		"mount",
		r.ID,
		"outcome",
		t.end.Outcome,
		"reason",
		t.end.Message,
		"durationSeconds",
		t.end.DurationSeconds,
	)
	write.Send(p.inventory.events, write.MountPrefetched(bd, t.end)...)
	p.inventory.kick()
}

// try brings a mount in if there is room and no build uses it.
func (p *prefetcher) try(ctx context.Context, cache *v1alpha1.BuildCache, r *v1alpha1.PrefetchRequest) prefetchTry {
	p.mu.Lock()
	t := p.tried[idOf(r)]
	p.mu.Unlock()
	end := &v1alpha1.PrimeStatus{ID: r.ID}
	if bytes, held := p.inventory.mountBytes()[r.ID]; held {
		end.Outcome, end.Bytes, t.end = v1alpha1.PrimeHeld, bytes, end
		return t
	}
	if err := p.inventory.roomFor(r.Bytes); err != nil {
		end.Outcome, end.Message, t.end = v1alpha1.PrimeFailed, err.Error(), end
		return t
	}
	began, epoch := p.now(), p.ledger.Epoch()
	result, err := p.maker.Prefetch(ctx, cache, epoch, daemon.Mount{ID: r.ID, Sharing: string(r.Sharing)})
	if err != nil {
		p.inventory.log.Info("The state of snapshots was not written", "reason", err.Error())
	}
	if err != nil && result == nil {
		end.Outcome, end.Message, result = v1alpha1.PrimeFailed, err.Error(), end
	}
	switch {
	case result == nil: // a build has it, and it will be held before long
		t.next = p.now().Add(prefetchPause)
	case result.Outcome == v1alpha1.PrimeTimedOut: // another try would pull as much once more
		t.end = result
	case result.Outcome == v1alpha1.PrimeFailed:
		t.failures++
		t.next = p.now().Add(time.Duration(t.failures) * prefetchPause)
		p.inventory.log.V(1).
			Info("A cache mount was not brought in", "mount", r.ID, "attempt", t.failures, "reason", result.Message)
		if t.failures >= prefetchTries {
			t.end = result
		}
	default:
		t.end = result
		p.note(ctx, result, epoch, began)
	}
	return t
}

// note has the ledger and the status know what was brought in.
func (p *prefetcher) note(ctx context.Context, result *v1alpha1.PrimeStatus, epoch string, began time.Time) {
	if result.Outcome == v1alpha1.PrimeNoSnapshot {
		return
	}
	p.inventory.broughtIn(result.ID, epoch, began)
	p.inventory.look(ctx)
}

// status says what came of requests, as far as they have ended.
func (p *prefetcher) status(requests []v1alpha1.PrefetchRequest) []v1alpha1.PrefetchStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []v1alpha1.PrefetchStatus
	for i := range requests {
		if end := p.tried[idOf(&requests[i])].end; end != nil {
			s := v1alpha1.PrefetchStatus{PrimeStatus: *end, RequestedAt: requests[i].RequestedAt}
			s.Message = status.Clip(s.Message, 512)
			out = append(out, s)
		}
	}
	return out
}

// broughtIn has the ledger know of a mount. A look that is under way began before the mount was there and must not
// take it for evicted, so it is waited for.
func (i *inventory) broughtIn(id, epoch string, began time.Time) {
	i.refreshing.Lock()
	defer i.refreshing.Unlock()
	if err := i.ledger.BroughtIn(id, epoch, began); err != nil {
		i.log.Info("The ledger was not written", "reason", err.Error())
	}
}

// roomFor returns, for a daemon that was looked at, an error unless the volume and its share for mounts take so much
// more without anything being pruned for it.
func (i *inventory) roomFor(bytes int64) error {
	vol, err := volumeAt(i.opts.StateDir)
	if err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	mounts := i.seen.AllMountBytes()
	switch {
	case vol.FreeBytes-bytes < i.budget.FreeBytes || vol.HasInodePressure():
		return fmt.Errorf(
			"the volume has no room for %d MiB: %d MiB are free, of which %d are kept free",
			bytes>>20,
			vol.FreeBytes>>20,
			i.budget.FreeBytes>>20,
		)
	case i.budget.MountsBytes > 0 && mounts+bytes > i.budget.MountsBytes:
		return fmt.Errorf(
			"the mounts' share has no room for %d MiB: %d of %d MiB are taken",
			bytes>>20,
			mounts>>20,
			i.budget.MountsBytes>>20,
		)
	}
	return nil
}
