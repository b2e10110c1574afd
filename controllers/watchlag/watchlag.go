// SPDX-License-Identifier: Apache-2.0

// Package watchlag measures how far the manager's watches are behind the API server, for its readiness: a manager that
// sees the fleet as it was a minute ago should not count as one that could take over.
package watchlag

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

const (
	interval = 15 * time.Second
	timeout  = 5 * time.Second
	// tooFar is the lag at which a watch is behind, caughtUp the lag from which it no longer is: between them the
	// verdict stays, so that a lag around one bound does not flap.
	tooFar   = 30 * time.Second
	caughtUp = 15 * time.Second
	// patience is how many looks in a row must find a watch behind.
	patience = 2
	// samples is how many Leases a look compares.
	samples = 2
)

// Probe compares Leases that agents renew as the watch shows them with the same Leases at the API server. Both times
// are of one agent's clock, so that clocks need not agree. It writes nothing and reads two Leases in 15 s; without any
// Lease there is no daemon, and nothing to be late for. It is safe for concurrent use.
type Probe struct {
	// Cache reads what the watch has shown, Live reads past it.
	Cache client.Reader
	Live  client.Reader

	mu     sync.Mutex
	turn   int // of the Lease that is looked at next
	behind int // looks in a row that found the watch behind
	late   time.Duration
}

// Start looks until ctx ends.
func (p *Probe) Start(ctx context.Context) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			p.Look(ctx)
		}
	}
}

// NeedLeaderElection reports that a manager in reserve is probed too.
func (p *Probe) NeedLeaderElection() bool { return false }

// Look measures the lag once. While the API server does not answer nothing is known of the watch, and the verdict
// stays: a manager is not less ready than any other then.
func (p *Probe) Look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	lag, known, err := p.measure(ctx)
	if err != nil {
		log.FromContext(ctx).Info("Failed to measure the lag of the watches", "error", err.Error())
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !known || lag < caughtUp:
		p.behind = 0
	case lag >= tooFar && p.behind < patience:
		p.behind++
	}
	p.late = lag
}

// measure returns the largest lag of some Leases; false without any.
func (p *Probe) measure(ctx context.Context) (lag time.Duration, known bool, err error) {
	var seen coordinationv1.LeaseList
	err = p.Cache.List(ctx, &seen, client.HasLabels{v1alpha1.LabelCache}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return 0, false, fmt.Errorf("list Leases that were seen: %w", err)
	}
	for range min(samples, len(seen.Items)) {
		p.mu.Lock()
		p.turn++
		shown := &seen.Items[p.turn%len(seen.Items)]
		p.mu.Unlock()
		is := &coordinationv1.Lease{}
		if err := p.Live.Get(ctx, client.ObjectKeyFromObject(shown), is); err != nil {
			if client.IgnoreNotFound(err) == nil {
				continue // it was deleted just now
			}
			return 0, false, fmt.Errorf("read a Lease: %w", err)
		}
		known = true
		if is.UID == shown.UID && is.Spec.RenewTime != nil && shown.Spec.RenewTime != nil {
			lag = max(lag, is.Spec.RenewTime.Sub(shown.Spec.RenewTime.Time))
		}
	}
	return lag, known, nil
}

// Check is the check of /readyz.
func (p *Probe) Check(*http.Request) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.behind < patience {
		return nil
	}
	return fmt.Errorf("what is watched is %s behind the API server", p.late.Round(time.Second))
}
