// SPDX-License-Identifier: Apache-2.0

// Package lease keeps an agent's session: its holding of the daemon's Lease. It ends the session before anybody else
// may take the Lease, so that no build ever runs twice at a time. The rules are those of package attempt.
package lease

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/internal/attempt"
)

// ErrFenced is the cause with which a session ends when the Lease was not renewed in time, or is another's.
var ErrFenced = errors.New("the agent could not renew its Lease in time and has fenced itself")

// retryEvery is the pause after a renewal that failed; the manager may be about to make the Lease.
const retryEvery = time.Second

// Keeper keeps one Lease, which somebody else has made. It is safe for concurrent use.
type Keeper struct {
	client client.Client
	name   types.NamespacedName
	podUID string
	timing attempt.Timing
	log    logr.Logger

	lease *coordinationv1.Lease // as last read or written; used by Run alone
	seen  observation           // used by Run alone

	mu      sync.Mutex
	session context.Context // ends with ErrFenced; nil while the Lease is not held
	id      string          // of the session
	end     context.CancelCauseFunc
	renewed time.Time // when the last successful renewal of the latest session was sent
	fence   *time.Timer
	held    chan struct{} // closed while the Lease is held
	lapsing bool          // the Lease is not to be renewed
}

// observation is what a Lease looked like, and since when on this process's clock.
type observation struct {
	holder  string
	renewed time.Time
	since   time.Time
}

// New makes a keeper that holds nothing yet. podUID becomes the first part of the IDs of its sessions. c must not read
// from a cache.
func New(c client.Client, name types.NamespacedName, podUID string, timing attempt.Timing, log logr.Logger) *Keeper {
	return &Keeper{client: c, name: name, podUID: podUID, timing: timing, log: log, held: make(chan struct{})}
}

// Session returns the present session and a context that ends with it, with the cause ErrFenced. While the Lease is not
// held, the session is none and the context nil.
func (k *Keeper) Session() (context.Context, attempt.Session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.session == nil {
		return nil, attempt.Session{Daemon: k.name}
	}
	return k.session, attempt.Session{Daemon: k.name, ID: k.id}
}

// Withhold has the Lease not be renewed, so that the session ends as with any renewal that fails, and no other one
// begins; or has it renewed again.
func (k *Keeper) Withhold(withhold bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lapsing = withhold
}

func (k *Keeper) isWithheld() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lapsing
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

// Run renews the Lease until ctx is done, and then gives it back. Nothing of the agent may execute by then.
func (k *Keeper) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return k.giveBack(context.WithoutCancel(ctx))
		case <-timer.C:
		}
		next := k.timing.RenewEvery
		if k.isWithheld() {
			timer.Reset(min(next, retryEvery))
			continue
		}
		if err := k.keep(ctx, time.Now()); err != nil {
			if ctx.Err() == nil {
				k.log.Info("Failed to renew the Lease", "lease", k.name.Name, "reason", err.Error())
			}
			next = min(next, retryEvery)
		}
		timer.Reset(next)
	}
}

// keep renews the session, or begins one. A request may take no longer than the time until the next one is due.
func (k *Keeper) keep(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, k.timing.RenewEvery)
	defer cancel()
	_, session := k.Session()
	if k.lease == nil {
		lease := &coordinationv1.Lease{}
		if err := k.client.Get(ctx, k.name, lease); err != nil {
			return fmt.Errorf("read Lease %s: %w", k.name, err)
		}
		k.observe(lease, now)
		k.lease = lease
	}
	lease := k.lease.DeepCopy()
	var err error
	if session.IsHeld() {
		if !attempt.Renew(lease, session.ID, k.timing.Duration, now) {
			k.drop() // it is another's now
			err = fmt.Errorf("it was taken by %q", attempt.Holder(lease))
		}
	} else {
		id := k.podUID + "/" + strings.ToLower(rand.Text()[:10])
		err = k.acquire(lease, id, now)
		session.ID = id
	}
	if err == nil {
		err = k.client.Update(ctx, lease)
	}
	if err != nil {
		// somebody else wrote it, or this write may have been done although no answer came: look, next time
		k.lease = nil
		return fmt.Errorf("write Lease %s: %w", k.name, err)
	}
	k.lease = lease
	k.extend(session.ID, now)
	return nil
}

// observe notes since when the Lease is as it is.
func (k *Keeper) observe(lease *coordinationv1.Lease, now time.Time) {
	seen := observation{holder: attempt.Holder(lease), since: now}
	if lease.Spec.RenewTime != nil {
		seen.renewed = lease.Spec.RenewTime.Time
	}
	if k.seen.holder != seen.holder || !k.seen.renewed.Equal(seen.renewed) {
		k.seen = seen
	}
}

// acquire makes the Lease that of a new session, or returns why it can't be yet. A session begins no sooner than the
// last one can have been taken: by then, what that one executed has ended.
func (k *Keeper) acquire(lease *coordinationv1.Lease, id string, now time.Time) error {
	k.mu.Lock()
	renewed := k.renewed
	k.mu.Unlock()
	if left := renewed.Add(k.timing.Duration).Sub(now); !renewed.IsZero() && left > 0 {
		return fmt.Errorf("the last session ended %s too recently", left.Round(time.Millisecond))
	}
	if unchanged := now.Sub(k.seen.since); !attempt.MayAcquire(lease, id, unchanged, k.timing.Duration) {
		left := attempt.LeaseDuration(lease, k.timing.Duration) - unchanged
		return fmt.Errorf("it is held by %s, which may renew it for another %s", k.seen.holder, left.Round(time.Second))
	}
	attempt.Acquire(lease, id, k.timing.Duration, now)
	return nil
}

// extend notes that a session was begun or renewed by a request that was sent at the given time.
func (k *Keeper) extend(id string, sent time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	left := time.Until(sent.Add(k.timing.FenceAfter))
	if left <= 0 {
		return // it took so long that it proves nothing
	}
	if k.session != nil {
		k.renewed = sent
		k.fence.Reset(left)
		return
	}
	if k.id == id {
		return // the session was fenced while it was being renewed
	}
	k.id, k.renewed = id, sent
	k.session, k.end = context.WithCancelCause(context.Background())
	close(k.held)
	k.fence = time.AfterFunc(left, k.expire)
	k.log.Info("Holding the Lease", "lease", k.name.Name, "agentID", id)
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

// giveBack gives the Lease back, so that nobody need wait for it to expire.
func (k *Keeper) giveBack(ctx context.Context) error {
	k.drop()
	ctx, cancel := context.WithTimeout(ctx, k.timing.RenewEvery)
	defer cancel()
	for {
		err := k.tryGiveBack(ctx)
		if err == nil {
			return nil
		}
		k.lease = nil // another version is on the server, perhaps its own, whose answer never came
		select {
		case <-time.After(k.timing.RenewEvery / 20):
		case <-ctx.Done():
			return fmt.Errorf("give Lease %s back: %w", k.name, err)
		}
	}
}

func (k *Keeper) tryGiveBack(ctx context.Context) error {
	lease := k.lease.DeepCopy()
	if lease == nil {
		lease = &coordinationv1.Lease{}
		if err := k.client.Get(ctx, k.name, lease); err != nil {
			return client.IgnoreNotFound(err)
		}
	}
	// earlier sessions of the pod are over, too
	if id := attempt.Holder(lease); !strings.HasPrefix(id, k.podUID+"/") || !attempt.GiveBack(lease, id) {
		return nil
	}
	return client.IgnoreNotFound(k.client.Update(ctx, lease))
}
