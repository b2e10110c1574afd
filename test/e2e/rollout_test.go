// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

// dearWhenCold takes 40 s where its mount is empty, and hardly any time elsewhere: a build of it is better off waiting
// for a daemon that restarts.
func dearWhenCold(key, word string) string {
	return fmt.Sprintf(`fs default() {
	image "IMAGE"
	run "echo %[2]s; test -e /cache/made || sleep 40; touch /cache/made" with option {
		cacheMount "/cache" with option { id "%[1]s"; }
	}
}
`, key, word)
}

// tally counts builds.
type tally struct {
	mu           sync.Mutex
	builds, cold int
	slowest      time.Duration
	notes        []string // on each that was cold
}

func (c *tally) add(b *v1alpha1.HLBBuild) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.builds++
	run := b.Status.Run
	c.slowest = max(c.slowest, run.FinishedAt.Sub(run.QueuedAt.Time))
	if b.Status.Cache == nil || b.Status.Cache.Fresh {
		c.cold++
		where := b.Status.Placement
		c.notes = append(c.notes, fmt.Sprintf("%s on %s: %s", b.Name, where.Daemon, where.Reason))
	}
}

// TestARollOutCostsNoWarmth restarts each daemon of a fleet, one after the other, while builds of several keys come
// all the time. At most 2% of them may find a daemon without their caches. It does not run beside other tests: on a
// machine that is busy with others' work restarts take so long that cold builds are the better choice.
func TestARollOutCostsNoWarmth(t *testing.T) {
	cache := newFleet("rolling", 2)
	makeFleet(t, cache)
	keys := make([]string, 6)
	for i := range keys {
		keys[i] = keyOn(cache, fmt.Sprintf("rolling-%d", i%2), fmt.Sprint("rolling-key-", i))
	}
	each := func(do func(i int)) {
		var all sync.WaitGroup
		for i := range keys {
			all.Go(func() { do(i) })
		}
		all.Wait()
	}
	one := func(i, n int) *v1alpha1.HLBBuild { // without t.Fatal: it is called by other goroutines
		name := fmt.Sprintf("rolling-%d-%d", i, n)
		b := onKey(cache, name, keys[i], dearWhenCold(keys[i], name))
		if err := cluster.Client.Create(t.Context(), b); err != nil {
			t.Error(err)
			return nil
		}
		if err := cluster.WaitBuild(t.Context(), b, patience); err != nil || b.Status.Failure != nil {
			t.Errorf("%v: %s", err, harness.Describe(b))
			return nil
		}
		if err := cluster.Client.Delete(t.Context(), b); err != nil {
			t.Error(err)
		}
		return b
	}
	each(func(i int) { one(i, 0); one(i, 1) }) // cold, then warm
	uids := podUIDs(t, cache.Name)

	before := cache.DeepCopy()
	cache.Spec.BuildKit.MaxParallelism = 8
	must(t, cluster.Client.Patch(t.Context(), cache, client.MergeFrom(before)))
	rolled := make(chan struct{})
	go func() {
		defer close(rolled)
		all := func(ctx context.Context) (bool, error) { return isRolledOut(ctx, cache, uids) }
		if err := harness.Eventually(t.Context(), patience, "the fleet is rolled out", all); err != nil {
			t.Error(err)
		}
	}()
	var during tally
	each(func(i int) {
		for n := 2; ; n++ {
			if b := one(i, n); b == nil {
				return
			} else {
				during.add(b)
			}
			select {
			case <-rolled:
				return
			default:
			}
		}
	})
	t.Logf("%d builds, %d cold; the slowest took %s from its creation", during.builds, during.cold, during.slowest)
	if during.builds < 30 || 50*during.cold > during.builds {
		t.Errorf("%d of %d builds ran cold, want at most 2%% of at least 30: %q",
			during.cold, during.builds, during.notes)
	}
}

// isRolledOut reports whether every daemon of a fleet is Ready in another pod than it was.
func isRolledOut(ctx context.Context, cache *v1alpha1.BuildCache, was map[string]string) (bool, error) {
	var daemons v1alpha1.BuildDaemonList
	mine := client.MatchingLabels{v1alpha1.LabelCache: cache.Name}
	if err := cluster.Client.List(ctx, &daemons, client.InNamespace(namespace), mine); err != nil {
		return false, err
	}
	now, err := podUIDsOf(ctx, cache.Name)
	if err != nil || len(daemons.Items) != len(was) {
		return false, err
	}
	for i := range daemons.Items {
		d := &daemons.Items[i]
		if uid := now[d.Name]; uid == "" || uid == was[d.Name] || !status.TakesBuilds(d) {
			return false, nil
		}
	}
	return true, nil
}
