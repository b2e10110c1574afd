// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// TestPodTemplateShowsItsEffect changes one field of spec.podTemplate at a time and looks for what it should change.
func TestPodTemplateShowsItsEffect(t *testing.T) {
	meta := func(change func(*v1alpha1.PodMetadata)) func(*v1alpha1.BuildCache) {
		return func(c *v1alpha1.BuildCache) {
			c.Spec.PodTemplate = &v1alpha1.PodTemplateOverlay{}
			change(&c.Spec.PodTemplate.Metadata)
		}
	}
	spec := func(change func(*v1alpha1.PodSpecOverlay)) func(*v1alpha1.BuildCache) {
		return func(c *v1alpha1.BuildCache) {
			c.Spec.PodTemplate = &v1alpha1.PodTemplateOverlay{}
			change(&c.Spec.PodTemplate.Spec)
		}
	}
	zone := corev1.TopologySpreadConstraint{MaxSkew: 2, TopologyKey: "zone", WhenUnsatisfiable: corev1.DoNotSchedule}
	cases := map[string]struct {
		change    func(*v1alpha1.BuildCache)
		look      func(*v1alpha1.BuildCache) any
		want, was any
	}{
		"labels, of which the operator's win": {
			meta(func(m *v1alpha1.PodMetadata) {
				m.Labels = map[string]string{"team": "a", v1alpha1.LabelCache: "stolen"}
			}),
			func(c *v1alpha1.BuildCache) any {
				labels := setOf(c).Spec.Template.Labels
				return labels["team"] + "/" + labels[v1alpha1.LabelCache]
			}, "a/c", "/c",
		},
		"annotations": {
			meta(func(m *v1alpha1.PodMetadata) { m.Annotations = map[string]string{"team": "a"} }),
			func(c *v1alpha1.BuildCache) any { return setOf(c).Spec.Template.Annotations["team"] }, "a", "",
		},
		"nodeSelector": {
			spec(func(o *v1alpha1.PodSpecOverlay) { o.NodeSelector = map[string]string{"disk": "nvme"} }),
			func(c *v1alpha1.BuildCache) any { return podOf(c).NodeSelector["disk"] }, "nvme", "",
		},
		"tolerations": {
			spec(func(o *v1alpha1.PodSpecOverlay) { o.Tolerations = []corev1.Toleration{{Key: "k"}} }),
			func(c *v1alpha1.BuildCache) any { return len(podOf(c).Tolerations) }, 1, 0,
		},
		"affinity": {
			spec(func(o *v1alpha1.PodSpecOverlay) { o.Affinity = &corev1.Affinity{} }),
			func(c *v1alpha1.BuildCache) any { return podOf(c).Affinity != nil }, true, false,
		},
		"priorityClassName": {
			spec(func(o *v1alpha1.PodSpecOverlay) { o.PriorityClassName = "high" }),
			func(c *v1alpha1.BuildCache) any { return podOf(c).PriorityClassName }, "high", "",
		},
		"topologySpreadConstraints": {
			spec(func(o *v1alpha1.PodSpecOverlay) {
				o.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{zone}
			}),
			func(c *v1alpha1.BuildCache) any { return podOf(c).TopologySpreadConstraints[0].TopologyKey },
			"zone", corev1.LabelHostname,
		},
		"imagePullSecrets": {
			spec(func(o *v1alpha1.PodSpecOverlay) { o.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "s"}} }),
			func(c *v1alpha1.BuildCache) any { return len(podOf(c).ImagePullSecrets) }, 1, 0,
		},
		"runtimeClassName": {
			spec(func(o *v1alpha1.PodSpecOverlay) { o.RuntimeClassName = ptr.To("kata") }),
			func(c *v1alpha1.BuildCache) any { return ptr.Deref(podOf(c).RuntimeClassName, "") }, "kata", "",
		},
		"schedulerName": {
			spec(func(o *v1alpha1.PodSpecOverlay) { o.SchedulerName = "mine" }),
			func(c *v1alpha1.BuildCache) any { return podOf(c).SchedulerName }, "mine", "",
		},
		"dnsPolicy": {
			spec(func(o *v1alpha1.PodSpecOverlay) { o.DNSPolicy = corev1.DNSDefault }),
			func(c *v1alpha1.BuildCache) any { return string(podOf(c).DNSPolicy) }, "Default", "",
		},
		"dnsConfig": {
			spec(func(o *v1alpha1.PodSpecOverlay) { o.DNSConfig = &corev1.PodDNSConfig{} }),
			func(c *v1alpha1.BuildCache) any { return podOf(c).DNSConfig != nil }, true, false,
		},
		"hostAliases": {
			spec(func(o *v1alpha1.PodSpecOverlay) { o.HostAliases = []corev1.HostAlias{{IP: "10.0.0.1"}} }),
			func(c *v1alpha1.BuildCache) any { return len(podOf(c).HostAliases) }, 1, 0,
		},
		"volumes": {
			spec(func(o *v1alpha1.PodSpecOverlay) { o.Volumes = []v1alpha1.PodVolume{{Name: "ca"}} }),
			func(c *v1alpha1.BuildCache) any { return len(podOf(c).Volumes) }, 6, 5,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) { showsEffect(t, tc.change, tc.look, tc.was, tc.want) })
	}
}

