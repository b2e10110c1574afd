// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"context"
	"maps"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/watches"
)

// changes collects the names of objects that informers report to have changed, by BuildCache. Rounds read the objects
// themselves, from the informers' store: it is never behind these reports, and never goes back. A nil changes collects
// nothing. It is safe for concurrent use.
type changes struct {
	mu sync.Mutex
	of map[types.NamespacedName]*changed // of BuildCaches that are followed
}

// changed are the objects of one BuildCache that have changed since the last round.
type changed struct {
	daemons map[string]bool
	builds  map[types.NamespacedName]bool
}

func newChanges() *changes { return &changes{of: map[types.NamespacedName]*changed{}} }

func newChanged() *changed {
	return &changed{daemons: map[string]bool{}, builds: map[types.NamespacedName]bool{}}
}

// follow begins to collect for a BuildCache, with nothing changed.
func (c *changes) follow(cache types.NamespacedName) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of[cache] = newChanged()
}

// unfollow stops to collect for a BuildCache.
func (c *changes) unfollow(cache types.NamespacedName) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.of, cache)
}

// take returns what has changed, sorted, and begins anew. It is false for a BuildCache that is not followed.
func (c *changes) take(cache types.NamespacedName) (daemons []string, builds []types.NamespacedName, followed bool) {
	if c == nil {
		return nil, nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.of[cache]
	if was == nil {
		return nil, nil, false
	}
	c.of[cache] = newChanged()
	return slices.Sorted(maps.Keys(was.daemons)), slices.SortedFunc(maps.Keys(was.builds), compare), true
}

// noteBuild maps an HLBBuild to its BuildCache, and notes that it has changed.
func (c *changes) noteBuild(_ context.Context, o client.Object) []reconcile.Request {
	b := o.(*v1alpha1.HLBBuild)
	cache := b.CacheName()
	c.mu.Lock()
	defer c.mu.Unlock()
	if changed := c.of[cache]; changed != nil {
		changed.builds[client.ObjectKeyFromObject(b)] = true
	}
	return []reconcile.Request{{NamespacedName: cache}}
}

// noteDaemon maps a BuildDaemon to its BuildCache, and notes that it has changed.
func (c *changes) noteDaemon(_ context.Context, o client.Object) []reconcile.Request {
	cache, ok := watches.Labelled(o, v1alpha1.LabelCache)
	if !ok {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if changed := c.of[cache]; changed != nil {
		changed.daemons[o.GetName()] = true
	}
	return []reconcile.Request{{NamespacedName: cache}}
}
