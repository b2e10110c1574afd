// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

// inTrouble waits until a BuildCache's Ready condition has the reason, Stalled or not.
func inTrouble(t *testing.T, cache *v1alpha1.BuildCache, reason string, stalled bool) {
	t.Helper()
	says := func(ctx context.Context) (bool, error) {
		if err := cluster.Client.Get(ctx, client.ObjectKeyFromObject(cache), cache); err != nil {
			return false, err
		}
		ready := meta.FindStatusCondition(cache.Status.Conditions, v1alpha1.ConditionReady)
		return ready != nil && ready.Reason == reason &&
			meta.IsStatusConditionTrue(cache.Status.Conditions, v1alpha1.ConditionStalled) == stalled, nil
	}
	must(t, harness.Eventually(t.Context(), patience, cache.Name+" says "+reason, says))
}

// TestPodsThatAreRefusedAreExplained makes a fleet where Pod Security lets none of its pods in, and then lets them in.
func TestPodsThatAreRefusedAreExplained(t *testing.T) {
	t.Parallel() // it mostly waits
	const strict = namespace + "-strict"
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: strict, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}
	must(t, client.IgnoreAlreadyExists(cluster.Client.Create(t.Context(), ns)))
	t.Cleanup(func() {
		if err := cluster.DeleteNamespace(contextFor(t), strict); err != nil {
			t.Error(err)
		}
	})
	cache := newFleet("strict", 1)
	cache.Namespace = strict
	must(t, cluster.Client.Create(t.Context(), cache))
	inTrouble(t, cache, v1alpha1.ReasonPodSecurityRefused, true)
	_, err := cluster.Kubectl(
		t.Context(), "", "label", "ns", strict, "pod-security.kubernetes.io/enforce=privileged", "--overwrite")
	must(t, err)
	must(t, cluster.WaitCache(t.Context(), cache))
}

// TestAWrongImageIsExplained makes a fleet of an image that is not there, and then names the right one.
func TestAWrongImageIsExplained(t *testing.T) {
	t.Parallel() // it mostly waits
	cache := newFleet("wrong-image", 1)
	cache.Spec.BuildKit.Image = cluster.Info.Registry + "/no-such-image:1"
	must(t, cluster.Client.Create(t.Context(), cache))
	t.Cleanup(func() {
		if err := cluster.Client.Delete(contextFor(t), cache); client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
	})
	inTrouble(t, cache, v1alpha1.ReasonImagePullFailed, true)
	right := `{"spec":{"buildkit":{"image":"` + cluster.Images["buildkit"] + `"}}}`
	kubectl(t, "patch", "bcache/wrong-image", "--type=merge", "-p", right)
	must(t, cluster.WaitCache(t.Context(), cache))
}

// TestADaemonWithoutANodeStopsNoOther rolls a fleet out to a template under which one daemon finds no node: its volume
// is on a node that the template leaves out.
func TestADaemonWithoutANodeStopsNoOther(t *testing.T) {
	t.Parallel() // it mostly waits
	cache := newFleet("homeless", 2)
	makeFleet(t, cache)
	stays, moves := daemon(t, "homeless-0"), daemon(t, "homeless-1") // of equals the highest ordinal is replaced first
	if stays.Status.NodeName == moves.Status.NodeName {
		t.Fatalf("both daemons are on %s", stays.Status.NodeName)
	}
	uid := podUIDs(t, cache.Name)[stays.Name]
	before := cache.DeepCopy()
	cache.Spec.PodTemplate = &v1alpha1.PodTemplateOverlay{Spec: v1alpha1.PodSpecOverlay{
		NodeSelector: map[string]string{corev1.LabelHostname: stays.Status.NodeName},
	}}
	must(t, cluster.Client.Patch(t.Context(), cache, client.MergeFrom(before)))
	rolledOut := func(context.Context) (bool, error) {
		now := podUIDs(t, cache.Name)[stays.Name]
		return now != "" && now != uid &&
			meta.IsStatusConditionTrue(daemon(t, stays.Name).Status.Conditions, v1alpha1.ConditionReady), nil
	}
	must(t, harness.Eventually(t.Context(), patience, "the other daemon is rolled out", rolledOut))
	inTrouble(t, cache, v1alpha1.ReasonUnschedulable, false)
	kubectl(t, "patch", "bcache/homeless", "--type=merge", "-p", `{"spec":{"podTemplate":null}}`)
	must(t, cluster.WaitCache(t.Context(), cache))
	if cache.Status.ReadyReplicas != 2 {
		t.Errorf("%d daemons are ready", cache.Status.ReadyReplicas)
	}
}
