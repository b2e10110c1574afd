// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

// slowlyFilling writes the contents, which takes so many seconds where the first mount is empty: the mount is worth
// its copying.
func slowlyFilling(seconds int, word string, contents ...content) string {
	return mounting(contents, func(dir string, c content) string {
		return fmt.Sprintf("echo %[4]s; test -e %[1]s/numbers || sleep %[3]d; mkdir -p %[1]s/d; seq 1 %[2]d > %[1]s/numbers; cp %[1]s/numbers %[1]s/d/copy; "+
			"ln -sf ../numbers %[1]s/d/link; ", dir, c.last, seconds, word)
	})
}

// TestADaemonThatJoinsHasItsMountsBroughtIn has the home of a key join a fleet in which another daemon has built the
// key. The key's mount is there before any build is, and the first one finds it.
func TestADaemonThatJoinsHasItsMountsBroughtIn(t *testing.T) {
	t.Parallel() // it mostly waits
	cache := snapshotted("ahead", 1)
	cache.Spec.Prefetch = &v1alpha1.PrefetchSpec{BandwidthPerHour: resource.MustParse("100Gi")}
	makeFleet(t, cache)
	grown := cache.DeepCopy()
	grown.Spec.Replicas = new(int32(2))
	key := keyOn(grown, "ahead-1", "ahead")
	held := content{"ahead/m", "shared", 60000}
	for i, word := range []string{"cold", "warm", "warmer"} { // often enough in its hour to be worth a copy
		built(t, cache, fmt.Sprint("ahead-fill-", i), key, slowlyFilling(40, word, held), "ahead-0")
	}
	snapshotsOf(t, "ahead-0")

	kubectl(t, "scale", "bcache/ahead", "--replicas=2")
	d := &v1alpha1.BuildDaemon{}
	must(t,
		harness.Eventually(t.Context(), patience, "the mount is brought in", func(ctx context.Context) (bool, error) {
			err := cluster.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "ahead-1"}, d)
			return slices.ContainsFunc(d.Status.Mounts, func(m v1alpha1.MountUse) bool {
				return m.ID == namespace+"/"+held.id && m.Bytes > 0 && m.Uses == 0
			}), client.IgnoreNotFound(err)
		}))
	eventTold(t, d, v1alpha1.ReasonPrefetched)
	if len(d.Status.Keys) > 0 {
		t.Errorf("the daemon has keys before it has built anything: %+v", d.Status.Keys)
	}
	must(t, harness.Eventually(t.Context(), patience, "the request is taken back", func(context.Context) (bool, error) {
		d = daemon(t, "ahead-1")
		return len(d.Spec.Prefetch) == 0 && len(d.Status.Prefetch) == 0, nil
	}))

	// Builds of the key go on where it was built. One of a new key with the same mount goes to its home.
	b := built(t, cache, "ahead-check", keyOn(grown, "ahead-1", "ahead-other"), checking(held), "ahead-1")
	if len(b.Status.Prime) > 0 || len(b.Status.Mounts) != 1 || !b.Status.Mounts[0].Hit {
		t.Errorf("the build primed %+v and had the mounts %+v, want its mount found as it was brought in",
			b.Status.Prime, b.Status.Mounts)
	}
}
