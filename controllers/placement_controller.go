// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"sync"
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
	"github.com/openllb/hlb-operator/internal/buildstatus"
	"github.com/openllb/hlb-operator/scheduler"
)

// waitingCheck is how often a queue is decided again when nothing happens: costs and ages move with time.
const waitingCheck = 10 * time.Second

// PlacementReconciler is the scheduling loop: one at a time for each BuildCache, late-binding, on a snapshot from the manager's cache. It keeps
// no state that matters: what it assumes about its own writes, it forgets as soon as it sees them.
type PlacementReconciler struct {
	Client client.Client
	Events events.EventRecorder
	Clock  clock.PassiveClock
	Params scheduler.Params
	// Explain keeps the rounds, for those who ask why. Nil keeps none.
	Explain *Explanations

	assumptions assumptions
	memories    memories
}

// SetupWithManager makes a BuildCache's loop run whenever one of its builds or daemons changed.
func (r *PlacementReconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("placement").
		For(&v1alpha1.BuildCache{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.HLBBuild{}, handler.EnqueueRequestsFromMapFunc(cacheOfBuild)).
		Watches(&v1alpha1.BuildDaemon{}, handler.EnqueueRequestsFromMapFunc(cacheOfLabel)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 4}). // over BuildCaches; the queue never hands out one twice
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
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: b.Namespace, Name: b.Spec.CacheRef.Name}}}
}

// Reconcile decides the queue of one BuildCache and binds what is to run.
func (r *PlacementReconciler) Reconcile(ctx context.Context, cache *v1alpha1.BuildCache) (ctrl.Result, error) {
	if !cache.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // its daemons are about to go
	}
	f, err := r.read(ctx, cache)
	if err != nil {
		return ctrl.Result{}, err
	}
	view, queue, waiting, err := f.view()
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("snapshot the fleet: %w", err)
	}
	if len(queue) == 0 {
		return ctrl.Result{}, nil
	}
	started := r.Clock.Now()
	params := r.Params
	params.StalePerVersion = f.memory.estimates.StalePerVersion(&r.Params)
	decisions := scheduler.Round(view, queue, &params)
	log.FromContext(ctx).V(1).Info("Decided the queue", "builds", len(queue), "daemons", len(f.daemons), "durationSeconds", r.Clock.Since(started).Seconds())
	if err := r.explain(cache, view, queue, waiting, &params, decisions); err != nil {
		log.FromContext(ctx).Info("A round is not kept", "reason", err.Error())
	}
	left := 0
	for i := range decisions {
		if decisions[i].Action != scheduler.Run {
			left++
		}
		if err := r.carryOut(ctx, waiting[i], &decisions[i]); err != nil {
			return ctrl.Result{}, err
		}
	}
	if left == 0 {
		return ctrl.Result{}, nil
	}
	return ctrl.Result{RequeueAfter: waitingCheck}, nil
}

// explain keeps a round that has news for at least one build.
func (r *PlacementReconciler) explain(cache *v1alpha1.BuildCache, view *scheduler.View, queue []scheduler.Request, waiting []*v1alpha1.HLBBuild,
	params *scheduler.Params, decisions []scheduler.Decision) error {
	if r.Explain == nil {
		return nil
	}
	news := false
	names := make([]string, len(waiting))
	for i, b := range waiting {
		names[i] = b.Name
		news = news || decisions[i].Action == scheduler.Run || worthTelling(b, &decisions[i])
	}
	if !news {
		return nil
	}
	return r.Explain.add(client.ObjectKeyFromObject(cache), r.Clock.Now(), names, scheduler.NewRecord(view, queue, params, decisions))
}

