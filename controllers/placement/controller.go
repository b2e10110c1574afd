// SPDX-License-Identifier: Apache-2.0

// Package placement runs the scheduling loop of each BuildCache: it reads, has package fleet decide, and writes.
package placement

import (
	"context"
	"errors"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/watches"
	"github.com/openllb/hlb-operator/fleet"
	"github.com/openllb/hlb-operator/fleet/record"
	"github.com/openllb/hlb-operator/scheduler"
)

const (
	// waitingCheck is how often a queue is decided again when nothing happens: costs and ages move with time.
	waitingCheck = 10 * time.Second
	// maxRest bounds the pause after a round. Rounds rest for as long as they took, so that a loop has half a
	// processor at most; meanwhile more builds end and are decided at once.
	maxRest = time.Second
)

// Reconciler is the scheduling loop: one at a time for each BuildCache. It keeps no state that matters: what it assumes
// about its own writes, it forgets as soon as it observes them.
type Reconciler struct {
	Client client.Client
	// Live reads past the cache; nil where Client has no cache.
	Live   client.Reader
	Events events.EventRecorder
	Clock  clock.PassiveClock
	Params scheduler.Params
	// Explain keeps decided queues, for those who ask why. Nil keeps none.
	Explain *Explanations
	// Recorder records what is observed and decided. Nil records nothing.
	Recorder *record.Recorder

	mu    sync.Mutex
	loops map[types.NamespacedName]*loop
	// changes is what informers reported since the last rounds. Nil without a manager: then each round lists.
	changes *changes
}

// loop is what the rounds of one BuildCache share. One round uses it at a time.
type loop struct {
	state     *fleet.State
	restUntil time.Time // when the next round may begin
	complete  bool      // the State has observed all objects: changes are enough from here on
	// namespaces are the other namespaces that were served in the last round.
	namespaces []v1alpha1.ServedNamespace
	opened     map[types.NamespacedName]opening
	digestAt   time.Time // when the next digest is due for the recording
	recalled   bool      // the State has what an earlier manager learned
	lessons    string    // as they were read or written last
	lessonsAt  time.Time // when they may be written again
	learned    uint64    // what State.Learned was when they were written
}

// SetupWithManager makes a BuildCache's loop run whenever one of its builds or daemons changed.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	r.changes = newChanges()
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](time.Second/10, waitingCheck)
	return ctrl.NewControllerManagedBy(mgr).
		Named("placement").
		For(&v1alpha1.BuildCache{}, builder.WithPredicates(predicate.Or[client.Object](
			predicate.GenerationChangedPredicate{}, watches.AdmissionChanged))).
		Watches(&v1alpha1.HLBBuild{}, handler.EnqueueRequestsFromMapFunc(r.changes.noteBuild)).
		Watches(&v1alpha1.BuildDaemon{}, handler.EnqueueRequestsFromMapFunc(r.changes.noteDaemon)).
		// over BuildCaches; the queue never hands out one twice
		WithOptions(controller.Options{MaxConcurrentReconciles: 4, RateLimiter: limiter}).
		Complete(reconcile.Func(r.reconcile))
}

// reconcile reads the BuildCache and forgets one that is gone.
func (r *Reconciler) reconcile(ctx context.Context, req reconcile.Request) (ctrl.Result, error) {
	cache := &v1alpha1.BuildCache{}
	err := r.Client.Get(ctx, req.NamespacedName, cache)
	if apierrors.IsNotFound(err) {
		r.drop(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	return r.Reconcile(ctx, cache)
}

// Reconcile decides the queue of one BuildCache and writes what follows. The loop keeps cache.
func (r *Reconciler) Reconcile(ctx context.Context, cache *v1alpha1.BuildCache) (ctrl.Result, error) {
	if !cache.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // its daemons are about to go
	}
	name := client.ObjectKeyFromObject(cache)
	l := r.loopOf(name)
	if rest := l.restUntil.Sub(r.Clock.Now()); rest > 0 {
		return ctrl.Result{RequeueAfter: rest}, nil
	}
	if err := r.recall(ctx, cache, l); err != nil {
		return ctrl.Result{}, err
	}
	learned, err := r.keyframe(name, l)
	if err != nil {
		return ctrl.Result{}, err
	}
	obs, err := r.observe(ctx, cache, l)
	if err != nil {
		return ctrl.Result{}, err
	}
	obs.Rebuild = learned != nil
	writes, err := l.state.Cycle(obs)
	r.recordCycle(name, learned, obs, writes, err)
	if err != nil {
		return ctrl.Result{}, err
	}
	if writes.Queued > 0 {
		took := r.Clock.Since(obs.Now)
		l.restUntil = obs.Now.Add(took + min(took, maxRest))
		log.FromContext(ctx).V(1).Info("Decided the queue", "builds", writes.Queued, "durationSeconds", took.Seconds())
	}
	if writes.Round != nil {
		r.Explain.add(name, obs.Now, writes.Round)
	}
	written, err := r.write(ctx, l, &writes)
	l.state.Written(written)
	if failure := r.recordWritten(name, l, written); failure != nil {
		err = errors.Join(err, failure)
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	again := writes.Recheck
	if len(written.Placed) < writes.Queued && (again == 0 || again > waitingCheck) {
		again = waitingCheck
	}
	r.keepLessons(ctx, cache, l)
	return ctrl.Result{RequeueAfter: again}, nil
}

// loopOf finds or begins a BuildCache's loop.
func (r *Reconciler) loopOf(cache types.NamespacedName) *loop {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.loops == nil {
		r.loops = map[types.NamespacedName]*loop{}
	}
	l := r.loops[cache]
	if l == nil {
		l = &loop{state: fleet.New(r.Params), opened: map[types.NamespacedName]opening{}}
		l.state.Explain = r.Explain != nil
		r.loops[cache] = l
	}
	return l
}

// drop forgets a BuildCache that is gone.
func (r *Reconciler) drop(cache types.NamespacedName) {
	r.mu.Lock()
	delete(r.loops, cache)
	r.mu.Unlock()
	r.changes.unfollow(cache)
	if r.Recorder != nil {
		r.Recorder.Forget(cache)
	}
}
