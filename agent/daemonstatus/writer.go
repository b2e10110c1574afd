// SPDX-License-Identifier: Apache-2.0

// Package daemonstatus writes the BuildDaemon's status: the agent's one writer of it. What loops have published on the
// board, and the state files, become a status by a pure function, which is written when something in it has changed.
package daemonstatus

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/agent/board"
	"github.com/openllb/hlb-operator/agent/self"
	"github.com/openllb/hlb-operator/agent/snapshot"
	"github.com/openllb/hlb-operator/agent/stepnet"
	"github.com/openllb/hlb-operator/agent/usage"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/attempt"
	"github.com/openllb/hlb-operator/internal/write"
)

// checkEvery is how soon a status is compared again when nothing was published: a write may have failed, or the agent
// did not hold its Lease.
const checkEvery = 5 * time.Second

// Writer writes the status.
type Writer struct {
	Self      self.Self
	Node      string
	Isolation v1alpha1.Isolation
	// Network is that of steps, nil where they were to share the pod's.
	Network *stepnet.State
	Client  client.Client // reads from the cache
	Live    client.Reader // reads from the API server
	// Session returns the session in which the agent holds its Lease. Without one nothing is written.
	Session   func() attempt.Session
	Board     *board.Board
	Usage     *usage.Journal
	Sizing    *usage.Sizing
	Snapshots *snapshot.State
	Events    events.EventRecorder
	Log       logr.Logger
	Now       func() time.Time

	writing sync.Mutex // one write at a time
	mine    ownWrites
	pace    pace
}

// Run writes changes until ctx is done.
func (w *Writer) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.Board.Changes():
		case <-timer.C:
		}
		timer.Reset(w.sync(ctx, false))
	}
}

// Write writes the status now if anything in it has changed.
func (w *Writer) Write(ctx context.Context) { w.sync(ctx, true) }

// sync writes the status if a change is due, any change with now, and returns when to compare again.
func (w *Writer) sync(ctx context.Context, now bool) time.Duration {
	session := w.Session()
	if !session.IsHeld() {
		return checkEvery
	}
	w.writing.Lock()
	defer w.writing.Unlock()
	bd, err := w.Self.BuildDaemon(ctx, w.Client)
	if err != nil {
		if !apierrors.IsNotFound(err) { // the manager has yet to make it, and its coming is an event
			w.Log.Error(err, "Failed to read the BuildDaemon")
		}
		return checkEvery
	}
	bd, facts := w.mine.newer(bd), w.gather(ctx, session)
	after := bd.DeepCopy()
	Describe(after, facts)
	change := changeOf(&bd.Status, &after.Status)
	if wait := w.pace.due(change, w.Now()); wait > 0 && !now || change == none {
		return wait
	}
	alive := func(*v1alpha1.BuildDaemon) bool { return ctx.Err() == nil && w.Session() == session }
	done, err := write.Reread(ctx, w.writer(), bd, alive, func(bd *v1alpha1.BuildDaemon) { Describe(bd, facts) })
	switch {
	case err != nil && ctx.Err() == nil:
		w.Log.Error(err, "Failed to write the BuildDaemon's status")
	case done.Outcome == write.Written:
		w.mine.wrote(done.Before.ResourceVersion, done.After)
		w.pace.wrote(w.Now())
	}
	return checkEvery
}

func (w *Writer) writer() *write.Writer {
	return &write.Writer{Client: w.Client, Live: w.Live, Events: w.Events}
}

// gather reads all that a status is made of.
func (w *Writer) gather(ctx context.Context, session attempt.Session) Facts {
	cache, err := w.Self.BuildCache(ctx, w.Client)
	if err != nil {
		cache = nil
	}
	published, now := w.Board.Facts(), w.Now()
	return Facts{
		Facts: published, Cache: cache, AgentID: session.ID, Node: w.Node, Isolation: w.Isolation, Now: now,
		Network: w.Network, Usage: w.Usage.Snapshot(),
		Snapshots: w.Snapshots.Entries(), Unfilled: w.Snapshots.Unfilled(),
		// by the day, so that aging alone changes no status
		Sizing: w.Sizing.Report(published.Daemon.Budget.MountsBytes, now.Truncate(24*time.Hour)),
	}
}
