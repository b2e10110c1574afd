// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// Paths of the network of steps, the contract between cmd/stepnet, buildkitd and the agent.
const (
	// networkDir is an emptyDir of the pod that cmd/stepnet fills.
	networkDir = "/run/hlb-network"
	// networkConfig is there once steps can have networks of their own.
	networkConfig  = networkDir + "/steps.conflist"
	networkPlugins = networkDir + "/bin"
)

// networkMode is the mode of a BuildCache, with the default where it has none.
func networkMode(cache *v1alpha1.BuildCache) v1alpha1.NetworkMode {
	if mode := cache.Spec.BuildKit.Network.Mode; mode != "" {
		return mode
	}
	return v1alpha1.NetworkPreferIsolated
}

// setNetwork has buildkitd give steps the network of a BuildCache's mode.
func (c *ociConfig) setNetwork(mode v1alpha1.NetworkMode) {
	c.NetworkMode = "cni"
	if mode == v1alpha1.NetworkPod {
		c.NetworkMode = "host"
	}
	c.CNIConfigPath, c.CNIBinaryPath = networkConfig, networkPlugins
}

// networkContainer prepares the pod's network before buildkitd starts. It has one capability, over the pod's own
// network namespace, which nothing that builds run has.
func networkContainer(cache *v1alpha1.BuildCache, images Images) corev1.Container {
	args := []string{"install", "-dir=" + networkDir}
	if networkMode(cache) == v1alpha1.NetworkIsolated {
		args = append(args, "-required")
	}
	if rules := cache.Spec.BuildKit.Network.Egress; rules != nil {
		args = append(args, "-egress="+egressText(*rules))
	}
	return corev1.Container{
		Name:                     containerNetwork,
		Image:                    images.Operator,
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		Command:                  []string{"/stepnet"},
		Args:                     args,
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("16Mi"),
			},
			Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")},
		},
		SecurityContext: &corev1.SecurityContext{
			RunAsUser:                ptr.To[int64](0),
			RunAsGroup:               ptr.To[int64](0),
			RunAsNonRoot:             ptr.To(false),
			AllowPrivilegeEscalation: ptr.To(false),
			ReadOnlyRootFilesystem:   ptr.To(true),
			Capabilities: &corev1.Capabilities{
				Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_ADMIN"},
			},
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		VolumeMounts: []corev1.VolumeMount{{Name: volumeNetwork, MountPath: networkDir}},
	}
}

// networkMounts are those of the containers that read what networkContainer leaves.
func networkMounts(cache *v1alpha1.BuildCache) []corev1.VolumeMount {
	if networkMode(cache) == v1alpha1.NetworkPod {
		return nil
	}
	return []corev1.VolumeMount{{Name: volumeNetwork, MountPath: networkDir, ReadOnly: true}}
}

// addNetwork adds to a pod what gives steps networks of their own.
func addNetwork(
	pod *corev1.PodSpec, cache *v1alpha1.BuildCache, images Images, overlay v1alpha1.PodTemplateOverlay,
) {
	if networkMode(cache) == v1alpha1.NetworkPod {
		return
	}
	first := extend(networkContainer(cache, images), overlay)
	pod.InitContainers = append([]corev1.Container{first}, pod.InitContainers...)
	pod.Volumes = append(pod.Volumes, corev1.Volume{
		Name: volumeNetwork, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
	})
}

// egressText is a list of rules as cmd/stepnet reads it, "[]" for an empty one. Kubernetes expands $(NAME) in
// arguments, which no address has.
func egressText(rules []v1alpha1.EgressRule) string {
	if len(rules) == 0 {
		return "[]"
	}
	text, err := json.Marshal(rules)
	if err != nil {
		panic(err) // strings and numbers can be marshalled
	}
	return string(text)
}
