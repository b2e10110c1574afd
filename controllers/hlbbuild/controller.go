// SPDX-License-Identifier: Apache-2.0

// Package hlbbuild decides what becomes of runs and their attempts: by the daemon they are bound to, by schedule, by
// suspension and by time limits.
package hlbbuild

import (
	"context"
	"fmt"
	"time"

	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/liveness"
	"github.com/openllb/hlb-operator/internal/attempt"
	"github.com/openllb/hlb-operator/internal/buildrun"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/internal/write"
)

// Reconciler decides what becomes of attempts, keeps the time limits of builds, and opens runs by schedule, of
// suspended builds and while a build's BuildCache is missing. Other runs are opened with their first decision by the
// placement loop of the BuildCache, and run by agents.
type Reconciler struct {
	Client client.Client
	Events events.EventRecorder
	Clock  clock.PassiveClock
	// Liveness judges the sessions of agents. It is shared with the reconciler of daemons.
	Liveness *liveness.Watch

	waits waits
}

// Reconcile takes one HLBBuild a step nearer to its spec. Called twice on the same world, it does nothing the second
// time.
func (r *Reconciler) Reconcile(ctx context.Context, build *v1alpha1.HLBBuild) (ctrl.Result, error) {
	if !build.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // its agent sees the deletion itself
	}
	before := build.DeepCopy()
	next, err := r.advance(ctx, build)
	if err != nil {
		return ctrl.Result{}, err
	}
	writer := &write.Writer{Client: r.Client, Events: r.Events}
	outcome, err := writer.PatchStatus(ctx, before, build, write.Yield)
	switch {
	case err != nil:
		return ctrl.Result{}, fmt.Errorf("write status: %w", err)
	case outcome == write.Conflict || outcome == write.Gone:
		return ctrl.Result{}, nil // somebody was faster; their change wakes us again
	}
	if at, ok := status.Expiry(build); ok && !r.Clock.Now().Before(at) {
		return ctrl.Result{}, r.expire(ctx, build)
	}
	return ctrl.Result{RequeueAfter: next}, nil
}

// advance changes the status in memory by what is due: a new run, another attempt, a way back into the queue, an end.
// It returns how long until there is something to do by the clock alone, 0 for never.
func (r *Reconciler) advance(ctx context.Context, build *v1alpha1.HLBBuild) (time.Duration, error) {
	now := r.Clock.Now()
	if status.NeedsRun(build) {
		// an attempt that may be executing is released at once, whoever places the run afterwards
		if _, may := attempt.Executing(build); !may {
			served, err := r.isServed(ctx, build)
			if err != nil || served {
				return 0, err
			}
		}
		attempt.Open(build, buildrun.New(build), now)
	}
	if status.Observe(build) && (status.IsWaiting(build) || status.IsHeld(build)) {
		build.Status.Run.Key = buildrun.Key(build) // its caches are chosen when it is placed
	}
	keepSuspension(build, now)
	again, err := r.checkAttempt(ctx, build)
	if err != nil {
		return 0, err
	}
	if err := r.next(ctx, build); err != nil {
		return 0, err
	}
	next := soonest(again, keepDeadline(build, now), keepSchedule(build, now), status.CheckAgain(build, now))
	if status.IsWaiting(build) {
		return next, r.checkCache(ctx, build)
	}
	if at, ok := status.Expiry(build); ok {
		next = soonest(next, max(at.Sub(now), 1))
	}
	return next, nil
}
