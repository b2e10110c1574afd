// SPDX-License-Identifier: Apache-2.0

// Package observer watches buildkitd and the volume: it pings, lists the cache, evicts what policies and the volume
// demand, and keeps the usage record in step with the cache. What it finds goes to the board.
package observer

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/agent/board"
	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/replicas"
	"github.com/openllb/hlb-operator/agent/self"
	"github.com/openllb/hlb-operator/agent/snapshot"
	"github.com/openllb/hlb-operator/agent/usage"
	"github.com/openllb/hlb-operator/agent/volume"
)

// pingEvery is how soon a daemon that went away is noticed; a ping over the unix socket takes two milliseconds.
const pingEvery = 5 * time.Second

// pingTimeout bounds a ping: a daemon that takes longer can't be given builds.
const pingTimeout = 10 * time.Second

// observeTimeout bounds an observation, which measures the directories that builds have written.
const observeTimeout = 2 * time.Minute

// Daemon is the agent's buildkitd. *daemon.Daemon is one.
type Daemon interface {
	// Ping returns nil when the daemon answers.
	Ping(ctx context.Context) error
	// Observe asks the daemon about itself.
	Observe(ctx context.Context) (*daemon.Observation, error)
	// Prune deletes records of the cache and returns the bytes of each that is gone.
	Prune(ctx context.Context, ids []string) (map[string]int64, error)
}

// Config is what an Observer works with.
type Config struct {
	Self self.Self
	// StateDir is a directory on the daemon's volume.
	StateDir string
	// Every is the time between observations when nothing happens.
	Every time.Duration
	// Client reads from the cache.
	Client    client.Reader
	Daemon    Daemon
	Usage     *usage.Journal
	Snapshots *snapshot.State
	Replicas  *replicas.Replicas
	Board     *board.Board
	Events    events.EventRecorder
	Log       logr.Logger
	Now       func() time.Time
}

// Observer is safe for concurrent use.
type Observer struct {
	Config

	observing sync.Mutex // one observation at a time

	mu       sync.Mutex
	facts    board.Daemon // as last published
	observed time.Time    // when the last observation began
}

// New returns an observer that has seen nothing yet.
func New(c Config) *Observer { return &Observer{Config: c} }

// Run observes and pings until ctx is done.
func (o *Observer) Run(ctx context.Context) error {
	var last time.Time
	period := min(pingEvery, o.Every)
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		if now := o.Now(); now.Sub(last) >= o.Every {
			last = now
			o.Observe(ctx)
			return
		}
		o.ping(ctx)
	}, period)
	return nil
}

// Observe lists the daemon's cache, evicts what is due and publishes the result.
func (o *Observer) Observe(ctx context.Context) {
	o.observing.Lock()
	defer o.observing.Unlock()
	began, hadBuilds := o.Now(), !o.Usage.IsEmpty()
	bounded, cancel := context.WithTimeout(ctx, observeTimeout)
	seen, err := o.Daemon.Observe(bounded)
	cancel()
	if err == nil && hadBuilds {
		o.checkEpoch(seen)
	}
	o.take(seen, began, err)
	if err == nil {
		o.evict(ctx, seen)
	}
}

// ping asks whether the daemon answers and how full the volume is. A full observation follows the first answer after
// a silence, since the daemon may be back with another cache, and a volume with less free than it should have.
func (o *Observer) ping(ctx context.Context) {
	wasServing := o.IsServing()
	bounded, cancel := context.WithTimeout(ctx, pingTimeout)
	err := o.Daemon.Ping(bounded)
	cancel()
	if err == nil && !wasServing {
		o.Observe(ctx)
		return
	}
	o.publish(err, func() {})
	if err == nil && o.isShort() {
		o.Observe(ctx) // which evicts
	}
}

