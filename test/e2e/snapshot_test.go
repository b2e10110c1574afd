// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

// filling writes the numbers up to LAST into a file of a cache mount.
const filling = `fs default() {
	image "IMAGE"
	run "seq 1 LAST > /cache/numbers" with option {
		cacheMount "/cache" with option { id "kept"; }
	}
}
`

// checking fails unless the file has the hash.
const checking = `fs default() {
	image "IMAGE"
	run "echo 'HASH  /cache/numbers' | sha256sum -c" with option {
		cacheMount "/cache" with option { id "kept"; }
	}
}
`

// numbersHash is that of the numbers up to last, one a line.
func numbersHash(last int) string {
	h := sha256.New()
	for i := 1; i <= last; i++ {
		fmt.Fprintln(h, i)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// snapshotOf is the last snapshot of a mount that a daemon reports, nil for none.
func snapshotOf(d *v1alpha1.BuildDaemon, id string) *v1alpha1.MountSnapshotStatus {
	for i := range d.Status.Mounts {
		if d.Status.Mounts[i].ID == id {
			return d.Status.Mounts[i].Snapshot
		}
	}
	return nil
}

// TestAMountOutlivesItsDaemonAndVolume fills a mount, has it snapshotted on request, changes it, and scales its daemon away for good, which snapshots it
// once more. The build then finds the last content on another daemon.
func TestAMountOutlivesItsDaemonAndVolume(t *testing.T) {
	snap := newFleet("snap", 2)
	snap.Spec.Storage.Retention.WhenScaled = v1alpha1.RetentionDelete
	snap.Spec.Mounts = []v1alpha1.MountPolicy{{ID: "kept", Snapshot: &v1alpha1.MountSnapshotSpec{}}}
	must(t, cluster.Client.Create(t.Context(), snap))
	t.Cleanup(func() {
		if err := cluster.Client.Delete(context.WithoutCancel(t.Context()), snap); client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
	})
	must(t, cluster.WaitCache(t.Context(), snap))
	key := "kept"
	for i := 0; homeOf(snap, key) != "snap-1"; i++ {
		key = fmt.Sprint("kept-", i)
	}
	on := func(name, program string, args ...string) *v1alpha1.HLBBuild {
		b := newBuild(name, strings.NewReplacer(args...).Replace(program))
		b.Spec.CacheRef.Name, b.Spec.CacheKey = "snap", key
		run(t, b)
		succeeded(t, b)
		return b
	}
	if b := on("fill-first", filling, "LAST", "100000"); b.Status.Placement.Daemon != "snap-1" || len(b.Status.Prime) != 1 || b.Status.Prime[0].Outcome != v1alpha1.PrimeNoSnapshot {
		t.Fatalf("on %s, primed %+v", b.Status.Placement.Daemon, b.Status.Prime)
	}
	id := namespace + "/kept"
	kubectl(t, "annotate", "bcache/snap", v1alpha1.AnnotationSnapshotAt+"=now")
	must(t, harness.Eventually(t.Context(), patience, "the mount is snapshotted", func(ctx context.Context) (bool, error) {
		s := snapshotOf(daemon(t, "snap-1"), id)
		return s != nil && s.Outcome == v1alpha1.SnapshotPushed, nil
	}))
	on("fill-second", filling, "LAST", "200000")

	kubectl(t, "scale", "bcache/snap", "--replicas=1")
	must(t, harness.Eventually(t.Context(), patience, "the daemon and its volume are gone", func(ctx context.Context) (bool, error) {
		pods := podUIDs(t, "snap")
		claims, err := cluster.Kubectl(ctx, "", "-n", namespace, "get", "pvc", "-o", "name")
		return pods["snap-1"] == "" && !strings.Contains(claims, "cache-snap-1"), err
	}))
	b := on("check", checking, "HASH", numbersHash(200000))
	if b.Status.Placement.Daemon != "snap-0" || len(b.Status.Prime) != 1 || b.Status.Prime[0].Outcome != v1alpha1.PrimePrimed || b.Status.Prime[0].Bytes == 0 {
		t.Errorf("on %s, primed %+v", b.Status.Placement.Daemon, b.Status.Prime)
	}
}
