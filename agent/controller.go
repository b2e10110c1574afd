// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
)

// notReadyPause is how long a build waits before it is looked at again while the agent can't take builds: a lost
// Lease or daemon comes back at no event that a build would be woken by.
const notReadyPause = time.Second

// disownTimeout bounds the report about another agent's attempt.
const disownTimeout = 10 * time.Second

// setUp watches the builds bound to the daemon, the BuildCache for its policy, and the BuildDaemon for what others
// write on it.
func (w *worker) setUp(mgr ctrl.Manager) error {
	toBuild := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: client.ObjectKeyFromObject(o)}}
	})
	toQueue := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		w.inventory.kick()
		var out []reconcile.Request
		for _, name := range w.attempts.waiting() {
			out = append(out, reconcile.Request{NamespacedName: name})
		}
		return out
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named("agent-"+w.opts.Daemon).
		For(&v1alpha1.HLBBuild{}).
		Watches(&v1alpha1.BuildCache{}, toQueue).
		Watches(&v1alpha1.BuildDaemon{}, toQueue).
		WatchesRawSource(source.Channel(w.wakes, toBuild)).
		Complete(w)
}

// wake has a build looked at again.
func (w *worker) wake(name types.NamespacedName) {
	b := &v1alpha1.HLBBuild{}
	b.Namespace, b.Name = name.Namespace, name.Name
	select {
	case w.wakes <- event.GenericEvent{Object: b}:
	case <-w.life.Done():
	}
}

// Reconcile does about one build what judge says. It never waits for a build.
func (w *worker) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	name := req.NamespacedName
	b := &v1alpha1.HLBBuild{}
	if err := w.client.Get(ctx, name, b); err != nil {
		if apierrors.IsNotFound(err) { // deleted, or no longer bound to this daemon
			w.attempts.letGo(name, true)
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, fmt.Errorf("read HLBBuild: %w", err)
	}
	switch judge(b, w.me, w.attempts.known(name)) {
	case takeUp:
		return w.takeUp(ctx, b, false)
	case resume:
		return w.takeUp(ctx, b, true)
	case disown:
		return reconcile.Result{}, w.disown(ctx, b)
	case letGo:
		w.attempts.letGo(name, false)
	}
	return reconcile.Result{}, nil
}

// takeUp starts an attempt if there is a slot.
func (w *worker) takeUp(ctx context.Context, b *v1alpha1.HLBBuild, claimed bool) (reconcile.Result, error) {
	session, held := w.lease.Session()
	if !held || !w.inventory.isServing() {
		return reconcile.Result{RequeueAfter: notReadyPause}, nil
	}
	cache, err := w.buildCache(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	placed := b.CreationTimestamp.Time
	if at := b.Status.Run.PlacedAt; at != nil {
		placed = at.Time
	}
	a := w.attempts.begin(session, client.ObjectKeyFromObject(b), attemptOf(b), placed, slotsOf(cache))
	if a == nil {
		return reconcile.Result{}, nil
	}
	go w.run(a, b, cache, claimed)
	return reconcile.Result{}, nil
}

// buildCache is the daemon's BuildCache as it is now, from memory.
func (w *worker) buildCache(ctx context.Context) (*v1alpha1.BuildCache, error) {
	cache := &v1alpha1.BuildCache{}
	if err := w.client.Get(ctx, types.NamespacedName{Namespace: w.opts.Namespace, Name: w.opts.Cache}, cache); err != nil {
		return nil, fmt.Errorf("read BuildCache: %w", err)
	}
	return cache, nil
}

func slotsOf(cache *v1alpha1.BuildCache) int {
	return max(int(cache.Spec.BuildKit.MaxConcurrentBuilds), 1)
}

// disown reports an attempt that an earlier agent of this daemon was on when it died. Holding the Lease proves that
// it is no more.
func (w *worker) disown(ctx context.Context, b *v1alpha1.HLBBuild) error {
	ctx, cancel := context.WithTimeout(ctx, disownTimeout)
	defer cancel()
	id, other := attemptOf(b), b.Status.Run.StartedBy
	message := "The daemon's agent ended while it was on the build"
	_, err := w.reports.write(ctx, b, func(b *v1alpha1.HLBBuild) bool {
		return judge(b, w.me, nil) == disown && attemptOf(b) == id && b.Status.Run.StartedBy == other
	}, func(b *v1alpha1.HLBBuild) {
		status.Lose(b, v1alpha1.ReasonDaemonLost, message, w.now())
	})
	if errors.Is(err, errNotMine) {
		return nil
	}
	if err != nil {
		return err
	}
	log.FromContext(ctx).
		Info("Reported an attempt of an earlier agent as lost", "HLBBuild", klog.KObj(b), "attempt", id.attempt, "startedBy", other)
	return nil
}
