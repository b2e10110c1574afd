// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

// policed is a build on the fleet of that name that writes so many MiB into a cache mount.
func policed(name, mount string, mib int) *v1alpha1.HLBBuild {
	build := newBuild(name, fmt.Sprintf(`fs default() {
	image "IMAGE"
	run "dd if=/dev/urandom of=/cache/f bs=1M count=%d" with option {
		cacheMount "/cache" with option { id %q; }
	}
}
`, mib, mount))
	build.Spec.CacheRef.Name = "policed"
	return build
}

// TestMountPoliciesAreKept gives mounts about 20 MiB of a daemon's volume and pins one of 30.
func TestMountPoliciesAreKept(t *testing.T) {
	t.Parallel() // it mostly waits
	cache := newFleet("policed", 1)
	cache.Spec.Registry = nil
	cache.Spec.Storage.GC = v1alpha1.GCSpec{MountsPercent: 1, LayersPercent: 50, FreePercent: 10}
	cache.Spec.Mounts = []v1alpha1.MountPolicy{
		{
			ID: "keep", Eviction: &v1alpha1.MountEviction{Policy: v1alpha1.EvictNever},
		}, {ID: "big*", Eviction: &v1alpha1.MountEviction{MaxSize: ptr.To(resource.MustParse("3Mi"))}},
	}
	makeFleet(t, cache)
	pins, bulky := policed("pins", "keep", 30), policed("bulky", "big-one", 4)
	run(t, pins)
	succeeded(t, pins)
	run(t, bulky)
	succeeded(t, bulky)

	const id = namespace + "/keep"
	d := settled(t, "only the pinned mount is held", func(s *v1alpha1.BuildDaemonStatus) bool {
		return s.GC != nil && s.GC.LastPrune != nil && len(s.Mounts) == 1 && s.Mounts[0].ID == id &&
			s.Mounts[0].Bytes >= 30<<20
	})
	m, keys := d.Status.Mounts[0], d.Status.Keys
	if m.Policy != "keep" || m.LastUsed == nil || m.Uses != 1 || len(m.Users) != 1 || len(keys) != 1 ||
		keys[0].Key != m.Users[0] {
		t.Errorf("the pinned mount is %+v, keys are %+v", m, keys)
	}
	if p := d.Status.GC.LastPrune; !slices.Contains(p.Mounts, namespace+"/big-one") ||
		!slices.Contains(p.Reasons, v1alpha1.PruneTooLarge) {
		t.Errorf("last prune is %+v, want that of the large mount", p)
	}
	if g := d.Status.GC; g.CapacityBytes > 2<<30 || g.MountsBytes <= g.MountsBudgetBytes {
		t.Errorf("budgets are %+v, want those of at most 2Gi and the pinned mount above its own", g)
	}
	if !meta.IsStatusConditionTrue(d.Status.Conditions, v1alpha1.ConditionGCPolicyInForce) {
		t.Errorf("conditions are %+v", d.Status.Conditions)
	}
	yaml := kubectl(t, "get", "bd", "policed-0", "-o", "yaml")
	for _, want := range []string{"id: " + id, "bytes: ", "lastUsed: ", "users:", "mountsBudgetBytes: "} {
		if !strings.Contains(yaml, want) {
			t.Errorf("kubectl get bd -o yaml lacks %q:\n%s", want, yaml)
		}
	}

	again(t, bulky)
	if c := bulky.Status.Cache; c == nil || !c.Fresh {
		t.Errorf("after its mount was pruned the key finds %+v, want a fresh daemon", c)
	}
	again(t, pins)
	if c := pins.Status.Cache; c == nil || c.Fresh {
		t.Errorf("the key of the pinned mount finds %+v, want a warm daemon", c)
	}

	kubectl(t, "exec", harness.Pod("policed-0"), "-c", "buildkitd", "--", "buildctl", "prune", "--all")
	settled(t, "the reset cache is a new epoch", func(s *v1alpha1.BuildDaemonStatus) bool {
		return s.VolumeEpoch != d.Status.VolumeEpoch && len(s.Keys) == 0
	})
	again(t, pins)
	if c := pins.Status.Cache; c == nil || !c.Fresh {
		t.Errorf("after the cache was reset the key finds %+v, want a fresh daemon", c)
	}
}

// again requests another run of a build and waits for its end.
func again(t *testing.T, build *v1alpha1.HLBBuild) {
	t.Helper()
	requestRun(t, build)
	await(t, build)
	succeeded(t, build)
}

// settled waits until the daemon's status is as wanted.
func settled(t *testing.T, what string, holds func(*v1alpha1.BuildDaemonStatus) bool) *v1alpha1.BuildDaemon {
	t.Helper()
	d := &v1alpha1.BuildDaemon{}
	err := harness.Eventually(t.Context(), patience, what, func(ctx context.Context) (bool, error) {
		if err := cluster.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "policed-0"}, d); err != nil {
			return false, err
		}
		return holds(&d.Status), nil
	})
	if err != nil {
		t.Fatalf("%v; the daemon's status: %+v", err, d.Status)
	}
	return d
}
