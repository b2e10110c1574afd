// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
	"github.com/openllb/hlb-operator/test/kit/fleettest"
)

// TestFleetsDoNotMix decides three BuildCaches at once: two of one namespace, and one of another namespace with the
// name of the first and with builds of the same names and keys.
func TestFleetsDoNotMix(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	elsewhere := envtestkit.Get(t).Namespace(t)
	caches := []*v1alpha1.BuildCache{w.Fleet(2, 3), w.FleetIn(w.NS, "second", 2, 3),
		w.FleetIn(elsewhere, "cache", 2, 3)}
	prefix := []string{"a", "b", "a"}
	var builds [][]*v1alpha1.HLBBuild
	for i, cache := range caches {
		builds = append(builds, nil)
		for n := range 8 { // two more than there are slots
			b := testbuild.HLBBuild(cache.Namespace, fmt.Sprint(prefix[i], n), testbuild.WithCache(cache.Name),
				testbuild.WithCacheKey(fmt.Sprint("key-", n)))
			w.Create(b)
			builds[i] = append(builds[i], b)
		}
	}
	var all sync.WaitGroup
	for _, cache := range caches {
		all.Go(func() {
			for range 3 {
				if _, err := w.placement.Reconcile(t.Context(), cache.DeepCopy()); err != nil {
					t.Errorf("%s/%s: %v", cache.Namespace, cache.Name, err)
				}
			}
		})
	}
	all.Wait()
	for i, cache := range caches {
		bound := map[string]int{}
		for _, b := range builds[i] {
			if p := fleettest.Read(w, b).Status.Placement; p != nil {
				bound[p.Daemon]++
			}
		}
		for name, n := range bound {
			if !strings.HasPrefix(name, cache.Name+"-") || n > 3 {
				t.Errorf("%s/%s has %d builds on %s", cache.Namespace, cache.Name, n, name)
			}
		}
		if total := bound[cache.Name+"-0"] + bound[cache.Name+"-1"]; total != 6 {
			t.Errorf("%s/%s has %v, want its six slots taken", cache.Namespace, cache.Name, bound)
		}
	}

	// What one fleet holds is no reason in another, and a BuildCache that goes takes only its own memory along.
	known := func(cache *v1alpha1.BuildCache) int { return len(saved(t, w.placement, cache).Builds) }
	for _, cache := range caches {
		if n := known(cache); n != 8 {
			t.Errorf("of %s/%s %d builds are known, want its own 8", cache.Namespace, cache.Name, n)
		}
	}
	w.Must(w.Client.Delete(t.Context(), caches[2]))
	if _, err := w.placement.reconcile(t.Context(),
		reconcile.Request{NamespacedName: client.ObjectKeyFromObject(caches[2])}); err != nil {
		t.Error(err)
	}
	if known(caches[2]) != 0 || known(caches[0]) != 8 {
		t.Errorf("after one BuildCache went, %d of its builds are known and %d of the other's", known(caches[2]),
			known(caches[0]))
	}
}
