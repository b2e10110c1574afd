// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/agent/self"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/write"
)

// checkEvery is how often the agent checks whether a snapshot is due: schedules and pauses have no event to wait for.
const checkEvery = 2 * time.Second

// takeTimeout bounds one snapshot, so that a registry that hangs does not keep all others from theirs.
const takeTimeout = 30 * time.Minute

// parallelSnapshots is how many mounts are copied at a time: most of a small copy's time is the daemon starting a step
// and the registry answering.
const parallelSnapshots = 4

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

	mu     sync.Mutex
	taking map[string]chan struct{} // closed when the mount's snapshot has ended
}

// Run makes snapshots that are due until ctx is done.
func (s *Snapshotter) Run(ctx context.Context) error {
	wait.UntilWithContext(ctx, s.check, checkEvery) // at once: requests from before there were mounts are no requests
	return nil
}

// check makes the snapshots that are due.
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
	s.takeAll(ctx, cache, bd, s.Maker.Due(cache))
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
	s.takeAll(ctx, cache, bd, s.Maker.Hot(cache))
}

// takeAll makes snapshots of mounts, several at a time. Many empty ones take one step.
func (s *Snapshotter) takeAll(
	ctx context.Context, cache *v1alpha1.BuildCache, bd *v1alpha1.BuildDaemon, ids []string,
) {
	rest := s.Maker.withoutEmpty(ctx, cache, ids)
	if len(rest) < len(ids) {
		s.RequestSync()
	}
	var all errgroup.Group
	all.SetLimit(parallelSnapshots)
	for _, id := range rest {
		all.Go(func() error {
			s.take(ctx, cache, bd, id)
			return nil
		})
	}
	all.Wait() //nolint:errcheck // there is none
}

// begin waits until no snapshot of the mount is being made; the returned function ends this one.
func (s *Snapshotter) begin(id string) (end func()) {
	ended := make(chan struct{})
	for {
		s.mu.Lock()
		other, underWay := s.taking[id]
		if !underWay {
			if s.taking == nil {
				s.taking = map[string]chan struct{}{}
			}
			s.taking[id] = ended
			s.mu.Unlock()
			break
		}
		s.mu.Unlock()
		<-other
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.taking, id)
		close(ended)
	}
}

// take makes a snapshot of a mount and reports it.
func (s *Snapshotter) take(ctx context.Context, cache *v1alpha1.BuildCache, bd *v1alpha1.BuildDaemon, id string) {
	defer s.begin(id)()
	ctx, cancel := context.WithTimeout(ctx, takeTimeout)
	defer cancel()
	before, _ := s.Maker.State.Entry(id)
	after, err := s.Maker.Take(ctx, cache, id)
	s.logStateError(err)
	s.RequestSync()
	s.Log.V(1).Info("Snapshot of a cache mount", "mount", id, "outcome", after.Outcome, "reason", after.Message)
	write.Send(s.Events, eventsOf(bd, id, &before, &after)...)
}

// eventsOf lists the events of a snapshot that was tried.
func eventsOf(bd *v1alpha1.BuildDaemon, id string, before, after *Entry) []write.Event {
	trouble := func(reason, note string) write.Event { return write.SnapshotTrouble(bd, id, reason, note) }
	switch {
	case after.Outcome == v1alpha1.SnapshotPushed:
		out := []write.Event{write.SnapshotPushed(bd, id, after.Bytes, after.Ref)}
		if after.Message != "" {
			out = append(out, trouble(v1alpha1.ReasonSnapshotCleanUpFailed, after.Message))
		}
		return out
	case after.Overdue && !before.Overdue:
		note := fmt.Sprintf("No snapshot of cache mount %s for an hour: %s", id, after.Message)
		return []write.Event{trouble(v1alpha1.ReasonSnapshotOverdue, note)}
	case after.Outcome == before.Outcome && after.Message == before.Message:
	case after.Outcome == v1alpha1.SnapshotFailed, after.Outcome == v1alpha1.SnapshotTooLarge:
		note := fmt.Sprintf("No snapshot of cache mount %s: %s", id, after.Message)
		return []write.Event{trouble(v1alpha1.ReasonSnapshotFailed, note)}
	}
	return nil
}

// logStateError logs that the state was not written, which costs a snapshot too many at worst.
func (s *Snapshotter) logStateError(err error) {
	if err != nil {
		s.Log.Error(err, "Failed to write the state of snapshots")
	}
}
