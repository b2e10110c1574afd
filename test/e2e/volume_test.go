// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

// podUIDs are the UIDs of a fleet's pods by the daemon's name.
func podUIDs(t *testing.T, cache string) map[string]string {
	t.Helper()
	out, err := podUIDsOf(t.Context(), cache)
	must(t, err)
	return out
}

func podUIDsOf(ctx context.Context, cache string) (map[string]string, error) {
	var pods corev1.PodList
	mine := client.MatchingLabels{v1alpha1.LabelCache: cache}
	err := cluster.Client.List(ctx, &pods, client.InNamespace(namespace), mine)
	out := map[string]string{}
	for i := range pods.Items {
		out[pods.Items[i].Labels[v1alpha1.LabelDaemon]] = string(pods.Items[i].UID)
	}
	return out, err
}

func TestVolumesGrowWithoutARestart(t *testing.T) {
	t.Parallel() // it mostly waits
	grows := newFleet("grows", 1)
	makeFleet(t, grows)
	var before *v1alpha1.BuildDaemon
	must(t, harness.Eventually(t.Context(), patience, "the daemon reports its garbage collection",
		func(context.Context) (bool, error) {
			before = daemon(t, "grows-0")
			return before.Status.GC != nil, nil
		}))
	pods := podUIDs(t, "grows")

	kubectl(t, "patch", "bcache/grows", "--type=merge", "-p", `{"spec":{"storage":{"size":"3Gi"}}}`)
	must(t,
		harness.Eventually(t.Context(), patience, "the volume and its daemon's view of it have grown",
			func(ctx context.Context) (bool, error) {
				d := &v1alpha1.BuildDaemon{}
				if err := cluster.Client.Get(ctx, client.ObjectKeyFromObject(before), d); err != nil {
					return false, err
				}
				if err := cluster.Client.Get(ctx, client.ObjectKeyFromObject(grows), grows); err != nil {
					return false, err
				}
				return meta.IsStatusConditionTrue(grows.Status.Conditions, v1alpha1.ConditionVolumesResized) &&
					d.Status.CapacityBytes > before.Status.CapacityBytes*14/10 &&
					d.Status.GC.CapacityBytes == d.Status.CapacityBytes, nil
			}))
	must(t, cluster.WaitCache(t.Context(), grows))
	after := daemon(t, "grows-0").Status
	if now, then := after.GC, before.Status.GC; now.MountsBudgetBytes <= then.MountsBudgetBytes*14/10 ||
		now.FreeBytes <= then.FreeBytes*14/10 ||
		!meta.IsStatusConditionTrue(after.Conditions, v1alpha1.ConditionGCPolicyInForce) {
		t.Errorf("on a volume of %d bytes garbage collection keeps to %+v, kept to %+v; conditions %+v",
			after.CapacityBytes, now, then, after.Conditions)
	}
	for name, uid := range podUIDs(t, "grows") {
		if pods[name] != uid {
			t.Errorf("pod %s was replaced", name)
		}
	}
	build := newBuild("on-grown", "fs default() {\n\timage \"IMAGE\"\n\trun \"df -h /\"\n}\n")
	build.Spec.CacheRef.Name = "grows"
	run(t, build)
	succeeded(t, build)

	kubectl(t, "scale", "bcache/grows", "--replicas=2")
	must(t, cluster.WaitCache(t.Context(), grows))
	claim := &corev1.PersistentVolumeClaim{}
	must(t,
		cluster.Client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: harness.Claim("grows-1")}, claim))
	if got := claim.Spec.Resources.Requests[corev1.ResourceStorage]; got.Cmp(resource.MustParse("3Gi")) != 0 {
		t.Errorf("a new daemon's volume is of %s, want 3Gi", got.String())
	}
	if daemon(t, "grows-0").Status.VolumeEpoch != before.Status.VolumeEpoch {
		t.Error("the daemon lost its volume")
	}
}
