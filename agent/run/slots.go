// SPDX-License-Identifier: Apache-2.0

package run

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/agent/board"
	"github.com/openllb/hlb-operator/internal/attempt"
)

// slot is taken by one attempt.
type slot struct {
	claimed attempt.Claimed
	ctx     context.Context // ends with the cause for which the attempt must end
	cancel  context.CancelCauseFunc
}

// slots are what the agent runs, what waits for a slot, and what it ran last. They are safe for concurrent use.
type slots struct {
	// requeue has a build reconciled again; it must not block for long.
	requeue func(types.NamespacedName)
	board   *board.Board

	mu       sync.Mutex
	total    int
	draining bool
	ended    bool      // no more slots are given out, since the BuildCache is deleted
	held     bool      // no more slots are given out for now
	moved    time.Time // when anything that runs last progressed
	active   map[types.NamespacedName]*slot
	queue    map[types.NamespacedName]time.Time  // when they were placed
	last     map[types.NamespacedName]attempt.ID // claimed and ended
	pauses   map[types.NamespacedName]backoff    // of builds whose claim was refused
	after    int                                 // builds that have ended, with work left such as exports
	idle     chan struct{}                       // closed and replaced whenever something ends
}

func newSlots(requeue func(types.NamespacedName), b *board.Board) *slots {
	return &slots{
		requeue: requeue, board: b, active: map[types.NamespacedName]*slot{},
		queue: map[types.NamespacedName]time.Time{}, last: map[types.NamespacedName]attempt.ID{},
		pauses: map[types.NamespacedName]backoff{}, idle: make(chan struct{}),
	}
}

// publish publishes what runs. s.mu is held.
func (s *slots) publish() {
	s.board.SetBuilds(board.Builds{Running: len(s.active), Draining: s.draining})
}

// known is the attempt of a build that the agent is on, or was on last; nil for none.
func (s *slots) known(name types.NamespacedName) *attempt.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.active[name]; now != nil {
		return &now.claimed.ID
	}
	if id, ended := s.last[name]; ended {
		return &id
	}
	return nil
}

// take gives a build a slot, or puts it into the queue and returns nil: all slots are taken, builds that were placed
// earlier wait too, an older attempt of the same build is still ending, or the agent drains. The build is requeued when
// a slot is free. The attempt ends with the session.
func (s *slots) take(
	session context.Context, name types.NamespacedName, claimed attempt.Claimed, placed time.Time, total int,
) *slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total = total
	if s.draining || s.held || s.ended {
		return nil
	}
	if older := s.active[name]; older != nil {
		older.cancel(errSuperseded)
		return nil // its end requeues the build
	}
	s.queue[name] = placed
	if !slices.Contains(s.next(), name) {
		return nil
	}
	delete(s.queue, name)
	ctx, cancel := context.WithCancelCause(context.Background())
	context.AfterFunc(session, func() { cancel(context.Cause(session)) })
	started := &slot{claimed: claimed, ctx: ctx, cancel: cancel}
	s.active[name] = started
	s.moved = time.Now()
	s.publish()
	return started
}

// hold has no more slots be given out, or again some.
func (s *slots) hold(hold bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = hold
}

func (s *slots) isHeld() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

// progressed records that something that runs has progressed.
func (s *slots) progressed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moved = time.Now()
}

// progress returns how many attempts run, and when one last progressed.
func (s *slots) progress() (running int, last time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.active), s.moved
}

// next lists the builds of the queue that there are slots for, first placed first.
func (s *slots) next() []types.NamespacedName {
	free := max(s.total-len(s.active), 0)
	waiting := make([]types.NamespacedName, 0, len(s.queue))
	for name := range s.queue {
		waiting = append(waiting, name)
	}
	slices.SortFunc(waiting, func(x, y types.NamespacedName) int {
		return cmp.Or(s.queue[x].Compare(s.queue[y]), cmp.Compare(x.String(), y.String()))
	})
	return waiting[:min(free, len(waiting))]
}

// waiting lists the builds of the queue.
func (s *slots) waiting() []types.NamespacedName {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []types.NamespacedName
	for name := range s.queue {
		out = append(out, name)
	}
	return out
}

// backoff is the pause before a build is claimed again.
type backoff struct {
	length time.Duration
	until  time.Time
}

// The pauses after refused claims of a build: the first, and the longest.
const (
	firstClaimPause = time.Second
	lastClaimPause  = time.Minute
)

// pause has the build not be claimed for a while, because a claim was refused. The pause doubles each time.
func (s *slots) pause(name types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	length := min(max(2*s.pauses[name].length, firstClaimPause), lastClaimPause)
	s.pauses[name] = backoff{length: length, until: time.Now().Add(length)}
}

// pausedFor returns how long the build is not to be claimed.
func (s *slots) pausedFor(name types.NamespacedName) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(time.Until(s.pauses[name].until), 0)
}

// end frees an attempt's slot. claimed reports whether the attempt was this agent's, so that the agent won't claim it
// again. Work may be left: finished must be called after it.
func (s *slots) end(name types.NamespacedName, ended *slot, claimed bool) {
	ended.cancel(errSuperseded) // frees the context
	s.mu.Lock()
	if claimed {
		s.last[name] = ended.claimed.ID
		delete(s.pauses, name)
	}
	delete(s.active, name)
	s.after++
	requeued := append(s.next(), name)
	s.publish()
	s.mu.Unlock()
	for _, n := range requeued {
		s.requeue(n)
	}
}

// finished records that nothing is left of an attempt that has ended.
func (s *slots) finished() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.after--
	close(s.idle)
	s.idle = make(chan struct{})
}

// release cancels whatever of the build runs or waits here. gone reports whether the build no longer exists, or not for
// this daemon.
func (s *slots) release(name types.NamespacedName, gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.queue, name)
	if gone {
		delete(s.last, name)
		delete(s.pauses, name)
	}
	if running := s.active[name]; running != nil {
		running.cancel(errSuperseded)
	}
}

// executes reports whether anything of the build may still be executing here.
func (s *slots) executes(name types.NamespacedName) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.active[name] != nil
}

// load returns how many builds run and whether the agent drains.
func (s *slots) load() (running int, draining bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.active), s.draining
}

// drain gives out no more slots.
func (s *slots) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	clear(s.queue)
	s.publish()
}

// endAll gives out no more slots, ends everything that runs, and returns how much that is. The daemon still serves: it
// may have tags to delete in the registry.
func (s *slots) endAll(cause error) (running int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	clear(s.queue)
	s.cancelActive(cause)
	return len(s.active)
}

// cancelAll ends everything that runs.
func (s *slots) cancelAll(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancelActive(cause)
}

// cancelActive is cancelAll with s.mu held.
func (s *slots) cancelActive(cause error) {
	for _, running := range s.active {
		running.cancel(cause)
	}
}

// wait returns true when nothing runs and no work is left, false when ctx was done first.
func (s *slots) wait(ctx context.Context) bool {
	for {
		s.mu.Lock()
		busy, changed := len(s.active)+s.after > 0, s.idle
		s.mu.Unlock()
		if !busy {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}
