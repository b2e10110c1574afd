// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// attempt is one attempt that the agent is on.
type attempt struct {
	id     attemptID
	ctx    context.Context // ends with the cause for which the attempt must end
	cancel context.CancelCauseFunc
}

// attempts are the agent's slots: what runs, what waits for a slot, and what ran last. It is safe for concurrent use.
type attempts struct {
	// wake has a build looked at again; it must not block for long.
	wake func(types.NamespacedName)

	mu       sync.Mutex
	slots    int
	draining bool
	active   map[types.NamespacedName]*attempt
	queue    map[types.NamespacedName]time.Time // when they were placed
	last     map[types.NamespacedName]attemptID // claimed and ended
	after    int                                // builds that have ended, with work left such as exports
	idle     chan struct{}                      // closed and replaced whenever something ends
}

func newAttempts(wake func(types.NamespacedName)) *attempts {
	return &attempts{
		wake: wake, active: map[types.NamespacedName]*attempt{}, queue: map[types.NamespacedName]time.Time{},
		last: map[types.NamespacedName]attemptID{}, idle: make(chan struct{}),
	}
}

// known is the attempt of a build that the agent is on, or was on last; nil for none.
func (a *attempts) known(name types.NamespacedName) *attemptID {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := a.active[name]; now != nil {
		return &now.id
	}
	if id, ended := a.last[name]; ended {
		return &id
	}
	return nil
}

// begin gives a build a slot, or puts it into the queue and returns nil: all slots are taken, builds that were placed
// earlier wait too, an older attempt of the same build is still ending, or the agent drains. It will be woken. The
// attempt ends with the session.
func (a *attempts) begin(
	session context.Context,
	name types.NamespacedName,
	id attemptID,
	placed time.Time,
	slots int,
) *attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.slots = slots
	if a.draining {
		return nil
	}
	if older := a.active[name]; older != nil {
		older.cancel(errSuperseded)
		return nil // its end wakes the build
	}
	a.queue[name] = placed
	if !slices.Contains(a.next(), name) {
		return nil
	}
	delete(a.queue, name)
	ctx, cancel := context.WithCancelCause(context.Background())
	context.AfterFunc(session, func() { cancel(context.Cause(session)) })
	started := &attempt{id: id, ctx: ctx, cancel: cancel}
	a.active[name] = started
	return started
}

// next lists the builds of the queue that there are slots for, first placed first.
func (a *attempts) next() []types.NamespacedName {
	free := max(a.slots-len(a.active), 0)
	waiting := make([]types.NamespacedName, 0, len(a.queue))
	for name := range a.queue {
		waiting = append(waiting, name)
	}
	slices.SortFunc(waiting, func(x, y types.NamespacedName) int {
		return cmp.Or(a.queue[x].Compare(a.queue[y]), cmp.Compare(x.String(), y.String()))
	})
	return waiting[:min(free, len(waiting))]
}

// waiting lists the builds of the queue.
func (a *attempts) waiting() []types.NamespacedName {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []types.NamespacedName
	for name := range a.queue {
		out = append(out, name)
	}
	return out
}

// end frees the attempt's slot. claimed says whether the attempt was this agent's, so that it won't take it up again.
// Work may be left: finished must be called after it.
func (a *attempts) end(name types.NamespacedName, ended *attempt, claimed bool) {
	ended.cancel(errSuperseded) // frees the context
	a.mu.Lock()
	if claimed {
		a.last[name] = ended.id
	}
	delete(a.active, name)
	a.after++
	woken := append(a.next(), name)
	a.mu.Unlock()
	for _, n := range woken {
		a.wake(n)
	}
}

// finished says that nothing is left of an attempt that has ended.
func (a *attempts) finished() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.after--
	close(a.idle)
	a.idle = make(chan struct{})
}

// letGo cancels whatever of the build runs or waits here. gone says that the build no longer exists, or not for this
// daemon.
func (a *attempts) letGo(name types.NamespacedName, gone bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.queue, name)
	if gone {
		delete(a.last, name)
	}
	if running := a.active[name]; running != nil {
		running.cancel(errSuperseded)
	}
}

// load is how many builds run and whether the agent drains.
func (a *attempts) load() (running int, draining bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.active), a.draining
}

// drain takes nothing up from now on.
func (a *attempts) drain() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.draining = true
	clear(a.queue)
}

// cancelAll ends everything that runs.
func (a *attempts) cancelAll(cause error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, running := range a.active {
		running.cancel(cause)
	}
}

// wait returns true when nothing runs and no work is left, false when ctx was done first.
func (a *attempts) wait(ctx context.Context) bool {
	for {
		a.mu.Lock()
		busy, changed := len(a.active)+a.after > 0, a.idle
		a.mu.Unlock()
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
