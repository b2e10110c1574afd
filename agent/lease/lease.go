// SPDX-License-Identifier: Apache-2.0

// Package lease keeps an agent's claim on its daemon, and tells the agent when the claim may have been lost.
//
// The manager gives a daemon's builds away once its Lease went unrenewed for the Lease's duration. So that no build
// ever runs twice at a time, the agent fences itself earlier: when its last renewal is older than FenceAfter, the
// session of everything it runs ends.
package lease

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ErrFenced is the cause with which a session ends when the Lease was not renewed in time, or is another agent's.
var ErrFenced = errors.New("the agent could not renew its Lease in time and has fenced itself")

// retryEvery is the pause after a renewal that failed; the manager may be about to make the Lease.
const retryEvery = time.Second

// Timing is how the Lease is kept. It must hold that RenewEvery < FenceAfter < Duration.
type Timing struct {
	// RenewEvery is the time between renewals.
	RenewEvery time.Duration
	// FenceAfter is how old the last renewal may be before the session ends.
	FenceAfter time.Duration
	// Duration is what the Lease promises others, in whole seconds.
	Duration time.Duration
}

// Validate returns what is wrong with the timing, nil if nothing.
func (t Timing) Validate() error {
	switch {
	case t.RenewEvery <= 0 || t.RenewEvery >= t.FenceAfter:
		return fmt.Errorf(
			"the Lease must be renewed more often (every %s) than the agent fences itself (after %s)",
			t.RenewEvery,
			t.FenceAfter,
		)
	case t.FenceAfter >= t.Duration:
		return fmt.Errorf(
			"the agent must fence itself (after %s) before its Lease ends (after %s)",
			t.FenceAfter,
			t.Duration,
		)
	case t.Duration%time.Second != 0:
		return fmt.Errorf("a Lease lasts whole seconds, not %s", t.Duration)
	}
	return nil
}

// Keeper renews one Lease, which somebody else has made. It is safe for concurrent use.
type Keeper struct {
	client client.Client
	name   types.NamespacedName
	holder string
	timing Timing
	log    logr.Logger

	lease   *coordinationv1.Lease // as last read or written; used by Run alone
	foreign sighting              // the other holder, if there is one; used by Run alone

	mu      sync.Mutex
	session context.Context // ends with ErrFenced; nil while the Lease is not held
	end     context.CancelCauseFunc
	renewed time.Time // when the last successful renewal was sent
	fence   *time.Timer
	held    chan struct{} // closed while the Lease is held
}

type sighting struct {
	holder  string
	renewed time.Time
	since   time.Time // on this process's clock
}

// New makes a keeper that holds nothing yet. holder is "PODUID/RANDOM"; c must not read from a cache.
func New(c client.Client, name types.NamespacedName, holder string, timing Timing, log logr.Logger) *Keeper {
	return &Keeper{client: c, name: name, holder: holder, timing: timing, log: log, held: make(chan struct{})}
}

// Session returns a context that lives while the Lease is held and ends with the cause ErrFenced, false while it is
// not held.
func (k *Keeper) Session() (context.Context, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.session, k.session != nil
}

// Wait returns nil once the Lease is held, or the context's cause.
func (k *Keeper) Wait(ctx context.Context) error {
	k.mu.Lock()
	held := k.held
	k.mu.Unlock()
	select {
	case <-held:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Run renews the Lease until ctx is done, and then releases it if it was held.
func (k *Keeper) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return k.release(context.WithoutCancel(ctx))
		case <-timer.C:
		}
		sent, next := time.Now(), k.timing.RenewEvery
		if err := k.renew(ctx, sent); err != nil {
			if ctx.Err() == nil {
				k.log.Info("Could not renew the Lease", "lease", k.name.Name, "reason", err.Error())
			}
			next = min(next, retryEvery)
		} else {
			k.extend(sent)
		}
		timer.Reset(next)
	}
}

// renew writes the Lease once. A request may take no longer than the time until the next one is due.
func (k *Keeper) renew(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, k.timing.RenewEvery)
	defer cancel()
	if k.lease == nil {
		lease := &coordinationv1.Lease{}
		if err := k.client.Get(ctx, k.name, lease); err != nil {
			return fmt.Errorf("read Lease %s: %w", k.name, err)
		}
		if err := k.mayTake(lease, now); err != nil {
			return err
		}
		k.lease = lease
	}
	lease := k.lease.DeepCopy()
	k.sign(lease, now)
	if err := k.client.Update(ctx, lease); err != nil {
		// somebody else wrote it, or this write may have been done although no answer came: look, next time
		k.lease = nil
		return fmt.Errorf("write Lease %s: %w", k.name, err)
	}
	k.lease = lease
	return nil
}

