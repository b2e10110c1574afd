// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/agent/mountevent"
	"github.com/openllb/hlb-operator/agent/self"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// checkEvery is how often the agent checks whether a snapshot is due: schedules and pauses have no event to wait for.
const checkEvery = 2 * time.Second

// takeTimeout bounds one snapshot, so that a registry that hangs does not keep all others from theirs.
const takeTimeout = 30 * time.Minute

// Daemon is what a Snapshotter must know of the agent's daemon.
type Daemon interface {
	// IsServing reports whether the daemon answers.
	IsServing() bool
	// Held returns the bytes of each cache mount that the daemon holds.
	Held() map[string]int64
}

// Snapshotter makes the snapshots of the daemon's cache mounts when they are due.
type Snapshotter struct {
	Maker  *Maker
	Self   self.Self
	Client client.Reader // reads from the cache
	Daemon Daemon
	// HasLease reports whether the agent holds its Lease.
	HasLease func() bool
	// RequestSync has the daemon's status written soon.
	RequestSync func()
	Events      events.EventRecorder
	Log         logr.Logger

	taking sync.Mutex // one snapshot at a time
}

// Run makes snapshots that are due until ctx is done.
func (s *Snapshotter) Run(ctx context.Context) error {
	wait.UntilWithContext(ctx, s.check, checkEvery) // at once: requests from before there were mounts are no requests
	return nil
}

// check makes the snapshots that are due, one after the other.
func (s *Snapshotter) check(ctx context.Context) {
	cache, bd, err := s.read(ctx)
	if err != nil {
		return
	}
	s.logStateError(s.Maker.State.Ask(requestOf(cache, bd)))
	if !s.HasLease() || !s.Daemon.IsServing() {
		return
	}
	s.logStateError(s.Maker.State.Keep(s.Daemon.Held))
	for _, id := range s.Maker.Due(cache) {
		s.take(ctx, cache, bd, id)
	}
}

// read reads the daemon's objects from the cache. They may not be there yet, or no longer.
func (s *Snapshotter) read(ctx context.Context) (*v1alpha1.BuildCache, *v1alpha1.BuildDaemon, error) {
	cache, err := s.Self.BuildCache(ctx, s.Client)
	if err != nil {
		return nil, nil, err
	}
	bd, err := s.Self.BuildDaemon(ctx, s.Client)
	return cache, bd, err
}

// requestOf returns the annotations that ask for snapshots, empty when there are none.
func requestOf(cache *v1alpha1.BuildCache, bd *v1alpha1.BuildDaemon) string {
	all, one := cache.Annotations[v1alpha1.AnnotationSnapshotAt], bd.Annotations[v1alpha1.AnnotationSnapshotAt]
	if all == "" && one == "" {
		return ""
	}
	return all + "|" + one
}

// Drain makes the snapshots that the shutdown of the daemon asks for, as far as they are done before ctx is.
func (s *Snapshotter) Drain(ctx context.Context) {
	cache, bd, err := s.read(ctx)
	if err != nil {
		return
	}
	for _, id := range s.Maker.Hot(cache) {
		s.take(ctx, cache, bd, id)
	}
}

func (s *Snapshotter) take(ctx context.Context, cache *v1alpha1.BuildCache, bd *v1alpha1.BuildDaemon, id string) {
	s.taking.Lock()
	defer s.taking.Unlock()
	ctx, cancel := context.WithTimeout(ctx, takeTimeout)
	defer cancel()
	before, _ := s.Maker.State.Entry(id)
	after, err := s.Maker.Take(ctx, cache, id)
	s.logStateError(err)
	s.RequestSync()
	s.Log.V(1).Info("Snapshot of a cache mount", "mount", id, "outcome", after.Outcome, "reason", after.Message)
	s.report(bd, id, &before, &after)
}

// report sends the events about the end of one try.
func (s *Snapshotter) report(bd *v1alpha1.BuildDaemon, id string, before, after *Entry) {
	send := func(kind, reason, note string) {
		mountevent.Send(s.Events, mountevent.On(bd, "status.mounts", id), kind, reason, "Snapshot", note)
	}
	switch {
	case after.Outcome == v1alpha1.SnapshotPushed:
		send(corev1.EventTypeNormal, v1alpha1.ReasonSnapshotPushed,
			fmt.Sprintf("Pushed cache mount %s of %d MiB to %s", id, after.Bytes>>20, after.Ref))
		if after.Message != "" {
			send(corev1.EventTypeWarning, v1alpha1.ReasonSnapshotCleanUpFailed, after.Message)
		}
	case after.Overdue && !before.Overdue:
		send(corev1.EventTypeWarning, v1alpha1.ReasonSnapshotOverdue,
			fmt.Sprintf("No snapshot of cache mount %s for an hour: %s", id, after.Message))
	case after.Outcome == before.Outcome && after.Message == before.Message:
	case after.Outcome == v1alpha1.SnapshotFailed, after.Outcome == v1alpha1.SnapshotTooLarge:
		send(corev1.EventTypeWarning, v1alpha1.ReasonSnapshotFailed,
			fmt.Sprintf("No snapshot of cache mount %s: %s", id, after.Message))
	}
}

// logStateError logs that the state was not written, which costs a snapshot too many at worst.
func (s *Snapshotter) logStateError(err error) {
	if err != nil {
		s.Log.Error(err, "Failed to write the state of snapshots")
	}
}
