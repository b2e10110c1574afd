// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

// awayFromManager is a daemon of the fleet on a node that the manager is not on, and that node.
func awayFromManager(t *testing.T, cache *v1alpha1.BuildCache) (name, node string) {
	t.Helper()
	var pods corev1.PodList
	must(t, cluster.Client.List(t.Context(), &pods, client.InNamespace(harness.SystemNamespace)))
	taken := map[string]bool{}
	for i := range pods.Items {
		taken[pods.Items[i].Spec.NodeName] = true
	}
	for _, d := range cache.Status.Daemons {
		if !taken[d.Node] {
			return d.Name, d.Node
		}
	}
	t.Fatalf("the manager is on %v, and so are all daemons: %+v", taken, cache.Status.Daemons)
	return "", ""
}

// kill ends a node as a power failure would. It is started again when the test ends, and the fleet waited for.
func kill(t *testing.T, node string) {
	t.Helper()
	must(t, cluster.Local.KillNode(node))
	t.Cleanup(func() {
		for _, err := range []error{cluster.Local.StartNode(contextFor(t), node), cluster.WaitCache(contextFor(t), fleet)} {
			if err != nil {
				t.Error(err)
			}
		}
	})
}

// silent waits until a daemon is no longer Ready.
func silent(t *testing.T, name string) {
	t.Helper()
	must(t, harness.Eventually(t.Context(), patience, name+" is given up", func(context.Context) (bool, error) {
		return !meta.IsStatusConditionTrue(daemon(t, name).Status.Conditions, v1alpha1.ConditionReady), nil
	}))
}

// TestAKilledNodeComesBackWarm kills the node of a daemon on which a build runs. The build is tried again elsewhere,
// a build of the daemon's key is primed elsewhere, and when the node is back, its daemon holds what it held.
func TestAKilledNodeComesBackWarm(t *testing.T) {
	cache := snapshotted("killed", 3)
	makeFleet(t, cache)
	victim, node := awayFromManager(t, cache)
	moves, stays := content{"killed/moves", "shared", 60000}, content{"killed/stays", "shared", 30000}
	movingKey, stayingKey := keyOn(cache, victim, "moves"), keyOn(cache, victim, "stays")
	exported(t, built(t, cache, "kill-moves", movingKey, filling(moves), victim))
	exported(t, built(t, cache, "kill-stays", stayingKey, filling(stays), victim))
	snapshotsOf(t, victim)
	epoch := daemon(t, victim).Status.VolumeEpoch
	struck := slow("kill-struck", "10")
	struck.Spec.CacheRef.Name, struck.Spec.CacheKey = cache.Name, keyOn(cache, victim, "struck")
	running(t, struck)
	if struck.Status.Placement.Daemon != victim {
		t.Fatalf("the running build is on %s", struck.Status.Placement.Daemon)
	}

	kill(t, node)
	await(t, struck)
	succeeded(t, struck)
	lost := struck.Status.Run.Lost
	if struck.Status.Run.Attempt != 2 || lost == nil || lost.Daemon != victim || lost.Reason != v1alpha1.ReasonDaemonLost || struck.Status.Placement.Daemon == victim {
		t.Errorf("the build ended on %s with %+v, lost %+v; want its second attempt elsewhere", struck.Status.Placement.Daemon, struck.Status.Run, lost)
	}
	toldOnce(t, struck)
	moved := onKey(cache, "kill-moved", movingKey, checking(moves))
	run(t, moved)
	succeeded(t, moved)
	primed(t, moved, moves)

	must(t, cluster.Local.StartNode(t.Context(), node))
	must(t, cluster.WaitCache(t.Context(), cache))
	if got := daemon(t, victim).Status.VolumeEpoch; got != epoch {
		t.Errorf("the daemon came back with epoch %s, had %s", got, epoch)
	}
	warm(t, built(t, cache, "kill-stayed", stayingKey, checking(stays), victim))
}

// TestANodeLostForGoodCostsNoMount kills a node and does what an administrator does who has no hope for it: the
// daemon's pod and claim are deleted. The daemon begins anew on another node, and the first build of its key brings
// the mount back.
func TestANodeLostForGoodCostsNoMount(t *testing.T) {
	cache := snapshotted("buried", 3)
	makeFleet(t, cache)
	victim, node := awayFromManager(t, cache)
	held := content{"buried", "shared", 60000}
	key := keyOn(cache, victim, "buried")
	exported(t, built(t, cache, "bury-fill", key, filling(held), victim))
	snapshotsOf(t, victim)
	epoch := daemon(t, victim).Status.VolumeEpoch

	kill(t, node)
	_, err := cluster.Kubectl(t.Context(), "", "cordon", node)
	must(t, err)
	t.Cleanup(func() {
		if _, err := cluster.Kubectl(contextFor(t), "", "uncordon", node); err != nil {
			t.Error(err)
		}
	})
	silent(t, victim)
	kubectl(t, "delete", "pvc", "cache-"+victim, "--wait=false")
	kubectl(t, "delete", "pod", victim, "--grace-period=0", "--force")
	must(t, harness.Eventually(t.Context(), patience, "the daemon has begun anew", func(context.Context) (bool, error) {
		s := daemon(t, victim).Status
		return s.VolumeEpoch != epoch && s.NodeName != node && meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionReady), nil
	}))
	primed(t, built(t, cache, "bury-check", key, checking(held), victim), held)
}
