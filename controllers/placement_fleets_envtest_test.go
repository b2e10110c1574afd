// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// otherFleet makes a BuildCache of this name with n serving daemons.
func (w *world) otherFleet(namespace, name string, n, slots int32) *v1alpha1.BuildCache {
	w.t.Helper()
	cache := testbuild.BuildCache(namespace, name, testbuild.WithReplicas(n), testbuild.WithSlots(slots))
	w.create(cache)
	for ordinal := range n {
		d := testbuild.BuildDaemon(namespace, name, ordinal)
		w.create(d)
		testbuild.Serving(d)
		w.must(w.c.Status().Update(w.t.Context(), d))
	}
	return cache
}

// TestFleetsDoNotMix decides three BuildCaches at once: two of one namespace, and one of another namespace with the
// name of the first and with builds of the same names and keys.
func TestFleetsDoNotMix(t *testing.T) {
	w := newWorld(t)
	elsewhere := envtestkit.Get(t).Namespace(t)
	caches := []*v1alpha1.BuildCache{w.fleet(2, 3), w.otherFleet(w.ns, "second", 2, 3), w.otherFleet(elsewhere, "cache", 2, 3)}
	prefix := []string{"a", "b", "a"}
	var builds [][]*v1alpha1.HLBBuild
	for i, cache := range caches {
		builds = append(builds, nil)
		for n := range 8 { // two more than there are slots
			b := testbuild.HLBBuild(cache.Namespace, fmt.Sprint(prefix[i], n), testbuild.WithCache(cache.Name), testbuild.WithCacheKey(fmt.Sprint("key-", n)))
			w.create(b)
			builds[i] = append(builds[i], w.step(b))
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
			if p := read(w, b).Status.Placement; p != nil {
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
	known := func(cache *v1alpha1.BuildCache) int {
		return len(w.placement.memories.get(client.ObjectKeyFromObject(cache), &w.placement.Params).builds)
	}
	for _, cache := range caches {
		if n := known(cache); n != 8 {
			t.Errorf("of %s/%s %d builds are known, want its own 8", cache.Namespace, cache.Name, n)
		}
	}
	w.must(w.c.Delete(t.Context(), caches[2]))
	if _, err := w.placement.reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(caches[2])}); err != nil {
		t.Error(err)
	}
	if known(caches[2]) != 0 || known(caches[0]) != 8 {
		t.Errorf("after one BuildCache went, %d of its builds are known and %d of the other's", known(caches[2]), known(caches[0]))
	}
}

// TestADaemonIsDeletedInMidRound has a daemon go after some of a round's builds were bound to it and before others
// are. One of its builds had been taken up before. Each build ends once, on a daemon that is there, and only the one
// that had begun loses an attempt.
func TestADaemonIsDeletedInMidRound(t *testing.T) {
	w := newWorld(t)
	cache := w.fleet(3, 4)
	begun := w.open("begun", testbuild.WithCacheKey("begun"))
	w.place(cache)
	w.takeUp(begun)
	gone := begun.Status.Placement.Daemon
	builds := []*v1alpha1.HLBBuild{begun}
	for i := range 3 { // some whose home is the daemon that goes
		builds = append(builds, w.open(fmt.Sprintf("there%d", i), testbuild.WithCacheKey(keyAt(t, cache, gone, i))))
	}
	for i := range 5 {
		builds = append(builds, w.open(fmt.Sprintf("b%d", i), testbuild.WithCacheKey(fmt.Sprintf("k%d", i))))
	}
	runs := map[string]string{}
	for _, b := range builds {
		runs[b.Name] = b.Status.Run.ID
	}

	var once sync.Once
	w.placement.Client = interceptor.NewClient(w.c, interceptor.Funcs{
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, options ...client.SubResourcePatchOption) error {
			err := c.SubResource(sub).Patch(ctx, o, p, options...)
			if b := o.(*v1alpha1.HLBBuild); err == nil && b.Status.Placement != nil && b.Status.Placement.Daemon == gone {
				once.Do(func() {
					err = c.Delete(ctx, testbuild.BuildDaemon(w.ns, "cache", ordinalIn(gone)))
				})
			}
			return err
		},
	})
	w.place(cache)
	w.placement.Client = w.c
	if err := w.c.Get(t.Context(), types.NamespacedName{Namespace: w.ns, Name: gone}, &v1alpha1.BuildDaemon{}); !apierrors.IsNotFound(err) {
		t.Fatalf("no build of the round went to %s, so it was not deleted in mid-round: %v", gone, err)
	}

	ended := map[string]int{}
	for range 10 { // the manager and the agents take turns
		for _, b := range builds {
			w.step(b)
		}
		w.clock.Step(time.Second)
		w.place(cache)
		for _, b := range builds {
			if read(w, b); !status.IsBound(b) || b.Status.Placement.Daemon == gone {
				continue
			}
			w.takeUp(b)
			w.report(b, func(b *v1alpha1.HLBBuild) { status.Succeed(b, w.clock.Now()) })
			ended[b.Name]++
		}
	}
	for _, b := range builds {
		run := b.Status.Run
		if ended[b.Name] != 1 || run.FinishedAt == nil || run.ID != runs[b.Name] {
			t.Errorf("%s ended %d times; its run is %+v", b.Name, ended[b.Name], run)
		}
		if attempts := map[bool]int32{true: 2, false: 1}[b == begun]; run.Attempt != attempts || (run.Lost != nil) != (b == begun) {
			t.Errorf("%s had %d attempts, want %d; lost: %+v", b.Name, run.Attempt, attempts, run.Lost)
		}
	}
	if bound := w.daemonsOf(t.Context()); len(bound) != 0 {
		t.Errorf("still bound: %v", bound)
	}
}

// ordinalIn is the ordinal at the end of a daemon's name.
func ordinalIn(name string) int32 { return int32(name[len(name)-1] - '0') }

// keyAt is the n-th key whose home is the daemon.
func keyAt(t *testing.T, cache *v1alpha1.BuildCache, daemon string, n int) string {
	t.Helper()
	f := &fleet{cache: cache}
	var daemons []scheduler.Daemon
	for i := range *cache.Spec.Replicas {
		d := testbuild.BuildDaemon(cache.Namespace, cache.Name, i)
		daemons = append(daemons, scheduler.Daemon{ID: f.daemonOf(d), Name: d.Name, Phase: scheduler.Ready, Slots: 1})
	}
	view, err := scheduler.NewView(daemons, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		key := fmt.Sprint("home-", i)
		if view.Daemons[scheduler.Ranks(view, f.keyOf(key), 1)[0]].Name != daemon {
			continue
		}
		if n--; n < 0 {
			return key
		}
	}
	t.Fatalf("no key has its home on %s", daemon)
	return ""
}
