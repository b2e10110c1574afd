// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

// agentImages counts the running agents of a fleet by the image that they were started with.
func agentImages(ctx context.Context, cache string) (map[string]int, error) {
	var pods corev1.PodList
	mine := client.MatchingLabels{v1alpha1.LabelCache: cache}
	err := cluster.Client.List(ctx, &pods, client.InNamespace(namespace), mine)
	images := map[string]int{}
	for i := range pods.Items {
		pod := &pods.Items[i]
		for j := range pod.Status.ContainerStatuses {
			s := &pod.Status.ContainerStatuses[j]
			if s.Name == "agent" && s.Ready && pod.Annotations[v1alpha1.AnnotationReplacedAgent] != s.ContainerID {
				images[pod.Spec.Containers[0].Image]++
			}
		}
	}
	return images, err
}

// daemonStarts are when the buildkitd of each pod of a fleet was started, and how often.
func daemonStarts(t *testing.T, cache string) map[string]string {
	t.Helper()
	var pods corev1.PodList
	mine := client.MatchingLabels{v1alpha1.LabelCache: cache}
	must(t, cluster.Client.List(t.Context(), &pods, client.InNamespace(namespace), mine))
	out := map[string]string{}
	for i := range pods.Items {
		for _, s := range pods.Items[i].Status.InitContainerStatuses {
			if s.Name == "buildkitd" && s.State.Running != nil {
				out[pods.Items[i].Name] = fmt.Sprint(
					pods.Items[i].UID, s.ContainerID, s.RestartCount, s.State.Running.StartedAt)
			}
		}
	}
	return out
}

// TestAnUpgradeOfTheOperatorRestartsNoBuildkitd gives the agents another name of the operator's image while a build
// runs. Every agent is replaced, the build ends in its first attempt, and every buildkitd runs on.
func TestAnUpgradeOfTheOperatorRestartsNoBuildkitd(t *testing.T) {
	cache := newFleet("upgraded", 2)
	makeFleet(t, cache)
	before := daemonStarts(t, cache.Name)
	if len(before) != 2 {
		t.Fatalf("%d daemons run, want 2", len(before))
	}
	busy := slow("upgrade-busy", "15")
	busy.Spec.CacheRef.Name = cache.Name
	running(t, busy)

	repository, _, _ := strings.Cut(cluster.Images["operator"], "@")
	next := repository + ":dev"
	patch := fmt.Sprintf(
		`[{"op":"add","path":"/spec/template/spec/containers/0/args/-","value":"--operator-image=%s"}]`, next)
	manager := "deployment/" + harness.ManagerName
	_, err := cluster.Kubectl(
		t.Context(), "", "-n", harness.SystemNamespace, "patch", manager, "--type=json", "-p", patch)
	must(t, err)
	t.Cleanup(func() {
		_, err := cluster.Kubectl(contextFor(t), "", "-n", harness.SystemNamespace, "rollout", "undo", manager)
		for _, err := range []error{err, cluster.WaitManager(contextFor(t)), cluster.WaitCache(contextFor(t), fleet)} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	must(t, cluster.WaitManager(t.Context()))
	replaced := func(ctx context.Context) (bool, error) {
		images, err := agentImages(ctx, cache.Name)
		return images[next] == 2, err
	}
	must(t, harness.Eventually(t.Context(), patience, "both agents are replaced", replaced))
	await(t, busy)
	succeeded(t, busy)
	if busy.Status.Run.Attempt != 1 {
		t.Errorf("the build took %d attempts: the upgrade did not wait for it", busy.Status.Run.Attempt)
	}
	must(t, cluster.WaitCache(t.Context(), cache))
	after := daemonStarts(t, cache.Name)
	for pod, was := range before {
		if after[pod] != was {
			t.Errorf("the buildkitd of %s is %s, was %s", pod, after[pod], was)
		}
	}
}
