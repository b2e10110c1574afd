// SPDX-License-Identifier: Apache-2.0

// Package board holds the facts that the agent's loops publish for the BuildDaemon's status. Loops only write to it;
// package daemonstatus alone reads it.
package board

import (
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/gc"
	"github.com/openllb/hlb-operator/agent/health"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// Facts are what loops have published. What they point to is never changed after it was published.
type Facts struct {
	Daemon Daemon
	// Health is the daemon's, the zero value when it is well.
	Health health.Verdict
	Builds Builds
	// Prefetched are the ends of requests for mounts, by request, in no order.
	Prefetched []v1alpha1.PrefetchStatus
	// RegistryCleaned is how the last clean-up of the registry went, nil for none.
	RegistryCleaned *metav1.Condition
}

// Daemon are the facts about buildkitd and the volume.
type Daemon struct {
	// Seen is the last observation, nil before the first.
	Seen *daemon.Observation
	// Unreached is why buildkitd does not answer, nil when it does.
	Unreached error
	Volume    gc.Volume
	// Budget of the volume at the last observation; zero before it, or while the BuildCache can't be read.
	Budget gc.Budget
	// NextEviction is the mount that would be evicted next, nil for none.
	NextEviction *v1alpha1.NextEviction
	LastPrune    *v1alpha1.PruneStatus
}

// Builds are the facts about the agent's slots.
type Builds struct {
	// Running is the number of builds that have a slot.
	Running int
	// Draining: the agent starts no more builds.
	Draining bool
}

// Board is safe for concurrent use.
type Board struct {
	changes chan struct{} // holds one signal

	mu    sync.Mutex
	facts Facts
}

// New returns an empty board.
func New() *Board { return &Board{changes: make(chan struct{}, 1)} }

// SetDaemon publishes the facts about buildkitd and the volume.
func (b *Board) SetDaemon(d Daemon) { b.publish(func(f *Facts) { f.Daemon = d }) }

// SetHealth publishes the daemon's health.
func (b *Board) SetHealth(v health.Verdict) { b.publish(func(f *Facts) { f.Health = v }) }

// SetBuilds publishes the facts about the agent's slots.
func (b *Board) SetBuilds(builds Builds) { b.publish(func(f *Facts) { f.Builds = builds }) }

// SetPrefetched publishes the ends of requests for mounts.
func (b *Board) SetPrefetched(ends []v1alpha1.PrefetchStatus) {
	b.publish(func(f *Facts) { f.Prefetched = ends })
}

// SetRegistryCleaned publishes how a clean-up of the registry went.
func (b *Board) SetRegistryCleaned(c *metav1.Condition) {
	b.publish(func(f *Facts) { f.RegistryCleaned = c })
}

// RequestSync has the status compared with the facts again, because something that the board does not hold has changed:
// the object itself, or a state file. It does not block.
func (b *Board) RequestSync() {
	select {
	case b.changes <- struct{}{}:
	default: // a signal is waiting
	}
}

// Changes delivers a signal after facts were published. Signals that were not received are merged into one.
func (b *Board) Changes() <-chan struct{} { return b.changes }

// Facts returns what was published so far.
func (b *Board) Facts() Facts {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.facts
}

func (b *Board) publish(change func(*Facts)) {
	b.mu.Lock()
	change(&b.facts)
	b.mu.Unlock()
	b.RequestSync()
}
