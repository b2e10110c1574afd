// SPDX-License-Identifier: Apache-2.0

// Package liveness judges for the manager whether agents live, by their Leases, and takes the Leases of those that do
// not. The rules are those of package attempt.
package liveness

import (
	"context"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/internal/attempt"
)

// State is what a Lease says about its agent.
type State int

// The states of an agent.
const (
	// NeverSeen: no agent has ever held the Lease.
	NeverSeen State = iota
	// Alive: it renews in time, or may still.
	Alive
	// Released: it gave the Lease back at its orderly end.
	Released
	// Expired: it did not renew in time, and the Lease was taken.
	Expired
)

// Watch remembers when each Lease was last seen to change, on this process's own clock: renewal times come from other
// machines' clocks and are only compared with one another. It is safe for concurrent use.
type Watch struct {
	// Client writes Leases, Live reads them past the cache.
	Client client.Client
	Live   client.Reader
	Clock  clock.PassiveClock

	mu   sync.Mutex
	seen map[types.NamespacedName]observation
}

// observation is what a Lease was last seen to be, and since when.
type observation struct {
	holder  string
	renewed time.Time // as the agent wrote it
	held    bool      // an agent has ever held it
	since   time.Time // on this process's clock
}

func observationOf(l *coordinationv1.Lease, now time.Time) observation {
	if l == nil || l.Spec.HolderIdentity == nil {
		return observation{since: now}
	}
	o := observation{holder: attempt.Holder(l), held: true, since: now}
	if l.Spec.RenewTime != nil {
		o.renewed = l.Spec.RenewTime.Time
	}
	return o
}

// Observe notes how a Lease is, nil for one that does not exist, and returns for how long it has been like that.
func (w *Watch) Observe(name types.NamespacedName, l *coordinationv1.Lease) time.Duration {
	now := w.Clock.Now()
	is := observationOf(l, now)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen == nil {
		w.seen = map[types.NamespacedName]observation{}
	}
	was, known := w.seen[name]
	if known && was.holder == is.holder && was.held == is.held && was.renewed.Equal(is.renewed) {
		return now.Sub(was.since)
	}
	w.seen[name] = is
	return 0
}

// Forget drops what is known of a Lease.
func (w *Watch) Forget(name types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.seen, name)
}

// durationOf is how long a Lease must be unchanged before it may be taken.
func durationOf(l *coordinationv1.Lease) time.Duration {
	if l == nil || l.Spec.LeaseDurationSeconds == nil {
		return attempt.DefaultTiming().Duration
	}
	return attempt.LeaseDuration(l, 0)
}

// Look returns how the agent of a Lease is, and how long until that may change by time alone, 0 for never. A Lease that
// has expired is taken first, unless it was renewed meanwhile. reported is whether an agent has ever reported: a Lease
// without a holder was made anew then, and its agent may work on for as long as the one before lasts.
func (w *Watch) Look(ctx context.Context, l *coordinationv1.Lease, reported bool) (State, time.Duration, error) {
	unchanged := w.Observe(client.ObjectKeyFromObject(l), l)
	left := durationOf(l) - unchanged
	switch holder := attempt.Holder(l); {
	case l.Spec.HolderIdentity == nil && !reported:
		return NeverSeen, 0, nil
	case l.Spec.HolderIdentity == nil && left > 0:
		return Alive, left, nil
	case l.Spec.HolderIdentity == nil:
		return Expired, 0, nil
	case holder == attempt.Nobody:
		return Released, 0, nil
	case !attempt.IsAgent(holder):
		return Expired, 0, nil
	case left > 0:
		return Alive, left, nil
	}
	taken, left, err := w.take(ctx, l, unchanged)
	if taken {
		return Expired, 0, err
	}
	return Alive, left, err
}

// take takes a Lease that has expired. Where it has changed meanwhile, it reads it anew and returns how long until it
// can expire.
func (w *Watch) take(
	ctx context.Context, l *coordinationv1.Lease, unchanged time.Duration,
) (taken bool, left time.Duration, err error) {
	name := client.ObjectKeyFromObject(l)
	change := l.DeepCopy()
	if !attempt.Take(change, unchanged, durationOf(l)) {
		return false, 0, nil
	}
	switch err = w.Client.Update(ctx, change); {
	case err == nil:
		w.Observe(name, change)
		return true, 0, nil
	case !apierrors.IsConflict(err):
		return false, 0, fmt.Errorf("take Lease %s: %w", name, err)
	}
	fresh, unchanged, err := w.read(ctx, name)
	return false, max(durationOf(fresh)-unchanged, time.Second), err
}

// read reads a Lease past the cache, nil for none, and returns for how long it has been as it is.
func (w *Watch) read(
	ctx context.Context, name types.NamespacedName,
) (*coordinationv1.Lease, time.Duration, error) {
	l := &coordinationv1.Lease{}
	err := w.Live.Get(ctx, name, l)
	switch {
	case apierrors.IsNotFound(err):
		l = nil
	case err != nil:
		return nil, 0, fmt.Errorf("read Lease %s: %w", name, err)
	}
	return l, w.Observe(name, l), nil
}

// IsOver reports whether a session is over for good. If not, it returns how long until it can be. The caller must have
// read what the session claimed before.
func (w *Watch) IsOver(ctx context.Context, s attempt.Session) (over bool, left time.Duration, err error) {
	l, unchanged, err := w.read(ctx, s.Daemon)
	if err != nil {
		return false, 0, err
	}
	if attempt.IsOver(l, s, unchanged, durationOf(l)) {
		return true, 0, nil
	}
	if left = durationOf(l) - unchanged; left <= 0 { // it is the session's and was not renewed
		over, left, err = w.take(ctx, l, unchanged)
	}
	return over, max(left, time.Second), err
}

// Revoke takes the Lease from a session although it is renewed, and reports whether it was the session's. The session
// is over a Lease's duration later.
func (w *Watch) Revoke(ctx context.Context, s attempt.Session) (bool, error) {
	l, _, err := w.read(ctx, s.Daemon)
	if err != nil || l == nil || !attempt.Revoke(l, s.ID) {
		return false, err
	}
	if err := w.Client.Update(ctx, l); err != nil {
		return false, fmt.Errorf("revoke Lease %s: %w", s.Daemon, err)
	}
	w.Observe(s.Daemon, l)
	return true, nil
}
