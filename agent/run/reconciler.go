// SPDX-License-Identifier: Apache-2.0

// Package run claims the builds that are bound to the daemon, runs them in its slots and reports their ends.
//
// Package attempt decides what is to be done about a build. Slots are what runs and what waits, an execution is in
// each, and the reporter writes the builds' status. An end that can't be written is kept on the volume.
package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/openllb/hlb-operator/agent/board"
	"github.com/openllb/hlb-operator/agent/builds"
	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/lease"
	"github.com/openllb/hlb-operator/agent/self"
	"github.com/openllb/hlb-operator/agent/snapshot"
	"github.com/openllb/hlb-operator/agent/usage"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/attempt"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/internal/write"
)

// notReadyPause is how long a build waits before it is reconciled again while the agent can't take builds: a lost
// Lease or daemon comes back at no event that a build would be requeued by.
const notReadyPause = time.Second

// lastReports is how long the ends of attempts have to be reported once the BuildCache is deleted.
const lastReports = 5 * time.Second

// shortReport bounds the tries of a report that is tried again by back-off of the work queue, which grows from
// firstRetry to lastRetry.
const (
	shortReport = 10 * time.Second
	firstRetry  = 100 * time.Millisecond
	lastRetry   = 15 * time.Second
)

// Builder is the agent's buildkitd. *daemon.Daemon is one; tests have others.
type Builder interface {
	// Build compiles a program, builds its targets and pushes its images. The outcome is never nil.
	Build(ctx context.Context, job *daemon.Job) (*daemon.Outcome, error)
	// ExportCache writes the registry cache of a job that Build has just done, to job.Plan.Export.
	ExportCache(ctx context.Context, job *daemon.Job, out *daemon.Outcome) error
}

// Daemon is what a Runner must know of the agent's daemon.
type Daemon interface {
	// IsServing reports whether the daemon answers, HasObserved whether its cache was listed.
	IsServing() bool
	HasObserved() bool
	// Observe lists the daemon's cache.
	Observe(ctx context.Context)
	// Held returns the bytes of each cache mount that the daemon holds.
	Held() map[string]int64
	// Room returns the capacity of the volume, and whether it has no room for a step.
	Room() (volumeBytes int64, isFull bool)
}

// Config is what a Runner works with.
type Config struct {
	Self self.Self
	// StateDir is a directory on the daemon's volume, for the logs.
	StateDir string
	// DaemonMemoryBytes is the memory of buildkitd with its steps, 0 for unknown.
	DaemonMemoryBytes int64

	Builds  *builds.Watcher
	Client  client.Client // reads from the cache
	Live    client.Reader // reads from the API server
	Lease   *lease.Keeper
	Builder Builder
	Daemon  Daemon
	Maker   *snapshot.Maker
	Usage   *usage.Journal
	Sizing  *usage.Sizing
	Board   *board.Board
	Ends    *Ends
	Events  events.EventRecorder
	Log     logr.Logger
	Now     func() time.Time
}

// Runner claims and runs builds.
type Runner struct {
	Config
	reports  *reporter
	slots    *slots
	requeues chan event.GenericEvent
	// life ends when the agent has drained: nothing is reported after it.
	life context.Context
	end  context.CancelFunc
}

// New returns a Runner that reconciles nothing yet; see SetUp.
func New(c Config) *Runner {
	life, end := context.WithCancel(context.Background())
	requeues := make(chan event.GenericEvent, 64)
	requeue := func(name types.NamespacedName) {
		b := &v1alpha1.HLBBuild{}
		b.Namespace, b.Name = name.Namespace, name.Name
		select {
		case requeues <- event.GenericEvent{Object: b}:
		case <-life.Done():
		}
	}
	return &Runner{
		Config: c, slots: newSlots(requeue, c.Board), requeues: requeues, life: life, end: end,
		reports: &reporter{
			writer: &write.Writer{Client: c.Client, Live: c.Live, Events: c.Events}, held: c.Lease.Wait,
		},
	}
}

// SetUp watches the builds bound to the daemon, the BuildCache for its policy, and the BuildDaemon for what others
// write on it.
func (r *Runner) SetUp(mgr ctrl.Manager) error {
	toBuild := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: client.ObjectKeyFromObject(o)}}
	})
	toQueue := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		if _, isCache := o.(*v1alpha1.BuildCache); isCache {
			r.endWithCache(ctx)
		}
		r.Board.RequestSync()
		var out []reconcile.Request
		for _, name := range r.slots.waiting() {
			out = append(out, reconcile.Request{NamespacedName: name})
		}
		return out
	})
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry)
	return ctrl.NewControllerManagedBy(mgr).
		Named("agent-"+r.Self.Daemon).
		WatchesRawSource(source.Channel(r.Builds.Changes(), toBuild)).
		Watches(&v1alpha1.BuildCache{}, toQueue).
		Watches(&v1alpha1.BuildDaemon{}, toQueue).
		WatchesRawSource(source.Channel(r.requeues, toBuild)).
		WithOptions(controller.Options{RateLimiter: limiter}).
		Complete(r)
}

// Reconcile does about one build what package attempt decides. It never waits for a build. It takes names, because a
// build that is gone is to be released.
func (r *Runner) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	name := req.NamespacedName
	b := &v1alpha1.HLBBuild{}
	if err := r.Builds.Get(ctx, name, b); err != nil {
		if apierrors.IsNotFound(err) { // deleted, or no longer bound to this daemon
			r.slots.release(name, true)
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, fmt.Errorf("read HLBBuild: %w", err)
	}
	session, me := r.Lease.Session()
	switch attempt.Decide(b, me, r.slots.known(name)) {
	case attempt.Start:
		if left := r.slots.pausedFor(name); left > 0 {
			return reconcile.Result{RequeueAfter: left}, nil
		}
		return r.start(ctx, b, session, attempt.Claimed{ID: attempt.Of(b), Session: me}, false)
	case attempt.Resume:
		return r.start(ctx, b, session, attempt.Claimed{ID: attempt.Of(b), Session: me}, true)
	case attempt.Orphan:
		return r.disown(ctx, b, me)
	case attempt.Acknowledge:
		return r.acknowledge(ctx, b, me)
	case attempt.Leave:
		r.slots.release(name, false)
	}
	return reconcile.Result{}, nil
}

