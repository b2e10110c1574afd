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
		for _, err := range []error{cluster.Local.StartNode(contextFor(t), node),
			cluster.WaitCache(contextFor(t), fleet)} {
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
	if struck.Status.Run.Attempt != 2 || lost == nil || lost.Daemon != victim ||
		lost.Reason != v1alpha1.ReasonDaemonLost || struck.Status.Placement.Daemon == victim {
		t.Errorf("the build ended on %s with %+v, lost %+v; want its second attempt elsewhere",
			struck.Status.Placement.Daemon, struck.Status.Run, lost)
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
// BuildDaemon is deleted. It is made anew on another node, and the first build of its key brings the mount back.
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
	madeAnew(t, victim)
	if s := daemon(t, victim).Status; s.VolumeEpoch == epoch || s.NodeName == node {
		t.Errorf("the daemon has epoch %s on %s, had %s on %s", s.VolumeEpoch, s.NodeName, epoch, node)
	}
	primed(t, built(t, cache, "bury-check", key, checking(held), victim), held)
}

// madeAnew deletes a BuildDaemon and waits until another one of its name takes builds.
func madeAnew(t *testing.T, name string) {
	t.Helper()
	uid := daemon(t, name).UID
	kubectl(t, "delete", "bd/"+name, "--wait=false")
	must(t, harness.Eventually(t.Context(), patience, name+" is made anew", func(ctx context.Context) (bool, error) {
		d := &v1alpha1.BuildDaemon{}
		err := cluster.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, d)
		return d.UID != uid && meta.IsStatusConditionTrue(d.Status.Conditions, v1alpha1.ConditionReady),
			client.IgnoreNotFound(err)
	}))
}

// TestADaemonCanBeMadeAnew deletes a BuildDaemon that is well: its volume goes with it, and no other daemon's does.
func TestADaemonCanBeMadeAnew(t *testing.T) {
	t.Parallel() // it mostly waits
	cache := newFleet("renewed", 2)
	makeFleet(t, cache)
	was, other := daemon(t, "renewed-1").Status.VolumeEpoch, podUIDs(t, "renewed")["renewed-0"]
	cordon(t, "renewed-1")
	madeAnew(t, "renewed-1")
	if now := daemon(t, "renewed-1"); now.Status.VolumeEpoch == was || now.Spec.Unschedulable {
		t.Errorf("the daemon that was made anew has epoch %s, cordoned %v; the former had %s",
			now.Status.VolumeEpoch, now.Spec.Unschedulable, was)
	}
	if podUIDs(t, "renewed")["renewed-0"] != other {
		t.Error("the other daemon was replaced as well")
	}
	must(t, cluster.WaitCache(t.Context(), cache))
}
