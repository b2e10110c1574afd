// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

func podOf(cache *v1alpha1.BuildCache) corev1.PodSpec {
	return desiredStatefulSet(cache, testImages, "config").Spec.Template.Spec
}

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
			pod := podOf(testbuild.BuildCache("ns", "c", func(c *v1alpha1.BuildCache) { c.Spec.BuildKit.Isolation = tc.isolation }))
			if pod.HostUsers == nil || *pod.HostUsers != tc.wantHostUsers {
				t.Errorf("hostUsers is %v, want %v", pod.HostUsers, tc.wantHostUsers)
			}
		})
	}
}

func TestBuildkitdIsASidecarThatOutlivesTheAgent(t *testing.T) {
	pod := podOf(testbuild.BuildCache("ns", "c"))
	if len(pod.InitContainers) != 1 || len(pod.Containers) != 1 {
		t.Fatalf("%d init containers and %d containers, want one each", len(pod.InitContainers), len(pod.Containers))
	}
	daemon, agent := pod.InitContainers[0], pod.Containers[0]
	if daemon.Name != "buildkitd" || daemon.RestartPolicy == nil || *daemon.RestartPolicy != corev1.ContainerRestartPolicyAlways {
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
	for _, v := range pod.Volumes {
		if v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool { return s.ServiceAccountToken != nil }) {
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
	pod := podOf(testbuild.BuildCache("ns", "c", func(c *v1alpha1.BuildCache) { c.Spec.BuildKit.Isolation = v1alpha1.IsolationPrivileged }))
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
	overlay := func(change func(*v1alpha1.PodTemplateOverlay)) func(*v1alpha1.BuildCache) {
		return func(c *v1alpha1.BuildCache) {
			c.Spec.PodTemplate = &v1alpha1.PodTemplateOverlay{}
			change(c.Spec.PodTemplate)
		}
	}
	constraint := corev1.TopologySpreadConstraint{MaxSkew: 2, TopologyKey: "zone", WhenUnsatisfiable: corev1.DoNotSchedule}
	cases := map[string]struct {
		change    func(*v1alpha1.BuildCache)
		look      func(*v1alpha1.BuildCache) any
		want, was any
	}{
		"replicas": {testbuild.WithReplicas(7), func(c *v1alpha1.BuildCache) any {
			return *desiredStatefulSet(c, testImages, "").Spec.Replicas
		}, int32(7), int32(1)},
		"no replicas given": {func(c *v1alpha1.BuildCache) { c.Spec.Replicas = nil }, func(c *v1alpha1.BuildCache) any {
			return *desiredStatefulSet(c, testImages, "").Spec.Replicas
		}, int32(1), int32(1)},
		"storage.size": {func(c *v1alpha1.BuildCache) { c.Spec.Storage.Size = resource.MustParse("33Gi") }, func(c *v1alpha1.BuildCache) any {
			return desiredStatefulSet(c, testImages, "").Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().String()
		}, "33Gi", "10Gi"},
		"storage.storageClassName": {func(c *v1alpha1.BuildCache) { c.Spec.Storage.StorageClassName = ptr.To("fast") }, func(c *v1alpha1.BuildCache) any {
			return ptr.Deref(desiredStatefulSet(c, testImages, "").Spec.VolumeClaimTemplates[0].Spec.StorageClassName, "none")
		}, "fast", "none"},
		"storage.retention.whenScaled": {func(c *v1alpha1.BuildCache) { c.Spec.Storage.Retention.WhenScaled = v1alpha1.RetentionDelete }, func(c *v1alpha1.BuildCache) any {
			return string(desiredStatefulSet(c, testImages, "").Spec.PersistentVolumeClaimRetentionPolicy.WhenScaled)
		}, "Delete", "Retain"},
		"storage.retention.whenDeleted": {func(c *v1alpha1.BuildCache) { c.Spec.Storage.Retention.WhenDeleted = v1alpha1.RetentionDelete }, func(c *v1alpha1.BuildCache) any {
			return string(desiredStatefulSet(c, testImages, "").Spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted)
		}, "Delete", "Retain"},
		"buildkit.image": {func(c *v1alpha1.BuildCache) { c.Spec.BuildKit.Image = "mine:1" },
			func(c *v1alpha1.BuildCache) any { return podOf(c).InitContainers[0].Image }, "mine:1", testImages.BuildKit},
		"podTemplate.spec.containers, buildkitd's resources": {overlay(func(o *v1alpha1.PodTemplateOverlay) {
			o.Spec.Containers = []v1alpha1.ContainerOverlay{{Name: "buildkitd", Resources: corev1.ResourceRequirements{
				Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("3Gi")},
			}}}
		}), func(c *v1alpha1.BuildCache) any { return podOf(c).InitContainers[0].Resources.Limits.Memory().String() }, "3Gi", "0"},
		"buildkit.drainTimeoutSeconds, for the kubelet": {func(c *v1alpha1.BuildCache) { c.Spec.BuildKit.DrainTimeoutSeconds = 30 },
			func(c *v1alpha1.BuildCache) any { return *podOf(c).TerminationGracePeriodSeconds }, int64(90), int64(3660)},
		"buildkit.drainTimeoutSeconds, for the agent": {func(c *v1alpha1.BuildCache) { c.Spec.BuildKit.DrainTimeoutSeconds = 30 },
			func(c *v1alpha1.BuildCache) any {
				return slices.Contains(podOf(c).Containers[0].Args, "--drain-timeout=30s")
			}, true, false},
		"podTemplate.spec.nodeSelector": {overlay(func(o *v1alpha1.PodTemplateOverlay) { o.Spec.NodeSelector = map[string]string{"disk": "nvme"} }),
			func(c *v1alpha1.BuildCache) any { return podOf(c).NodeSelector["disk"] }, "nvme", ""},
		"podTemplate.spec.tolerations": {overlay(func(o *v1alpha1.PodTemplateOverlay) { o.Spec.Tolerations = []corev1.Toleration{{Key: "k"}} }),
			func(c *v1alpha1.BuildCache) any { return len(podOf(c).Tolerations) }, 1, 0},
		"podTemplate.spec.affinity": {overlay(func(o *v1alpha1.PodTemplateOverlay) {
			o.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{}}
		}),
			func(c *v1alpha1.BuildCache) any { return podOf(c).Affinity != nil }, true, false},
		"podTemplate.spec.priorityClassName": {overlay(func(o *v1alpha1.PodTemplateOverlay) { o.Spec.PriorityClassName = "high" }),
			func(c *v1alpha1.BuildCache) any { return podOf(c).PriorityClassName }, "high", ""},
		"podTemplate.spec.topologySpreadConstraints": {overlay(func(o *v1alpha1.PodTemplateOverlay) {
			o.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{constraint}
		}), func(c *v1alpha1.BuildCache) any { return podOf(c).TopologySpreadConstraints[0].TopologyKey }, "zone", corev1.LabelHostname},
		"podTemplate.spec.imagePullSecrets": {overlay(func(o *v1alpha1.PodTemplateOverlay) {
			o.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "pull"}}
		}), func(c *v1alpha1.BuildCache) any { return len(podOf(c).ImagePullSecrets) }, 1, 0},
		"podTemplate.spec.runtimeClassName": {overlay(func(o *v1alpha1.PodTemplateOverlay) { o.Spec.RuntimeClassName = ptr.To("kata") }),
			func(c *v1alpha1.BuildCache) any { return ptr.Deref(podOf(c).RuntimeClassName, "") }, "kata", ""},
		"podTemplate.spec.schedulerName": {overlay(func(o *v1alpha1.PodTemplateOverlay) { o.Spec.SchedulerName = "own" }),
			func(c *v1alpha1.BuildCache) any { return podOf(c).SchedulerName }, "own", ""},
		"podTemplate.spec.dnsPolicy": {overlay(func(o *v1alpha1.PodTemplateOverlay) { o.Spec.DNSPolicy = corev1.DNSNone }),
			func(c *v1alpha1.BuildCache) any { return string(podOf(c).DNSPolicy) }, "None", ""},
		"podTemplate.spec.dnsConfig": {overlay(func(o *v1alpha1.PodTemplateOverlay) {
			o.Spec.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"10.0.0.1"}}
		}), func(c *v1alpha1.BuildCache) any { return podOf(c).DNSConfig != nil }, true, false},
		"podTemplate.spec.hostAliases": {overlay(func(o *v1alpha1.PodTemplateOverlay) {
			o.Spec.HostAliases = []corev1.HostAlias{{IP: "10.0.0.1", Hostnames: []string{"h"}}}
		}), func(c *v1alpha1.BuildCache) any { return len(podOf(c).HostAliases) }, 1, 0},
		"podTemplate.spec.volumes": {overlay(func(o *v1alpha1.PodTemplateOverlay) {
			o.Spec.Volumes = []v1alpha1.PodVolume{{Name: "ca", Secret: &corev1.SecretVolumeSource{SecretName: "ca"}}}
		}), func(c *v1alpha1.BuildCache) any {
			return slices.ContainsFunc(podOf(c).Volumes, func(v corev1.Volume) bool { return v.Name == "ca" && v.Secret.SecretName == "ca" })
		}, true, false},
		"podTemplate.spec.containers, the agent's environment": {overlay(func(o *v1alpha1.PodTemplateOverlay) {
			o.Spec.Containers = []v1alpha1.ContainerOverlay{{Name: "agent",
				Env:          []corev1.EnvVar{{Name: "HTTPS_PROXY", Value: "http://proxy:3128"}, {Name: "POD_NAME", Value: "stolen"}},
				EnvFrom:      []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{}}},
				VolumeMounts: []corev1.VolumeMount{{Name: "ca", MountPath: "/ca"}},
			}}
		}), func(c *v1alpha1.BuildCache) any {
			agent := podOf(c).Containers[0]
			proxy := slices.IndexFunc(agent.Env, func(e corev1.EnvVar) bool { return e.Name == "HTTPS_PROXY" })
			stolen := slices.ContainsFunc(agent.Env, func(e corev1.EnvVar) bool { return e.Value == "stolen" })
			mounted := slices.ContainsFunc(agent.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == "/ca" })
			return []bool{proxy >= 0, stolen, len(agent.EnvFrom) > 0, mounted}
		}, []bool{true, false, true, true}, []bool{false, false, false, false}},
		"podTemplate.metadata.labels": {overlay(func(o *v1alpha1.PodTemplateOverlay) {
			o.Metadata.Labels = map[string]string{"team": "a", v1alpha1.LabelCache: "stolen"}
		}),
			func(c *v1alpha1.BuildCache) any {
				labels := desiredStatefulSet(c, testImages, "").Spec.Template.Labels
				return labels["team"] + "/" + labels[v1alpha1.LabelCache]
			}, "a/c", "/c"},
		"podTemplate.metadata.annotations": {overlay(func(o *v1alpha1.PodTemplateOverlay) {
			o.Metadata.Annotations = map[string]string{"team": "a", v1alpha1.AnnotationConfigHash: "stolen"}
		}), func(c *v1alpha1.BuildCache) any {
			annotations := desiredStatefulSet(c, testImages, "").Spec.Template.Annotations
			return annotations["team"] + "/" + annotations[v1alpha1.AnnotationConfigHash]
		}, "a/e3b0c44298fc1c14", "/e3b0c44298fc1c14"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.was, tc.look(testbuild.BuildCache("ns", "c"))); diff != "" {
				t.Errorf("before the change (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.want, tc.look(testbuild.BuildCache("ns", "c", tc.change))); diff != "" {
				t.Errorf("after the change (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSelectorsMatchThePods(t *testing.T) {
	cache := testbuild.BuildCache("ns", "c")
	sts := desiredStatefulSet(cache, testImages, "")
	for what, selector := range map[string]*metav1.LabelSelector{
		"the StatefulSet":         sts.Spec.Selector,
		"the NetworkPolicy":       &desiredNetworkPolicy(cache).Spec.PodSelector,
		"the PodDisruptionBudget": desiredPodDisruptionBudget(cache).Spec.Selector,
		"the default spread":      sts.Spec.Template.Spec.TopologySpreadConstraints[0].LabelSelector,
	} {
		s, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil || s.Empty() || !s.Matches(labelSet(sts.Spec.Template.Labels)) {
			t.Errorf("%s does not select the pods: %v %v", what, s, err)
		}
	}
	if policy := desiredNetworkPolicy(cache); len(policy.Spec.Ingress) > 0 || len(policy.Spec.PolicyTypes) != 1 {
		t.Errorf("the NetworkPolicy lets something in: %+v", policy.Spec)
	}
}

type labelSet map[string]string

func (l labelSet) Has(k string) bool              { _, ok := l[k]; return ok }
func (l labelSet) Get(k string) string            { return l[k] }
func (l labelSet) Lookup(k string) (string, bool) { v, ok := l[k]; return v, ok }