// read gathers the fleet from the manager's cache.
func (r *PlacementReconciler) read(ctx context.Context, cache *v1alpha1.BuildCache) (*fleet, error) {
	f := &fleet{cache: cache, memory: r.memories.get(client.ObjectKeyFromObject(cache), &r.Params), now: r.Clock.Now()}
	var daemons v1alpha1.BuildDaemonList
	if err := r.Client.List(ctx, &daemons, client.InNamespace(cache.Namespace), client.MatchingLabels{v1alpha1.LabelCache: cache.Name}); err != nil {
		return nil, fmt.Errorf("list BuildDaemons: %w", err)
	}
	var builds v1alpha1.HLBBuildList
	if err := r.Client.List(ctx, &builds, client.InNamespace(cache.Namespace), client.MatchingFields{indexCache: cache.Name}); err != nil {
		return nil, fmt.Errorf("list HLBBuilds: %w", err)
	}
	f.daemons, f.builds = daemons.Items, builds.Items
	f.assumed = r.assumptions.current(client.ObjectKeyFromObject(cache), builds.Items)
	return f, nil
}

// carryOut writes one decision to its build. A conflict means that the build changed meanwhile; that change runs the loop again.
func (r *PlacementReconciler) carryOut(ctx context.Context, build *v1alpha1.HLBBuild, d *scheduler.Decision) error {
	before := build.DeepCopy()
	now := r.Clock.Now()
	if d.Action == scheduler.Run {
		buildstatus.Place(build, v1alpha1.PlacementStatus{
			Daemon: d.Chosen.Name, Reason: d.String(), Rank: d.Chosen.Rank, Warm: d.Chosen.Mode == scheduler.Warm,
		}, now)
	} else if !worthTelling(build, d) {
		return nil
	} else {
		buildstatus.Wait(build, waitReason(d), d.String(), now)
	}
	err := r.Client.Status().Patch(ctx, build, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("bind %s: %w", build.Name, err)
	}
	if d.Action == scheduler.Run {
		cache := types.NamespacedName{Namespace: build.Namespace, Name: build.Spec.CacheRef.Name}
		r.assumptions.add(cache, attemptOf(build), assumption{daemon: d.Chosen.Name, before: before.ResourceVersion})
		log.FromContext(ctx).Info("Placed a build", "HLBBuild", build.Name, "daemon", d.Chosen.Name, "reason", d.Why.String(), "run", build.Status.Run.ID)
		tellPlaced(r.Events, build)
	}
	return nil
}

func waitReason(d *scheduler.Decision) string {
	if d.Action == scheduler.Wait {
		return v1alpha1.ReasonWaitingForDaemon
	}
	return v1alpha1.ReasonNoDaemonFits
}

// worthTelling says whether a build that keeps waiting has news: a new reason, or for want of a daemon a new count. The seconds that a wait is expected to
// take change all the time and are not news.
func worthTelling(build *v1alpha1.HLBBuild, d *scheduler.Decision) bool {
	for _, c := range build.Status.Conditions {
		if c.Type == v1alpha1.ConditionScheduled {
			return c.Reason != waitReason(d) || (d.Action == scheduler.NoFit && c.Message != d.String())
		}
	}
	return true
}

// assumption is a placement that was written on top of one version of a build.
type assumption struct {
	daemon string
	before string // the resource version
}

// assumptions are placements that were written and not yet seen in the manager's cache. It is safe for concurrent use.
type assumptions struct {
	mu sync.Mutex
	of map[types.NamespacedName]map[attemptID]assumption
}

func (a *assumptions) add(cache types.NamespacedName, attempt attemptID, made assumption) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.of == nil {
		a.of = map[types.NamespacedName]map[attemptID]assumption{}
	}
	if a.of[cache] == nil {
		a.of[cache] = map[attemptID]assumption{}
	}
	a.of[cache][attempt] = made
}

// current drops what was seen meanwhile and returns the rest, as daemons' names by attempt. A placement is assumed only while the cache still
// shows the very version it was written on. Any later version holds the placement itself or what became of it: a build that was taken
// back from its daemon waits again, with the same attempt.
func (a *assumptions) current(cache types.NamespacedName, builds []v1alpha1.HLBBuild) map[attemptID]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	still, out := map[attemptID]assumption{}, map[attemptID]string{}
	for i := range builds {
		if !buildstatus.IsWaiting(&builds[i]) {
			continue
		}
		id := attemptOf(&builds[i])
		if made, assumed := a.of[cache][id]; assumed && made.before == builds[i].ResourceVersion {
			still[id], out[id] = made, made.daemon
		}
	}
	if a.of != nil {
		a.of[cache] = still
	}
	return out
}
