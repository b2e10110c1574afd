// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

// holds waits until a daemon reports that it holds the key.
func holds(t *testing.T, name, key string) {
	t.Helper()
	must(t, harness.Eventually(t.Context(), patience, name+" holds "+key, func(context.Context) (bool, error) {
		return slices.ContainsFunc(daemon(t, name).Status.Keys, func(u v1alpha1.KeyUse) bool { return u.Key == key }),
			nil
	}))
}

// TestAKeyWithTwoBuildsAtOnceIsHeldTwice has more builds of one key at once than its daemon has slots. The second
// daemon makes a copy, and from then on both serve the key warm.
func TestAKeyWithTwoBuildsAtOnceIsHeldTwice(t *testing.T) {
	t.Parallel() // it mostly waits
	cache := newFleet("hot", 2)
	cache.Spec.BuildKit.MaxConcurrentBuilds, cache.Spec.Registry = 1, nil
	makeFleet(t, cache)
	home, other := "hot-0", "hot-1"
	key := keyOn(cache, home, "hot")
	for _, word := range []string{"cold", "warm"} { // how long the key's builds take is known then
		built(t, cache, "hot-"+word, key, sleeping(12, word), home)
	}
	// pair runs two builds at once and returns them in the order of their placement.
	pair := func(round string) []*v1alpha1.HLBBuild {
		t.Helper()
		var both []*v1alpha1.HLBBuild
		for i := range 2 {
			b := onKey(cache, fmt.Sprint("hot-", round, i), key, sleeping(12, fmt.Sprint(round, i)))
			apply(t, b)
			both = append(both, b)
		}
		for _, b := range both {
			await(t, b)
			succeeded(t, b)
		}
		slices.SortFunc(both, func(a, b *v1alpha1.HLBBuild) int {
			return strings.Compare(a.Status.Placement.Daemon, b.Status.Placement.Daemon)
		})
		if first, second := both[0].Status.Placement, both[1].Status.Placement; first.Daemon != home ||
			second.Daemon != other {
			t.Fatalf("the two builds of round %q went to %s (%s) and %s (%s)", round, first.Daemon, first.Reason,
				second.Daemon, second.Reason)
		}
		return both
	}
	spilled := pair("first")[1].Status.Placement
	// two builds make no demand that is worth another copy
	if spilled.Warm || !strings.Contains(spilled.Reason, scheduler.Spilled.String()) {
		t.Errorf("the build beyond the slots of %s: %+v", home, spilled)
	}
	holds(t, other, key)
	for _, b := range pair("second") {
		if p := b.Status.Placement; !p.Warm || !strings.Contains(p.Reason, scheduler.WarmDaemon.String()) {
			t.Errorf("after both daemons hold the key: %+v", p)
		}
	}
}

// TestAHotKeyGetsItsReplica has so many builds of one key wait that one daemon can't serve it. Once that is counted,
// another daemon joins, and the first build there is to make the copy that the demand is worth.
func TestAHotKeyGetsItsReplica(t *testing.T) {
	t.Parallel() // it mostly waits
	cache := newFleet("demand", 1)
	cache.Spec.BuildKit.MaxConcurrentBuilds, cache.Spec.Registry = 1, nil
	makeFleet(t, cache)
	grown := cache.DeepCopy()
	grown.Spec.Replicas = new(int32(2))
	key := keyOn(grown, "demand-0", "demand")
	for _, word := range []string{"cold", "warm"} {
		built(t, cache, "demand-"+word, key, sleeping(20, word), "demand-0")
	}
	const enough = 120 // builds of 20 s: 70% of a daemon's slot is taken by 91 in half an hour's half-life
	for i := range enough {
		apply(t, onKey(cache, fmt.Sprint("demand-", i), key, sleeping(20, fmt.Sprint(i))))
	}
	address, token := asker(t)
	must(t, harness.Eventually(t.Context(), patience, "a second copy is wanted", func(context.Context) (bool, error) {
		time.Sleep(time.Second) // a round takes megabytes to tell, and sweeps come by the minute
		return wantedCopies(t, address, token, cache, key) == 2, nil
	}))
	kubectl(t, "scale", "bcache/demand", "--replicas=2")
	var second *v1alpha1.PlacementStatus
	must(t,
		harness.Eventually(t.Context(), patience, "a build goes to the second daemon",
			func(ctx context.Context) (bool, error) {
				var builds v1alpha1.HLBBuildList
				err := cluster.Client.List(ctx, &builds, client.InNamespace(namespace))
				for i := range builds.Items {
					if p := builds.Items[i].Status.Placement; p != nil && p.Daemon == "demand-1" {
						second = p
					}
				}
				return second != nil, err
			}))
	if second.Warm || !strings.Contains(second.Reason, scheduler.NewReplica.String()) {
		t.Errorf("the first build on the second daemon: %+v", second)
	}
}

