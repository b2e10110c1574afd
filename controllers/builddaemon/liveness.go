// SPDX-License-Identifier: Apache-2.0

package builddaemon

import (
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"
)

// leaseGrace is added to a Lease's own duration before its daemon is given up. The agent cancels its builds when it
// could not renew for two thirds of the duration, so at this point nothing of it runs any more, clocks apart.
const leaseGrace = 2 * time.Second

// liveness is what a Lease says about its agent.
type liveness int

const (
	neverSeen liveness = iota // no agent has ever held the Lease
	alive                     // renewed in time
	released                  // the agent gave it up at its orderly end
	expired                   // not renewed in time
)

// leaseWatch remembers when each Lease was last seen to change, on this process's own clock: renewal times come from
// other machines' clocks and are only compared with one another. It is safe for concurrent use.
type leaseWatch struct {
	mu   sync.Mutex
	seen map[types.NamespacedName]sighting
}

type sighting struct {
	holder   string
	renewed  time.Time     // as the agent wrote it
	at       time.Time     // on this process's clock
	duration time.Duration // how long the Lease may stay unchanged
}

// unknownDuration is assumed of a Lease that was deleted before this process saw it. Agents' Leases last no longer.
const unknownDuration = 15 * time.Second

func newLeaseWatch() *leaseWatch { return &leaseWatch{seen: map[types.NamespacedName]sighting{}} }

// look says how the Lease stands now and, while it is alive, how long it may stay unchanged. A Lease without a
// holder, of a daemon that has been reported on, was deleted and made anew: its agent may work on for as long as the
// old one lasts.
func (w *leaseWatch) look(lease *coordinationv1.Lease, reported bool, now time.Time) (liveness, time.Duration) {
	name := types.NamespacedName{Namespace: lease.Namespace, Name: lease.Name}
	blank := lease.Spec.RenewTime == nil || lease.Spec.HolderIdentity == nil
	switch {
	case blank && !reported:
		w.forget(name)
		return neverSeen, 0
	case !blank && *lease.Spec.HolderIdentity == "":
		w.forget(name)
		return released, 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	last, known := w.seen[name]
	switch {
	case blank && !known:
		last = sighting{at: now, duration: unknownDuration}
	case !blank && (!known || last.holder != holder(lease) || !last.renewed.Equal(lease.Spec.RenewTime.Time)):
		last = sighting{holder: *lease.Spec.HolderIdentity, renewed: lease.Spec.RenewTime.Time, at: now}
		if seconds := lease.Spec.LeaseDurationSeconds; seconds != nil {
			last.duration = time.Duration(*seconds) * time.Second
		}
	}
	w.seen[name] = last
	if left := last.at.Add(last.duration + leaseGrace).Sub(now); left > 0 {
		return alive, left
	}
	return expired, 0
}

func (w *leaseWatch) forget(name types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.seen, name)
}
