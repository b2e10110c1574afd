// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"context"
	"errors"
	"time"

	"github.com/openllb/hlb-operator/hlb/diag"
)

// usage is something that a program uses.
type usage struct {
	use  Use
	what string
}

// allow asks the embedding program whether something may be used, each thing once.
func (e *evaluator) allow(use Use, what string, at diag.Span) error {
	if e.opts.Allow == nil {
		return nil
	}
	u := usage{use, what}
	err, known := e.allowed[u]
	if !known {
		err = e.opts.Allow(use, what)
		e.allowed[u] = err
	}
	var d *diag.Diagnostic
	switch {
	case err == nil:
		return nil
	case errors.As(err, &d):
		placed := e.conversion(d.Code, at, "%s", d.Message)
		placed.Hint = d.Hint
		return placed
	}
	return e.conversion(NotAllowed, at, "%v", err)
}

// noteMounts has a Solver or Pusher know the cache mounts so far.
func (e *evaluator) noteMounts(who any) {
	if n, ok := who.(MountNoter); ok {
		n.NoteMounts(e.mounts)
	}
}

// wall is the time that a compile has left. It stands still while something is built for it: that is bounded as
// builds are.
type wall struct {
	left    time.Duration
	started time.Time
	timer   *time.Timer
}

// withWall returns a context that ends with the cause errWall when the time has run out.
func withWall(ctx context.Context, limit time.Duration) (context.Context, *wall, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &wall{left: limit, started: time.Now(), timer: time.AfterFunc(limit, func() { cancel(errWall) })}
	return ctx, w, func() {
		w.timer.Stop()
		cancel(context.Canceled)
	}
}

// stop has the time stand still until the returned function is called.
func (w *wall) stop() (resume func()) {
	if !w.timer.Stop() {
		return func() {} // it has run out
	}
	w.left -= time.Since(w.started)
	return func() {
		w.started = time.Now()
		w.timer.Reset(max(w.left, 0))
	}
}
