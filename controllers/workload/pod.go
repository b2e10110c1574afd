// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// Images are what the daemon pods run; both non-empty.
type Images struct {
	// Operator holds the agent beside the manager.
	Operator string
	// BuildKit is the default for spec.buildkit.image.
	BuildKit string
}

// Template is the pod of a BuildCache's daemons, the same for each but for the daemon's name.
type Template struct {
	cache *v1alpha1.BuildCache
	pod   corev1.PodTemplateSpec // of no daemon in particular
	hash  string
}

// NewTemplate renders the pod for a BuildCache. Errors are about spec.buildkit.extraConfig.
func NewTemplate(cache *v1alpha1.BuildCache, images Images) (*Template, error) {
	restart, err := restartConfig(cache)
	if err != nil {
		return nil, err
	}
	pod := podTemplate(cache, images)
	hash, err := podHash(&pod, restart)
	if err != nil {
		return nil, err
	}
	pod.Annotations[v1alpha1.AnnotationPodHash] = hash
	pod.Annotations[v1alpha1.AnnotationAgentImage] = images.Operator
	return &Template{cache: cache, pod: pod, hash: hash}, nil
}

// Pod is the template for one daemon.
func (t *Template) Pod(daemon string) corev1.PodTemplateSpec {
	pod := *t.pod.DeepCopy()
	pod.Labels[v1alpha1.LabelDaemon] = daemon
	agent := &pod.Spec.Containers[0]
	agent.Args = append([]string{"--daemon=" + daemon}, agent.Args...)
	return pod
}

// Difference is how a running pod differs from the present template.
type Difference int

// The differences.
const (
	// UpToDate is a pod as the template wants it.
	UpToDate Difference = iota
	// AgentImage is a pod that runs another agent. Its image can be changed in place, and buildkitd runs on.
	AgentImage
	// WholePod is a pod that differs in anything else. Another pod has to take its place.
	WholePod
)

// Compare finds how a daemon's pod differs from the template.
func (t *Template) Compare(pod *corev1.Pod) Difference {
	switch {
	case pod.Annotations[v1alpha1.AnnotationPodHash] != t.hash:
		return WholePod
	case pod.Annotations[v1alpha1.AnnotationAgentImage] != t.AgentImage():
		return AgentImage
	default:
		return UpToDate
	}
}

// AgentImage is the image that agents are to run.
func (t *Template) AgentImage() string { return t.pod.Spec.Containers[0].Image }

// podHash identifies everything of a pod whose change needs another pod: all of the template but the operator's image,
// and the configuration that buildkitd reads once. It comes from what the operator renders, before the API server
// fills in its defaults.
func podHash(pod *corev1.PodTemplateSpec, restart string) (string, error) {
	hashed := pod.DeepCopy()
	hashed.Spec.Containers[0].Image = ""
	for i := range hashed.Spec.InitContainers {
		// it has done its work in a pod that runs
		if c := &hashed.Spec.InitContainers[i]; c.Name == containerNetwork {
			c.Image = ""
		}
	}
	text, err := json.Marshal(hashed)
	if err != nil {
		return "", fmt.Errorf("hash the pod template: %w", err)
	}
	sum := sha256.New()
	sum.Write(text)
	sum.Write([]byte(restart))
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
}

