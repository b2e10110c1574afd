// SPDX-License-Identifier: Apache-2.0

// Package builds watches the HLBBuilds that are bound to the agent's daemon, in every namespace that its BuildCache
// serves. Each namespace has a watch of its own, since the agent has its rights namespace by namespace.
package builds

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/openllb/hlb-operator/agent/self"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// Watcher watches builds. It is safe for concurrent use.
type Watcher struct {
	self    self.Self
	mgr     ctrl.Manager
	log     logr.Logger
	changes chan event.GenericEvent

	mu      sync.Mutex
	life    context.Context // that watches end with; nil before Run
	watches map[string]*watch
}

// watch is that of one namespace.
type watch struct {
	cache cache.Cache
	stop  context.CancelFunc
}

// New returns a Watcher that watches nothing before Run.
func New(me self.Self, mgr ctrl.Manager, log logr.Logger) *Watcher {
	return &Watcher{
		self: me, mgr: mgr, log: log, changes: make(chan event.GenericEvent), watches: map[string]*watch{},
	}
}

// Changes are the names of builds that have changed, are gone or are no longer watched.
func (w *Watcher) Changes() <-chan event.GenericEvent { return w.changes }

// Run watches the daemon's own namespace and those that its BuildCache names in status.namespaces, until ctx is done.
func (w *Watcher) Run(ctx context.Context) error {
	w.mu.Lock()
	w.life = ctx
	w.mu.Unlock()
	w.follow([]string{w.self.Namespace})
	informer, err := w.mgr.GetCache().GetInformer(ctx, &v1alpha1.BuildCache{})
	if err != nil {
		return fmt.Errorf("watch the BuildCache: %w", err)
	}
	follow := func(o any) {
		if c, is := o.(*v1alpha1.BuildCache); is && c.Namespace == w.self.Namespace && c.Name == w.self.Cache {
			w.follow(c.ServedNamespaces())
		}
	}
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: follow, UpdateFunc: func(_, o any) { follow(o) },
	})
	if err != nil {
		return fmt.Errorf("watch the BuildCache: %w", err)
	}
	<-ctx.Done()
	return informer.RemoveEventHandler(registration)
}

// follow watches these namespaces and no others.
func (w *Watcher) follow(namespaces []string) {
	var dropped []types.NamespacedName
	w.mu.Lock()
	for namespace, watch := range w.watches {
		if !slices.Contains(namespaces, namespace) {
			dropped = append(dropped, watch.names(w.life)...)
			watch.stop()
			delete(w.watches, namespace)
		}
	}
	for _, namespace := range namespaces {
		if w.watches[namespace] != nil {
			continue
		}
		started, err := w.start(namespace)
		if err != nil {
			w.log.Error(err, "Failed to watch builds", "namespace", namespace)
			continue
		}
		w.watches[namespace] = started
	}
	w.mu.Unlock()
	for _, name := range dropped {
		w.report(name)
	}
}

// report has a change taken in, unless the Watcher ends.
func (w *Watcher) report(name types.NamespacedName) {
	b := &v1alpha1.HLBBuild{}
	b.Namespace, b.Name = name.Namespace, name.Name
	select {
	case w.changes <- event.GenericEvent{Object: b}:
	case <-w.life.Done():
	}
}

// start watches a namespace. A watch that is refused is tried again by itself: access may come after it.
func (w *Watcher) start(namespace string) (*watch, error) {
	bound := fields.OneTermEqualSelector(v1alpha1.FieldPlacementDaemon, w.self.Daemon)
	c, err := cache.New(w.mgr.GetConfig(), cache.Options{
		HTTPClient: w.mgr.GetHTTPClient(), Scheme: w.mgr.GetScheme(), Mapper: w.mgr.GetRESTMapper(),
		DefaultNamespaces: map[string]cache.Config{namespace: {}},
		ByObject:          map[client.Object]cache.ByObject{&v1alpha1.HLBBuild{}: {Field: bound}},
	})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(w.life)
	informer, err := c.GetInformer(ctx, &v1alpha1.HLBBuild{}, cache.BlockUntilSynced(false))
	if err == nil {
		_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc: w.notify, UpdateFunc: func(_, o any) { w.notify(o) }, DeleteFunc: w.notify,
		})
	}
	if err != nil {
		stop()
		return nil, err
	}
	go func() {
		if err := c.Start(ctx); err != nil {
			w.log.Error(err, "The watch of builds ended", "namespace", namespace)
		}
	}()
	return &watch{cache: c, stop: stop}, nil
}

// notify passes the name of an informer's object on.
func (w *Watcher) notify(o any) {
	if gone, is := o.(toolscache.DeletedFinalStateUnknown); is {
		o = gone.Obj
	}
	if b, is := o.(*v1alpha1.HLBBuild); is {
		w.report(client.ObjectKeyFromObject(b))
	}
}

// names are the builds that a watch knows.
func (w *watch) names(ctx context.Context) []types.NamespacedName {
	informer, err := w.cache.GetInformer(ctx, &v1alpha1.HLBBuild{}, cache.BlockUntilSynced(false))
	if err != nil || !informer.HasSynced() {
		return nil
	}
	var list v1alpha1.HLBBuildList
	if err := w.cache.List(ctx, &list); err != nil {
		return nil // it is about to stop anyway
	}
	out := make([]types.NamespacedName, len(list.Items))
	for i := range list.Items {
		out[i] = client.ObjectKeyFromObject(&list.Items[i])
	}
	return out
}

// Get reads a build as it was last seen. A build of a namespace that is not watched is not found.
func (w *Watcher) Get(ctx context.Context, name types.NamespacedName, b *v1alpha1.HLBBuild) error {
	w.mu.Lock()
	watch := w.watches[name.Namespace]
	w.mu.Unlock()
	if watch == nil {
		return apierrors.NewNotFound(v1alpha1.GroupVersion.WithResource("hlbbuilds").GroupResource(), name.Name)
	}
	return watch.cache.Get(ctx, name, b)
}
