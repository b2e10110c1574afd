// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
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
	"github.com/openllb/hlb-operator/scheduler"
)

// waitingCheck is how often a queue is decided again when nothing happens: costs and ages move with time.
const waitingCheck = 10 * time.Second

// PlacementReconciler is the scheduling loop: one at a time for each BuildCache, late-binding, on a snapshot from the
// manager's cache. It keeps no state that matters: what it assumes about its own writes, it forgets as soon as it
// sees them.
type PlacementReconciler struct {
	Client client.Client
	Events events.EventRecorder
	Clock  clock.PassiveClock
	Params scheduler.Params
	// Explain keeps the rounds, for those who ask why. Nil keeps none.
	Explain *Explanations

	memories memories
}

// SetupWithManager makes a BuildCache's loop run whenever one of its builds or daemons changed.
func (r *PlacementReconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("placement").
		For(&v1alpha1.BuildCache{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.HLBBuild{}, handler.EnqueueRequestsFromMapFunc(cacheOfBuild)).
		Watches(&v1alpha1.BuildDaemon{}, handler.EnqueueRequestsFromMapFunc(cacheOfLabel)).
		// over BuildCaches; the queue never hands out one twice
		WithOptions(controller.Options{MaxConcurrentReconciles: 4}).
		Complete(reconcile.Func(r.reconcile))
}

// reconcile reads the BuildCache and forgets one that is gone.
func (r *PlacementReconciler) reconcile(ctx context.Context, req reconcile.Request) (ctrl.Result, error) {
	cache := &v1alpha1.BuildCache{}
	err := r.Client.Get(ctx, req.NamespacedName, cache)
	if apierrors.IsNotFound(err) {
		r.memories.drop(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	return r.Reconcile(ctx, cache)
}

func cacheOfBuild(_ context.Context, o client.Object) []reconcile.Request {
	b := o.(*v1alpha1.HLBBuild)
	return []reconcile.Request{
		{NamespacedName: types.NamespacedName{Namespace: b.Namespace, Name: b.Spec.CacheRef.Name}},
	}
}

// Reconcile decides the queue of one BuildCache and binds what is to run.
func (r *PlacementReconciler) Reconcile(ctx context.Context, cache *v1alpha1.BuildCache) (ctrl.Result, error) {
	if !cache.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // its daemons are about to go
	}
	started := r.Clock.Now()
	m := r.memories.get(client.ObjectKeyFromObject(cache), &r.Params)
	if rest := m.restUntil.Sub(started); rest > 0 {
		return ctrl.Result{RequeueAfter: rest}, nil
	}
	f, err := r.read(ctx, cache, m)
	if err != nil {
		return ctrl.Result{}, err
	}
	view, queue, waiting, err := f.view()
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("snapshot the fleet: %w", err)
	}
	again, err := r.serve(ctx, f, view, queue, waiting)
	if err != nil {
		return ctrl.Result{}, err
	}
	ahead, err := r.prefetch(ctx, f) // after the builds: it can wait
	if err != nil {
		return ctrl.Result{}, err
	}
	if again == 0 || ahead > 0 && ahead < again {
		again = ahead
	}
	return ctrl.Result{RequeueAfter: again}, nil
}

// serve decides the queue, binds what is to run, and says when the queue has to be decided again: 0 for not before
// something changes.
func (r *PlacementReconciler) serve(
	ctx context.Context,
	f *fleet,
	view *scheduler.View,
	queue []scheduler.Request,
	waiting []inLine,
) (time.Duration, error) {
	if len(queue) == 0 {
		return 0, nil
	}
	m := f.memory
	params := f.params()
	todo := r.decide(f, view, queue, waiting, &params)
	took := r.Clock.Since(f.now)
	m.restUntil = f.now.Add(took + min(took, longestRest))
	log.FromContext(ctx).
		V(1).
		Info("Decided the queue", "builds", len(queue), "daemons", len(f.daemons), "durationSeconds", took.Seconds())
	placed, err := r.carryOut(ctx, m, todo)
	if err != nil || placed == len(queue) {
		return 0, err
	}
	return waitingCheck, nil
}

// decide decides the queue and says what is to be written. Of a large queue it decides only what can start now,
// except once in a while: then it looks at every build, so that those that wait hear why, and that the round can be
// explained.
func (r *PlacementReconciler) decide(
	f *fleet,
	view *scheduler.View,
	queue []scheduler.Request,
	waiting []inLine,
	params *scheduler.Params,
) []verdictOf {
	m := f.memory
	if len(queue) > largeRound && f.now.Sub(m.lookedAt) < largeRoundsEvery {
		return chosen(waiting, scheduler.DecideStarts(view, queue, params))
	}
	m.lookedAt = f.now
	decisions := scheduler.Cycle(view, queue, params)
	todo := f.plan(waiting, decisions)
	if r.Explain != nil && len(todo) > 0 {
		r.Explain.add(
			client.ObjectKeyFromObject(f.cache),
			f.now,
			waiting,
			scheduler.NewRecord(view, queue, params, decisions),
		)
	}
	return todo
}

// A round of more builds than largeRound takes tens of milliseconds when every build is looked at, and megabytes to
// explain.
const (
	largeRound       = 1000
	largeRoundsEvery = time.Second
)

// longestRest bounds the pause after a round. Rounds rest for as long as they took, so that a loop has half a
// processor at most; meanwhile more builds end and are decided at once.
const longestRest = time.Second

// read gathers the fleet from the manager's cache, without copying it.
func (r *PlacementReconciler) read(ctx context.Context, cache *v1alpha1.BuildCache, m *memory) (*fleet, error) {
	f := &fleet{cache: cache, memory: m, now: r.Clock.Now()}
	var daemons v1alpha1.BuildDaemonList
	if err := r.Client.List(ctx, &daemons, client.InNamespace(cache.Namespace), client.MatchingLabels{v1alpha1.LabelCache: cache.Name},
		client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list BuildDaemons: %w", err)
	}
	var builds v1alpha1.HLBBuildList
	if err := r.Client.List(ctx, &builds, client.InNamespace(cache.Namespace), client.MatchingFields{indexCache: cache.Name},
		client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list HLBBuilds: %w", err)
	}
	f.daemons, f.builds = daemons.Items, builds.Items
	return f, nil
}