// podTemplate is the pod of any daemon: buildkitd as a sidecar of the agent.
//
// buildkitd is an init container that keeps running (a native sidecar), so that a pod that must go ends in order: the
// agent is told first, waits for its builds while buildkitd still serves them, and only then is buildkitd told.
func podTemplate(cache *v1alpha1.BuildCache, images Images) corev1.PodTemplateSpec {
	overlay := v1alpha1.PodTemplateOverlay{}
	if cache.Spec.PodTemplate != nil {
		overlay = *cache.Spec.PodTemplate
	}
	labels, annotations := map[string]string{}, map[string]string{}
	maps.Copy(labels, overlay.Metadata.Labels)
	maps.Copy(labels, FleetLabels(cache.Name))
	maps.Copy(annotations, overlay.Metadata.Annotations)

	// A minute more than the agent waits, for its last reports and for buildkitd to end.
	graceSeconds := int64(cache.Spec.BuildKit.DrainTimeoutSeconds) + 60
	pod := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: annotations},
		Spec: corev1.PodSpec{
			ServiceAccountName:            AgentName(cache.Name),
			AutomountServiceAccountToken:  ptr.To(false), // only the agent's container gets a token, by its own volume
			EnableServiceLinks:            ptr.To(false),
			HostUsers:                     ptr.To(cache.Spec.BuildKit.Isolation == v1alpha1.IsolationPrivileged),
			TerminationGracePeriodSeconds: &graceSeconds,
			NodeSelector:                  overlay.Spec.NodeSelector,
			Tolerations:                   overlay.Spec.Tolerations,
			Affinity:                      overlay.Spec.Affinity,
			PriorityClassName:             overlay.Spec.PriorityClassName,
			TopologySpreadConstraints:     spreadConstraints(cache.Name, overlay.Spec.TopologySpreadConstraints),
			ImagePullSecrets:              overlay.Spec.ImagePullSecrets,
			RuntimeClassName:              overlay.Spec.RuntimeClassName,
			SchedulerName:                 overlay.Spec.SchedulerName,
			DNSPolicy:                     overlay.Spec.DNSPolicy,
			DNSConfig:                     overlay.Spec.DNSConfig,
			HostAliases:                   overlay.Spec.HostAliases,
			InitContainers:                []corev1.Container{extend(buildkitContainer(cache, images), overlay)},
			Containers:                    []corev1.Container{extend(agentContainer(cache, images), overlay)},
			Volumes:                       slices.Concat(podVolumes(cache.Name), overlayVolumes(overlay.Spec.Volumes)),
		},
	}
	addNetwork(&pod.Spec, cache, images, overlay)
	return pod
}

// spreadConstraints puts daemons on different nodes where that is possible, unless the spec has constraints.
func spreadConstraints(cache string, wanted []corev1.TopologySpreadConstraint) []corev1.TopologySpreadConstraint {
	if len(wanted) > 0 {
		return wanted
	}
	return []corev1.TopologySpreadConstraint{{
		MaxSkew:           1,
		TopologyKey:       corev1.LabelHostname,
		WhenUnsatisfiable: corev1.ScheduleAnyway,
		LabelSelector:     &metav1.LabelSelector{MatchLabels: FleetLabels(cache)},
	}}
}

// extend adds to a container what spec.podTemplate has for it. The operator's own variables win.
func extend(c corev1.Container, template v1alpha1.PodTemplateOverlay) corev1.Container {
	for i := range template.Spec.Containers {
		overlay := &template.Spec.Containers[i]
		if overlay.Name != c.Name {
			continue
		}
		if len(overlay.Resources.Requests)+len(overlay.Resources.Limits)+len(overlay.Resources.Claims) > 0 {
			c.Resources = overlay.Resources
		}
		for _, e := range overlay.Env {
			isOwn := func(own corev1.EnvVar) bool { return own.Name == e.Name }
			if !slices.ContainsFunc(c.Env, isOwn) {
				c.Env = append(c.Env, e)
			}
		}
		c.EnvFrom = overlay.EnvFrom
		mounts := slices.Clone(overlay.VolumeMounts)
		byPath := func(a, b corev1.VolumeMount) int { return cmp.Compare(a.MountPath, b.MountPath) }
		slices.SortStableFunc(mounts, byPath)
		c.VolumeMounts = append(c.VolumeMounts, mounts...)
	}
	return c
}

// overlayVolumes are the volumes that the BuildCache adds.
func overlayVolumes(volumes []v1alpha1.PodVolume) []corev1.Volume {
	var out []corev1.Volume
	for _, v := range volumes {
		out = append(out, corev1.Volume{Name: v.Name, VolumeSource: corev1.VolumeSource{
			ConfigMap: v.ConfigMap, Secret: v.Secret, Projected: v.Projected,
			CSI: v.CSI, EmptyDir: v.EmptyDir, HostPath: v.HostPath,
		}})
	}
	return out
}

// AgentContainerID is the ID of the agent's container as the kubelet last reported it, empty before it has one.
func AgentContainerID(pod *corev1.Pod) string {
	for i := range pod.Status.ContainerStatuses {
		if c := &pod.Status.ContainerStatuses[i]; c.Name == containerAgent {
			return c.ContainerID
		}
	}
	return ""
}

// SetAgentImage changes the image of a pod's agent in place and notes which container has to go for it.
func SetAgentImage(pod *corev1.Pod, image string) {
	for i := range pod.Spec.Containers {
		if c := &pod.Spec.Containers[i]; c.Name == containerAgent {
			c.Image = image
		}
	}
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[v1alpha1.AnnotationAgentImage] = image
	pod.Annotations[v1alpha1.AnnotationReplacedAgent] = AgentContainerID(pod)
}