// mayTake returns an error while the Lease can't be taken over from its holder. A holder of the same pod is an earlier
// process of this container, which is dead. One of another pod may live on, cut off from the cluster; it is given the
// Lease's whole duration to fence itself.
func (k *Keeper) mayTake(lease *coordinationv1.Lease, now time.Time) error {
	holder := value(lease.Spec.HolderIdentity)
	if holder == "" || podOf(holder) == podOf(k.holder) {
		return nil
	}
	k.drop() // whatever this agent held, it is another's now
	seen := sighting{holder: holder, since: now}
	if lease.Spec.RenewTime != nil {
		seen.renewed = lease.Spec.RenewTime.Time
	}
	if k.foreign.holder != seen.holder || !k.foreign.renewed.Equal(seen.renewed) {
		k.foreign = seen
	}
	duration := max(k.timing.Duration, time.Duration(value(lease.Spec.LeaseDurationSeconds))*time.Second)
	if left := k.foreign.since.Add(duration).Sub(now); left > 0 {
		return fmt.Errorf("it is held by %s, which may renew it for another %s", holder, left.Round(time.Second))
	}
	return nil
}

func (k *Keeper) sign(lease *coordinationv1.Lease, now time.Time) {
	at := metav1.NewMicroTime(now)
	if value(lease.Spec.HolderIdentity) != k.holder {
		transitions := value(lease.Spec.LeaseTransitions) + 1
		lease.Spec.AcquireTime, lease.Spec.LeaseTransitions = &at, &transitions
	}
	seconds := int32(k.timing.Duration / time.Second)
	lease.Spec.HolderIdentity, lease.Spec.RenewTime, lease.Spec.LeaseDurationSeconds = &k.holder, &at, &seconds
}

// extend notes a renewal sent at the given time, and opens a session if there is none.
func (k *Keeper) extend(sent time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	left := time.Until(sent.Add(k.timing.FenceAfter))
	if left <= 0 {
		return // it took so long that it proves nothing
	}
	k.renewed = sent
	if k.session == nil {
		k.session, k.end = context.WithCancelCause(context.Background())
		close(k.held)
		k.fence = time.AfterFunc(left, k.expire)
		k.log.Info("Holding the Lease", "lease", k.name.Name, "agentID", k.holder)
		return
	}
	k.fence.Reset(left)
}

// expire runs when a renewal is overdue; a renewal may have won the race.
func (k *Keeper) expire() {
	k.mu.Lock()
	late := time.Since(k.renewed) >= k.timing.FenceAfter
	k.mu.Unlock()
	if late {
		k.drop()
	}
}

// drop ends the session, if there is one.
func (k *Keeper) drop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.session == nil {
		return
	}
	k.log.Info("The Lease may be lost, so all builds are cancelled", "lease", k.name.Name)
	k.end(ErrFenced)
	k.fence.Stop()
	k.session, k.held = nil, make(chan struct{})
}

// release gives the Lease up, so that nobody need wait for it to run out.
func (k *Keeper) release(ctx context.Context) error {
	if _, held := k.Session(); !held {
		return nil
	}
	k.drop()
	ctx, cancel := context.WithTimeout(ctx, k.timing.RenewEvery)
	defer cancel()
	for {
		lease := k.lease.DeepCopy()
		if lease == nil { // the last renewal met another version, its own perhaps, whose answer never came
			lease = &coordinationv1.Lease{}
			if err := k.client.Get(ctx, k.name, lease); err != nil {
				return fmt.Errorf("read Lease %s: %w", k.name, err)
			}
			if value(lease.Spec.HolderIdentity) != k.holder {
				return nil
			}
		}
		nobody := ""
		lease.Spec.HolderIdentity = &nobody
		err := k.client.Update(ctx, lease)
		if err == nil {
			return nil
		}
		if !apierrors.IsConflict(err) {
			return fmt.Errorf("release Lease %s: %w", k.name, err)
		}
		k.lease = nil
	}
}

func podOf(holder string) string {
	pod, _, _ := strings.Cut(holder, "/")
	return pod
}

func value[T any](p *T) T {
	var zero T
	if p == nil {
		return zero
	}
	return *p
}