// start starts an attempt if there is a slot. claimed reports whether the session has claimed it before.
func (r *Runner) start(
	ctx context.Context, b *v1alpha1.HLBBuild, session context.Context, c attempt.Claimed, claimed bool,
) (reconcile.Result, error) {
	if !c.Session.IsHeld() || !r.Daemon.IsServing() || r.slots.isHeld() {
		return reconcile.Result{RequeueAfter: notReadyPause}, nil
	}
	cache, err := r.Self.BuildCache(ctx, r.Client)
	if err != nil {
		return reconcile.Result{}, err
	}
	placed := b.CreationTimestamp.Time
	if at := b.Status.Run.PlacedAt; at != nil {
		placed = at.Time
	}
	total := max(int(cache.Spec.BuildKit.MaxConcurrentBuilds), 1)
	taken := r.slots.take(session, client.ObjectKeyFromObject(b), c, placed, total)
	if taken == nil {
		return reconcile.Result{}, nil
	}
	go r.run(taken, b, cache, claimed)
	return reconcile.Result{}, nil
}

// endWithCache ends all attempts once the BuildCache or its namespace is deleted, and claims no more: nobody waits for
// them to end, and the objects of the fleet go with it.
func (r *Runner) endWithCache(ctx context.Context) {
	cache, err := r.Self.BuildCache(ctx, r.Client)
	if ends := apierrors.IsNotFound(err) || err == nil && status.IsEnding(cache); !ends {
		return
	}
	if running := r.slots.endAll(errCacheDeleted); running > 0 {
		r.Log.Info("The BuildCache is deleted, so all builds end", "builds", running)
	}
	// The agent's own rights go with the BuildCache, so that a report that was refused stays refused. The manager knows
	// from the daemon's end that its attempts are over.
	time.AfterFunc(lastReports, r.end)
}

// disown reports an attempt of an earlier session of this daemon, of which no end was kept.
func (r *Runner) disown(ctx context.Context, b *v1alpha1.HLBBuild, me attempt.Session) (reconcile.Result, error) {
	c, claimed := attempt.ClaimedAttempt(b)
	switch {
	case !me.IsHeld():
		return reconcile.Result{RequeueAfter: notReadyPause}, nil
	case !claimed || r.Ends.has(c): // that one is being delivered
		return reconcile.Result{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, shortReport)
	defer cancel()
	_, err := r.reports.write(ctx, b, func(b *v1alpha1.HLBBuild) bool {
		return attempt.MayDisown(b, c, me)
	}, func(b *v1alpha1.HLBBuild) {
		attempt.Disown(b, c, me, "The daemon's agent ended while it was on the build", r.Now())
	})
	if err == nil {
		log.FromContext(ctx).Info("Reported an attempt of an earlier session as lost",
			"HLBBuild", klog.KObj(b), "attempt", c.Attempt, "startedBy", c.Session.ID)
	}
	return reconcile.Result{}, ignoreNotMine(err)
}

// acknowledge ends whatever executes of a build whose attempt is to be released, and then reports that nothing does.
func (r *Runner) acknowledge(ctx context.Context, b *v1alpha1.HLBBuild, me attempt.Session) (reconcile.Result, error) {
	name := client.ObjectKeyFromObject(b)
	r.slots.release(name, false)
	switch {
	case r.slots.executes(name): // its end has the build reconciled again
		return reconcile.Result{}, nil
	case !me.IsHeld():
		return reconcile.Result{RequeueAfter: notReadyPause}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, shortReport)
	defer cancel()
	_, err := r.reports.write(ctx, b, func(b *v1alpha1.HLBBuild) bool {
		return attempt.MayAcknowledge(b, me, r.slots.executes(name))
	}, func(b *v1alpha1.HLBBuild) {
		attempt.AcknowledgeRelease(b, me, false, r.Now())
	})
	return reconcile.Result{}, ignoreNotMine(err)
}

func ignoreNotMine(err error) error {
	if errors.Is(err, errNotMine) {
		return nil
	}
	return err
}

// Drain claims no more builds and returns how many run.
func (r *Runner) Drain() (running int) {
	r.slots.drain()
	running, _ = r.slots.load()
	return running
}

// IsDraining reports whether Drain was called.
func (r *Runner) IsDraining() bool {
	_, draining := r.slots.load()
	return draining
}

// Wait returns true when nothing runs and all is reported, false when ctx was done first.
func (r *Runner) Wait(ctx context.Context) bool { return r.slots.wait(ctx) }

// CancelAll ends all builds as lost to the drain.
func (r *Runner) CancelAll() { r.slots.cancelAll(errDrained) }

// Hold has no more builds claimed, or again some.
func (r *Runner) Hold(hold bool) { r.slots.hold(hold) }

// Lose ends all attempts as lost by the daemon.
func (r *Runner) Lose(cause error) { r.slots.cancelAll(&daemonError{cause}) }

// Progressed returns how many attempts run, and when one of them last began or heard from buildkitd.
func (r *Runner) Progressed() (running int, last time.Time) { return r.slots.progress() }

// Close ends what is left of reports.
func (r *Runner) Close() { r.end() }