// checkEpoch begins a new epoch when the cache is empty although builds were recorded before the observation: somebody
// has reset the cache.
func (o *Observer) checkEpoch(seen *daemon.Observation) {
	if seen.Records > 0 {
		return
	}
	o.Usage.Reset()
	o.Log.Info("The daemon's cache is empty, so a new epoch begins", "volumeEpoch", o.Usage.Epoch())
}

// take corrects the usage record by an observation that began at a moment, and publishes it; seen is nil with an error.
func (o *Observer) take(seen *daemon.Observation, began time.Time, err error) {
	if err == nil {
		if evicted := o.Usage.Reconcile(seen.MountBytes, began); len(evicted) > 0 {
			o.Log.Info("Cache mounts are gone, so their keys are fresh again", "mounts", evicted)
		}
	}
	o.publish(err, func() {
		if err == nil {
			o.facts.Seen, o.observed = seen, began // together: Held adds what builds have used since
		}
	})
}

// publish publishes why the daemon does not answer, nil when it does, how full the volume is, and what change has put
// into o.facts.
func (o *Observer) publish(unreached error, change func()) {
	used, err := volume.Measure(o.StateDir)
	if err != nil {
		o.Log.Error(err, "Failed to measure the volume")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if unreached != nil && o.facts.Unreached == nil {
		o.Log.Error(unreached, "The daemon does not answer")
	}
	o.facts.Unreached = unreached
	if err == nil {
		o.facts.Volume = used
	}
	change()
	o.Board.SetDaemon(o.facts)
}

// IsServing reports whether the daemon answered when last asked, and was observed before.
func (o *Observer) IsServing() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.facts.Seen != nil && o.facts.Unreached == nil
}

// HasObserved reports whether the daemon was observed.
func (o *Observer) HasObserved() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.facts.Seen != nil
}

// Held returns the bytes of each cache mount that the daemon holds: those of the last observation, and those that
// builds have used since, with 0 when they are new. Mounts that are still being prefetched are not among them. The map
// is the caller's.
func (o *Observer) Held() map[string]int64 {
	o.mu.Lock()
	held, observed := map[string]int64{}, o.observed
	if o.facts.Seen != nil {
		maps.Copy(held, o.facts.Seen.MountBytes)
	}
	o.mu.Unlock()
	for _, id := range o.Usage.UsedSince(observed) {
		held[id] = max(held[id], 0)
	}
	maps.DeleteFunc(held, func(id string, _ int64) bool { return o.Snapshots.IsUnfilled(id) })
	return held
}

// RecordPrefetch has the usage record know of a mount that was filled ahead of builds. An observation that is under
// way began before the mount was there and must not take it for evicted, so it is waited for.
func (o *Observer) RecordPrefetch(id, epoch string, began time.Time) {
	o.observing.Lock()
	defer o.observing.Unlock()
	o.Usage.RecordPrefetch(id, epoch, began)
}

// RoomFor returns an error unless the volume and the mounts' share of it take so many bytes more without anything
// being evicted. The daemon must have been observed.
func (o *Observer) RoomFor(bytes int64) error {
	vol, err := volume.Measure(o.StateDir)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	mounts, budget := o.facts.Seen.AllMountBytes(), o.facts.Budget
	switch {
	case vol.FreeBytes-bytes < budget.FreeBytes || vol.HasInodePressure():
		return fmt.Errorf("the volume has no room for %d MiB: %d MiB are free, of which %d are kept free",
			bytes>>20, vol.FreeBytes>>20, budget.FreeBytes>>20)
	case budget.MountsBytes > 0 && mounts+bytes > budget.MountsBytes:
		return fmt.Errorf("the mounts' share has no room for %d MiB: %d of %d MiB are taken",
			bytes>>20, mounts>>20, budget.MountsBytes>>20)
	}
	return nil
}

// IsVolumeFull reports whether the volume has no room for a step now.
func (o *Observer) IsVolumeFull() bool {
	v, err := volume.Measure(o.StateDir)
	return err == nil && volume.IsFull(v)
}
