// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

// cordon has a daemon take no more builds, and be the first to go when its fleet is scaled down.
func cordon(t *testing.T, name string) {
	t.Helper()
	kubectl(t, "patch", "bd/"+name, "--type=merge", "-p", `{"spec":{"unschedulable":true}}`)
}

func uncordon(t *testing.T, name string) {
	t.Helper()
	kubectl(t, "patch", "bd/"+name, "--type=merge", "-p", `{"spec":{"unschedulable":false}}`)
}

// scaledAwayAndBack scales a fleet of two daemons to one, so that the named one goes, waits for that with left, and
// scales it back to two.
func scaledAwayAndBack(t *testing.T, cache *v1alpha1.BuildCache, name string, left func()) {
	t.Helper()
	cordon(t, name)
	kubectl(t, "scale", "bcache/"+cache.Name, "--replicas=1")
	left()
	must(t, cluster.WaitCache(t.Context(), cache))
	kubectl(t, "scale", "bcache/"+cache.Name, "--replicas=2")
	must(t, harness.Eventually(t.Context(), patience, name+" is back", func(ctx context.Context) (bool, error) {
		return cluster.WaitCache(ctx, cache) == nil && cache.Status.ReadyReplicas == 2, nil
	}))
	uncordon(t, name)
}

// TestADaemonThatIsScaledAwayComesBackWarm keeps the volumes: the daemon's mounts are snapshotted, and it needs
// neither import nor prime when it returns.
func TestADaemonThatIsScaledAwayComesBackWarm(t *testing.T) {
	t.Parallel() // it mostly waits
	cache := snapshotted("keeps", 2)
	makeFleet(t, cache)
	held := content{"scaled/keeps", "shared", 60000}
	key := keyOn(cache, "keeps-1", "keeps")
	exported(t, built(t, cache, "keeps-fill", key, filling(held), "keeps-1"))
	epoch := daemon(t, "keeps-1").Status.VolumeEpoch
	scaledAwayAndBack(t, cache, "keeps-1", func() {
		must(t, harness.Eventually(t.Context(), patience, "the daemon sleeps", func(context.Context) (bool, error) {
			ready := meta.FindStatusCondition(daemon(t, "keeps-1").Status.Conditions, v1alpha1.ConditionReady)
			return ready != nil && ready.Reason == v1alpha1.ReasonScaledDown, nil
		}))
	})
	defer explain(t, "keeps-1")
	d := daemon(t, "keeps-1")
	if d.Status.VolumeEpoch != epoch || len(d.Status.Mounts) != 1 || d.Status.Mounts[0].Snapshot == nil ||
		d.Status.Mounts[0].Snapshot.Outcome != v1alpha1.SnapshotPushed {
		t.Errorf("the daemon came back with epoch %s, had %s, and mounts %+v", d.Status.VolumeEpoch, epoch,
			d.Status.Mounts)
	}
	warm(t, built(t, cache, "keeps-check", key, checking(held), "keeps-1"))
}

// TestADaemonWhoseVolumeIsDeletedComesBackFresh deletes the volumes of daemons that are scaled away: the same ordinal
// begins anew, and the next build of its key is imported and primed.
func TestADaemonWhoseVolumeIsDeletedComesBackFresh(t *testing.T) {
	t.Parallel() // it mostly waits
	cache := snapshotted("drops", 2)
	cache.Spec.Storage.Retention.WhenScaled = v1alpha1.RetentionDelete
	makeFleet(t, cache)
	held := content{"scaled/drops", "shared", 60000}
	key := keyOn(cache, "drops-1", "drops")
	exported(t, built(t, cache, "drops-fill", key, filling(held), "drops-1"))
	epoch := daemon(t, "drops-1").Status.VolumeEpoch
	scaledAwayAndBack(t, cache, "drops-1", func() { gone(t, "drops-1") })
	if now := daemon(t, "drops-1").Status.VolumeEpoch; now == epoch || now == "" {
		t.Errorf("the daemon has epoch %q, had %q with the volume that was deleted", now, epoch)
	}
	primed(t, built(t, cache, "drops-check", key, checking(held), "drops-1"), held)
}
