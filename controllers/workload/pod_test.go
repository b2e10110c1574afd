// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// testImages are what the pods of tests would run.
var testImages = Images{Operator: "operator:test", BuildKit: "buildkit:test"}

// setOf is the StatefulSet of the daemon c-0 of a cache "c".
func setOf(cache *v1alpha1.BuildCache) *appsv1.StatefulSet {
	template, err := NewTemplate(cache, testImages)
	if err != nil {
		panic(err)
	}
	return template.StatefulSet(testbuild.BuildDaemon(cache.Namespace, cache.Name, 0))
}

func podOf(cache *v1alpha1.BuildCache) corev1.PodSpec { return setOf(cache).Spec.Template.Spec }

func TestIsolation(t *testing.T) {
	cases := map[string]struct {
		isolation     v1alpha1.Isolation
		wantHostUsers bool
	}{
		"by default root of the pod is nobody on the node": {v1alpha1.IsolationUserNamespace, false},
		"privileged shares the node's users":               {v1alpha1.IsolationPrivileged, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			isolated := func(c *v1alpha1.BuildCache) { c.Spec.BuildKit.Isolation = tc.isolation }
			pod := podOf(testbuild.BuildCache("ns", "c", isolated))
			if pod.HostUsers == nil || *pod.HostUsers != tc.wantHostUsers {
				t.Errorf("hostUsers is %v, want %v", pod.HostUsers, tc.wantHostUsers)
			}
		})
	}
}

func TestBuildkitdIsASidecarThatOutlivesTheAgent(t *testing.T) {
	pod := podOf(testbuild.BuildCache("ns", "c"))
	if len(pod.InitContainers) != 2 || len(pod.Containers) != 1 {
		t.Fatalf("%d init containers and %d containers, want two and one", len(pod.InitContainers), len(pod.Containers))
	}
	daemon, agent := pod.InitContainers[1], pod.Containers[0]
	if daemon.Name != "buildkitd" || ptr.Deref(daemon.RestartPolicy, "") != corev1.ContainerRestartPolicyAlways {
		t.Errorf("%s with restart policy %v is no native sidecar", daemon.Name, daemon.RestartPolicy)
	}
	if daemon.StartupProbe == nil {
		t.Error("the agent would start before buildkitd answers")
	}
	if agent.Name != "agent" || agent.Image != testImages.Operator || daemon.Image != testImages.BuildKit {
		t.Errorf("agent %s runs %s, buildkitd runs %s", agent.Name, agent.Image, daemon.Image)
	}
}

func TestOnlyTheAgentHasAToken(t *testing.T) {
	pod := podOf(testbuild.BuildCache("ns", "c"))
	if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		t.Error("the kubelet would mount a token into every container")
	}
	var tokens []string
	isToken := func(s corev1.VolumeProjection) bool { return s.ServiceAccountToken != nil }
	for _, v := range pod.Volumes {
		if v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, isToken) {
			tokens = append(tokens, v.Name)
		}
	}
	holders := map[string]bool{}
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		for _, m := range c.VolumeMounts {
			if slices.Contains(tokens, m.Name) {
				holders[c.Name] = true
			}
		}
	}
	if diff := cmp.Diff(map[string]bool{"agent": true}, holders); diff != "" {
		t.Errorf("containers with a token differ (-want +got):\n%s", diff)
	}
}

func TestAgentIsRestricted(t *testing.T) {
	privileged := func(c *v1alpha1.BuildCache) { c.Spec.BuildKit.Isolation = v1alpha1.IsolationPrivileged }
	pod := podOf(testbuild.BuildCache("ns", "c", privileged))
	want := &corev1.SecurityContext{
		RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](65532), RunAsGroup: ptr.To[int64](65532),
		AllowPrivilegeEscalation: ptr.To(false), ReadOnlyRootFilesystem: ptr.To(true),
		Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	if diff := cmp.Diff(want, pod.Containers[0].SecurityContext); diff != "" {
		t.Errorf("the agent's security context differs (-want +got):\n%s", diff)
	}
	for _, m := range pod.Containers[0].VolumeMounts {
		if m.MountPath == buildkitRoot {
			t.Error("the agent can write into buildkitd's root")
		}
	}
}