// wantedCopies is how many copies of a key the latest round of a BuildCache that the manager keeps found worth
// having, 0 if it keeps none.
func wantedCopies(t *testing.T, address, token string, cache *v1alpha1.BuildCache, key string) int32 {
	t.Helper()
	rounds := roundsOf(t, address, token, "cache="+cache.Namespace+"/"+cache.Name)
	if len(rounds) == 0 {
		return 0
	}
	latest := slices.MaxFunc(rounds, func(a, b explainedRound) int { return cmp.Compare(a.Round, b.Round) })
	_, data := ask(t, address, fmt.Sprintf("/debug/placements/%d", latest.Round), token)
	record, err := scheduler.ReadRecord(bytes.NewReader(data))
	must(t, err)
	for _, k := range record.Keys {
		if k.Key == scheduler.KeyOf(namespace, key) {
			return k.Replicas
		}
	}
	return 0
}

// TestKeysOfADrainedDaemonMoveAndComeBack drains the node of a key's home. The key's builds go to the next daemon of
// its order meanwhile. When the node is back, a key that was not built meanwhile is at home as if nothing had been,
// and one that was has two warm daemons, its home among them.
func TestKeysOfADrainedDaemonMoveAndComeBack(t *testing.T) {
	cache := newFleet("moved", 3)
	cache.Spec.BuildKit.MaxConcurrentBuilds = 1
	makeFleet(t, cache)
	home := "moved-0"
	key := keyOn(cache, home, "moves")
	next := ranksOf(cache, key)[1]
	built(t, cache, "moved-before", key, sleeping(1, "before"), home)
	quiet := ""
	for i := 0; quiet == "" && i < 20; i++ { // a new key may go where less was to do lately
		b := onKey(cache, fmt.Sprint("moved-quiet-", i), keyOn(cache, home, fmt.Sprint("quiet", i)),
			sleeping(1, fmt.Sprint("quiet", i)))
		run(t, b)
		succeeded(t, b)
		if b.Status.Placement.Daemon == home {
			quiet = b.Spec.CacheKey
		}
	}
	holds(t, home, quiet)
	node := daemon(t, home).Status.NodeName
	if daemon(t, next).Status.NodeName == node {
		t.Fatalf("%s and %s are both on %s", home, next, node)
	}

	drain := drainNode(t, node)
	draining(t, home)
	away := built(t, cache, "moved-away", key, sleeping(1, "away"), next)
	if p := away.Status.Placement; p.Rank != 2 || !strings.Contains(p.Reason, scheduler.HolderDown.String()) {
		t.Errorf("while its home drains the key's build is placed so: %+v", p)
	}
	must(t, <-drain)
	_, err := cluster.Kubectl(t.Context(), "", "uncordon", node)
	must(t, err)
	must(t, cluster.WaitCache(t.Context(), cache))

	if p := built(t, cache, "moved-quiet-again", quiet, sleeping(1, "again"), home).Status.Placement; !p.Warm {
		t.Errorf("the key that was not built meanwhile: %+v", p)
	}
	first := onKey(cache, "moved-first", key, sleeping(15, "first"))
	apply(t, first)
	eventually(t, first, "it runs", isRunning)
	second := onKey(cache, "moved-second", key, sleeping(1, "second"))
	run(t, second)
	succeeded(t, second)
	on := []string{first.Status.Placement.Daemon, second.Status.Placement.Daemon}
	if slices.Sort(on); !slices.Equal(on, sorted(home, next)) || !second.Status.Placement.Warm {
		t.Errorf("two builds at once went to %v, the second so: %+v; want %s and %s, warm", on, second.Status.Placement,
			home, next)
	}
	await(t, first)
	succeeded(t, first)
}

// sorted puts names in order.
func sorted(names ...string) []string {
	slices.Sort(names)
	return names
}
