// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

// evict asks for the eviction of a daemon's pod, as kubectl drain does.
func evict(t *testing.T, name string) error {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: harness.Pod(name)}}
	return cluster.Client.SubResource("eviction").Create(t.Context(), pod, &policyv1.Eviction{})
}

// evictable waits until the disruption budget lets a daemon of the fleet go: it counts pods that kubelets found
// ready, which is after their agents said so.
func evictable(t *testing.T, cache *v1alpha1.BuildCache) {
	t.Helper()
	must(t,
		harness.Eventually(t.Context(), patience, "a daemon of "+cache.Name+" may be evicted",
			func(ctx context.Context) (bool, error) {
				var budget policyv1.PodDisruptionBudget
				err := cluster.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: cache.Name + "-daemons"},
					&budget)
				return budget.Status.DisruptionsAllowed > 0, err
			}))
}

// draining waits until a daemon says that it takes no more builds.
func draining(t *testing.T, name string) {
	t.Helper()
	must(t, harness.Eventually(t.Context(), patience, name+" drains", func(context.Context) (bool, error) {
		return meta.IsStatusConditionTrue(daemon(t, name).Status.Conditions, v1alpha1.ConditionDraining), nil
	}))
}

// toldOnce waits until the build's success was told, and fails the test when it was told more than once.
func toldOnce(t *testing.T, b *v1alpha1.HLBBuild) {
	t.Helper()
	told := 0
	must(t, harness.Eventually(t.Context(), patience, "an event of the success of "+b.Name,
		func(ctx context.Context) (_ bool, err error) {
			told, err = cluster.CountEvents(ctx, b, v1alpha1.ReasonSucceeded)
			return told > 0, err
		}))
	if told != 1 {
		t.Errorf("the success of %s was told %d times", b.Name, told)
	}
}

// drainNode runs kubectl drain, whose error comes later, and takes the node back when the test ends.
func drainNode(t *testing.T, node string) <-chan error {
	t.Helper()
	ended := make(chan error, 1)
	go func() {
		_, err := cluster.Kubectl(t.Context(), "", "drain", node, "--ignore-daemonsets", "--delete-emptydir-data",
			"--timeout=170s")
		ended <- err
	}()
	t.Cleanup(func() {
		if _, err := cluster.Kubectl(contextFor(t), "", "uncordon", node); err != nil {
			t.Error(err)
		}
		for _, wait := range []error{cluster.WaitManager(contextFor(t)), cluster.WaitCache(contextFor(t), fleet)} {
			if wait != nil {
				t.Error(wait)
			}
		}
	})
	return ended
}

// TestDrainingANodeMovesItsMounts drains the node of a daemon while a build runs there. The build ends where it is
// and is told once, no other daemon of the fleet may be evicted meanwhile, and the mounts of the daemon that leaves
// fill the one that takes over its key.
func TestDrainingANodeMovesItsMounts(t *testing.T) {
	cache := snapshotted("drained", 2)
	makeFleet(t, cache)
	evictable(t, cache)
	from, to := "drained-0", "drained-1"
	contents := []content{{"drain/a", "shared", 60000}, {"drain/b", "locked", 30000}}
	key := keyOn(cache, from, "drained")
	exported(t, built(t, cache, "drain-fill", key, filling(contents...), from))
	left := daemon(t, from)
	if left.Status.NodeName == daemon(t, to).Status.NodeName {
		t.Fatalf("both daemons are on %s", left.Status.NodeName)
	}
	busy := slow("drain-busy", "15")
	busy.Spec.CacheRef.Name, busy.Spec.CacheKey = cache.Name, keyOn(cache, from, "busy")
	running(t, busy)
	if busy.Status.Placement.Daemon != from {
		t.Fatalf("the running build is on %s", busy.Status.Placement.Daemon)
	}

	drain := drainNode(t, left.Status.NodeName)
	draining(t, from)
	if err := evict(t, to); !apierrors.IsTooManyRequests(err) {
		t.Errorf("evicting %s while %s is away: %v, want the disruption budget to refuse it", to, from, err)
	}
	await(t, busy)
	succeeded(t, busy)
	if r := busy.Status.Run; r.Attempt != 1 || r.Lost != nil || busy.Status.Placement.Daemon != from {
		t.Errorf("the running build ended on %s with %+v, want its first attempt on %s", busy.Status.Placement.Daemon,
			r, from)
	}
	toldOnce(t, busy)
	must(t, <-drain)
	for _, m := range daemon(t, from).Status.Mounts {
		if m.Snapshot == nil || m.Snapshot.Outcome != v1alpha1.SnapshotPushed {
			t.Errorf("the daemon left with its mount %s as %+v", m.ID, m.Snapshot)
		}
	}
	primed(t, built(t, cache, "drain-check", key, checking(contents...), to), contents...)

	_, err := cluster.Kubectl(t.Context(), "", "uncordon", left.Status.NodeName)
	must(t, err)
	must(t, cluster.WaitCache(t.Context(), cache))
	if epoch := daemon(t, from).Status.VolumeEpoch; epoch != left.Status.VolumeEpoch {
		t.Errorf("the daemon came back with epoch %s, had %s", epoch, left.Status.VolumeEpoch)
	}
}

// TestABuildThatOutlastsADrainIsTriedOnceMore evicts a daemon that waits three seconds for a build that takes longer.
// Its idle mount is snapshotted all the same.
func TestABuildThatOutlastsADrainIsTriedOnceMore(t *testing.T) {
	cache := snapshotted("hurried", 2)
	cache.Spec.BuildKit.DrainTimeoutSeconds = 3
	makeFleet(t, cache)
	evictable(t, cache)
	from, to := "hurried-0", "hurried-1"
	held := content{"hurried", "shared", 60000}
	key := keyOn(cache, from, "hurried")
	exported(t, built(t, cache, "hurry-fill", key, filling(held), from))
	busy := slow("hurry-busy", "20")
	busy.Spec.CacheRef.Name, busy.Spec.CacheKey = cache.Name, keyOn(cache, from, "busy")
	running(t, busy)

	must(t, evict(t, from))
	await(t, busy)
	succeeded(t, busy)
	lost := busy.Status.Run.Lost
	if busy.Status.Run.Attempt != 2 || lost == nil || lost.Daemon != from || busy.Status.Placement.Daemon != to {
		t.Errorf("the build ended on %s with %+v, lost %+v; want its second attempt on %s",
			busy.Status.Placement.Daemon, busy.Status.Run, lost, to)
	}
	toldOnce(t, busy)
	must(t, cluster.WaitCache(t.Context(), cache))
	for _, m := range daemon(t, from).Status.Mounts {
		if m.Snapshot == nil || m.Snapshot.Outcome != v1alpha1.SnapshotPushed {
			t.Errorf("the daemon left with its mount %s as %+v", m.ID, m.Snapshot)
		}
	}
	warm(t, built(t, cache, "hurry-check", key, checking(held), from))
}