// TestFieldsShowTheirEffect changes one field at a time and looks for what it should change.
func TestFieldsShowTheirEffect(t *testing.T) {
	cases := map[string]struct {
		change    func(*v1alpha1.BuildCache)
		look      func(*v1alpha1.BuildCache) any
		want, was any
	}{
		"storage.size": {
			func(c *v1alpha1.BuildCache) { c.Spec.Storage.Size = resource.MustParse("33Gi") },
			func(c *v1alpha1.BuildCache) any {
				claim := claimOf(c)
				return claim.Resources.Requests.Storage().String()
			}, "33Gi", "10Gi",
		},
		"storage.storageClassName": {
			func(c *v1alpha1.BuildCache) { c.Spec.Storage.StorageClassName = ptr.To("fast") },
			func(c *v1alpha1.BuildCache) any { return ptr.Deref(claimOf(c).StorageClassName, "none") }, "fast", "none",
		},
		"storage.retention.whenDeleted": {
			func(c *v1alpha1.BuildCache) { c.Spec.Storage.Retention.WhenDeleted = v1alpha1.RetentionDelete },
			func(c *v1alpha1.BuildCache) any {
				return string(setOf(c).Spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted)
			}, "Delete", "Retain",
		},
		"storage.retention.whenScaled, which is the fleet's matter": {
			func(c *v1alpha1.BuildCache) { c.Spec.Storage.Retention.WhenScaled = v1alpha1.RetentionDelete },
			func(c *v1alpha1.BuildCache) any {
				return string(setOf(c).Spec.PersistentVolumeClaimRetentionPolicy.WhenScaled)
			}, "Retain", "Retain",
		},
		"buildkit.image": {
			func(c *v1alpha1.BuildCache) { c.Spec.BuildKit.Image = "mine:1" },
			func(c *v1alpha1.BuildCache) any { return podOf(c).InitContainers[1].Image }, "mine:1", testImages.BuildKit,
		},
		"buildkit.drainTimeoutSeconds, for the kubelet": {
			func(c *v1alpha1.BuildCache) { c.Spec.BuildKit.DrainTimeoutSeconds = 30 },
			func(c *v1alpha1.BuildCache) any { return *podOf(c).TerminationGracePeriodSeconds }, int64(90), int64(3660),
		},
		"buildkit.drainTimeoutSeconds, for the agent": {
			func(c *v1alpha1.BuildCache) { c.Spec.BuildKit.DrainTimeoutSeconds = 30 },
			func(c *v1alpha1.BuildCache) any {
				return slices.Contains(podOf(c).Containers[0].Args, "--drain-timeout=30s")
			}, true, false,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) { showsEffect(t, tc.change, tc.look, tc.was, tc.want) })
	}
}

func claimOf(cache *v1alpha1.BuildCache) corev1.PersistentVolumeClaimSpec {
	return setOf(cache).Spec.VolumeClaimTemplates[0].Spec
}

func showsEffect(
	t *testing.T,
	change func(*v1alpha1.BuildCache),
	look func(*v1alpha1.BuildCache) any,
	was, want any,
) {
	t.Helper()
	if diff := cmp.Diff(was, look(testbuild.BuildCache("ns", "c"))); diff != "" {
		t.Errorf("before the change (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, look(testbuild.BuildCache("ns", "c", change))); diff != "" {
		t.Errorf("after the change (-want +got):\n%s", diff)
	}
}

func TestASuspendedDaemonHasNoPod(t *testing.T) {
	template, err := NewTemplate(testbuild.BuildCache("ns", "c"), testImages)
	if err != nil {
		t.Fatal(err)
	}
	for suspended, want := range map[bool]int32{false: 1, true: 0} {
		daemon := testbuild.BuildDaemon("ns", "c", 3)
		daemon.Spec.Suspend = suspended
		set := template.StatefulSet(daemon)
		if *set.Spec.Replicas != want || set.Name != "c-3" {
			t.Errorf(
				"suspended %v: StatefulSet %s has %d replicas, want %d", suspended, set.Name, *set.Spec.Replicas, want,
			)
		}
		if !slices.Contains(set.Spec.Template.Spec.Containers[0].Args, "--daemon=c-3") {
			t.Errorf("the agent is not told its daemon: %v", set.Spec.Template.Spec.Containers[0].Args)
		}
	}
}

func TestTheSpreadIsOverThePodsOfTheFleet(t *testing.T) {
	set := setOf(testbuild.BuildCache("ns", "c"))
	for what, selector := range map[string]*metav1.LabelSelector{
		"the StatefulSet":    set.Spec.Selector,
		"the default spread": set.Spec.Template.Spec.TopologySpreadConstraints[0].LabelSelector,
	} {
		s, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil || s.Empty() || !s.Matches(labels.Set(set.Spec.Template.Labels)) {
			t.Errorf("%s does not select the pods: %v %v", what, s, err)
		}
	}
	spread := set.Spec.Template.Spec.TopologySpreadConstraints[0].LabelSelector
	if _, of := spread.MatchLabels[v1alpha1.LabelDaemon]; of {
		t.Error("the spread is over the one pod of a daemon")
	}
}