func TestContainersAreExtended(t *testing.T) {
	cache := testbuild.BuildCache("ns", "c", func(c *v1alpha1.BuildCache) {
		limit := corev1.ResourceRequirements{
			Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("3Gi")},
		}
		c.Spec.PodTemplate = &v1alpha1.PodTemplateOverlay{Spec: v1alpha1.PodSpecOverlay{
			Containers: []v1alpha1.ContainerOverlay{
				{
					Name: "agent", Resources: limit,
					Env: []corev1.EnvVar{
						{Name: "HTTPS_PROXY", Value: "p"}, {Name: "POD_UID", Value: "stolen"},
					},
					VolumeMounts: []corev1.VolumeMount{{Name: "ca", MountPath: "/etc/ca"}},
				},
				{Name: "buildkitd", EnvFrom: []corev1.EnvFromSource{{Prefix: "X_"}}},
			},
		}}
	})
	pod, plain := podOf(cache), podOf(testbuild.BuildCache("ns", "c"))
	agent, daemon := pod.Containers[0], pod.InitContainers[1]
	if got := agent.Resources.Limits.Memory().String(); got != "3Gi" || len(agent.Resources.Requests) > 0 {
		t.Errorf("the agent's resources are %+v: what is given takes the place of the default", agent.Resources)
	}
	if len(agent.Env) != len(plain.Containers[0].Env)+1 || agent.Env[len(agent.Env)-1].Name != "HTTPS_PROXY" {
		t.Errorf("the agent's variables are %+v", agent.Env)
	}
	if len(agent.VolumeMounts) != len(plain.Containers[0].VolumeMounts)+1 {
		t.Errorf("the agent's mounts are %+v", agent.VolumeMounts)
	}
	if len(daemon.EnvFrom) != 1 || len(daemon.Resources.Limits) > 0 {
		t.Errorf("buildkitd has variables of %+v and resources %+v", daemon.EnvFrom, daemon.Resources)
	}
}

// TestWhatReplacesAPod is about a pod that was made of a template, and then the template changes.
func TestWhatReplacesAPod(t *testing.T) {
	made := func(c *v1alpha1.BuildCache, images Images) *corev1.Pod {
		template, err := NewTemplate(c, images)
		if err != nil {
			t.Fatal(err)
		}
		pod := template.Pod("c-0")
		return &corev1.Pod{ObjectMeta: pod.ObjectMeta, Spec: pod.Spec}
	}
	old := made(testbuild.BuildCache("ns", "c"), testImages)
	cases := map[string]struct {
		change func(*v1alpha1.BuildCache)
		images Images
		want   Difference
	}{
		"nothing":           {func(*v1alpha1.BuildCache) {}, testImages, UpToDate},
		"another operator":  {func(*v1alpha1.BuildCache) {}, Images{"operator:next", testImages.BuildKit}, AgentImage},
		"another buildkitd": {func(*v1alpha1.BuildCache) {}, Images{testImages.Operator, "buildkit:next"}, WholePod},
		"both":              {func(*v1alpha1.BuildCache) {}, Images{"operator:next", "buildkit:next"}, WholePod},
		"what buildkitd reads once": {
			func(c *v1alpha1.BuildCache) { c.Spec.BuildKit.MaxParallelism = 3 }, testImages, WholePod,
		},
		"what the scheduler alone knows": {
			func(c *v1alpha1.BuildCache) { c.Spec.BuildKit.MaxConcurrentBuilds = 9 }, testImages, UpToDate,
		},
		"the volume's size": {
			func(c *v1alpha1.BuildCache) { c.Spec.Storage.Size = resource.MustParse("20Gi") }, testImages, UpToDate,
		},
		"the pod's place": {func(c *v1alpha1.BuildCache) {
			c.Spec.PodTemplate = &v1alpha1.PodTemplateOverlay{
				Spec: v1alpha1.PodSpecOverlay{NodeSelector: map[string]string{"a": "b"}},
			}
		}, testImages, WholePod},
		"how many daemons": {testbuild.WithReplicas(9), testImages, UpToDate},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			template, err := NewTemplate(testbuild.BuildCache("ns", "c", tc.change), tc.images)
			if err != nil {
				t.Fatal(err)
			}
			if got := template.Compare(old); got != tc.want {
				t.Errorf("the pod differs by %d, want %d", got, tc.want)
			}
			if tc.want == AgentImage {
				changed := old.DeepCopy()
				SetAgentImage(changed, template.AgentImage())
				if got := template.Compare(changed); got != UpToDate {
					t.Errorf("after the agent's image was changed it differs by %d", got)
				}
			}
		})
	}
}

// TestAnUpgradeReplacesNoPod pins the hash of a plain pod. When this test fails, the next upgrade of the operator
// replaces every pod of every fleet, and with it every running buildkitd. If that can't be avoided, say so in the
// changelog and pin the new hash.
func TestAnUpgradeReplacesNoPod(t *testing.T) {
	template, err := NewTemplate(testbuild.BuildCache("ns", "c"), testImages)
	if err != nil {
		t.Fatal(err)
	}
	if want := "811fa1101744b20d"; template.hash != want {
		t.Errorf("the hash of a plain pod is %s, was %s", template.hash, want)
	}
}

func TestObjectsAreFoundByTheirLabel(t *testing.T) {
	for name, tc := range map[string]struct {
		label string
		want  int32
		ok    bool
	}{
		"a daemon's":                  {"c-12", 12, true},
		"another cache's":             {"c-x-1", 0, false},
		"a longer name":               {"cc-1", 0, false},
		"none":                        {"", 0, false},
		"an ordinal with a zero":      {"c-01", 0, false},
		"an ordinal that is negative": {"c--1", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := Ordinal("c", map[string]string{v1alpha1.LabelDaemon: tc.label})
			if got != tc.want || ok != tc.ok {
				t.Errorf("got %d, %v; want %d, %v", got, ok, tc.want, tc.ok)
			}
		})
	}
}
