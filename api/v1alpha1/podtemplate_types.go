// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// UpdateStrategy bounds a roll-out.
type UpdateStrategy struct {
	// maxUnavailable is how many daemons, or which percentage of them rounded up, may be out of service for a roll-out
	// at once. Idle daemons and those of the least worth are replaced first.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 1 : self.matches('^([1-9][0-9]?|100)%$')",message="maxUnavailable is a number of daemons from 1, or a percentage from 1% to 100%"
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`
}

// QueueSpec is the weight of a queue.
type QueueSpec struct {
	// name of the queue, as in HLBBuild's spec.queue; empty for builds without one.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// weight of the queue's share among the queues that have builds waiting: one of weight 3 gets three times the
	// slot-seconds of one of weight 1.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Weight int32 `json:"weight"`
}

// PodTemplateOverlay adds to the daemons' pods what the operator leaves to the cluster's admin.
type PodTemplateOverlay struct {
	// metadata added to the pods; the operator's own labels and annotations win.
	// +optional
	Metadata PodMetadata `json:"metadata,omitempty"`
	// spec added to the pods'.
	// +optional
	Spec PodSpecOverlay `json:"spec,omitempty"`
}

// PodMetadata is metadata of pods.
type PodMetadata struct {
	// labels of the pods.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Labels map[string]string `json:"labels,omitempty"`
	// annotations of the pods.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Annotations map[string]string `json:"annotations,omitempty"`
}

// PodSpecOverlay is the part of a PodSpec that can be set, at PodSpec's own paths.
type PodSpecOverlay struct {
	// nodeSelector of the pods.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// tolerations of the pods.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// affinity of the pods.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`
	// topologySpreadConstraints of the pods. Unset: daemons spread over nodes where they can.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`
	// priorityClassName of the pods.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	PriorityClassName string `json:"priorityClassName,omitempty"`
	// imagePullSecrets for the images of the pods.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`
	// runtimeClassName of the pods.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	RuntimeClassName *string `json:"runtimeClassName,omitempty"`
	// schedulerName of the pods. Unset: the cluster's default scheduler.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	SchedulerName string `json:"schedulerName,omitempty"`
	// dnsPolicy of the pods. Unset: ClusterFirst.
	// +optional
	// +kubebuilder:validation:Enum=ClusterFirst;Default;None
	DNSPolicy corev1.DNSPolicy `json:"dnsPolicy,omitempty"`
	// dnsConfig of the pods.
	// +optional
	DNSConfig *corev1.PodDNSConfig `json:"dnsConfig,omitempty"`
	// hostAliases of the pods.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	HostAliases []corev1.HostAlias `json:"hostAliases,omitempty"`
	// volumes added to the pods. The names cache, socket, config, token, tmp and network are
	// the operator's.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:XValidation:rule="!self.exists(v, v.name in ['cache', 'socket', 'config', 'token', 'tmp', 'network'])",message="the volumes cache, socket, config, token, tmp and network are the operator's: choose other names"
	Volumes []PodVolume `json:"volumes,omitempty"`
	// containers are additions to the operator's containers: buildkitd, in which build steps run, agent, and network,
	// which runs before both.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=3
	Containers []ContainerOverlay `json:"containers,omitempty"`
}

// PodVolume is a volume of a pod, of the kinds that configuration and credentials come from.
//
// +kubebuilder:validation:XValidation:rule="[has(self.configMap), has(self.secret), has(self.projected), has(self.csi), has(self.emptyDir), has(self.hostPath)].filter(x, x).size() == 1",message="give exactly one kind of volume: configMap, secret, projected, csi, emptyDir or hostPath"
type PodVolume struct {
	// name by which volumeMounts refer to the volume.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// configMap of the BuildCache's namespace.
	// +optional
	ConfigMap *corev1.ConfigMapVolumeSource `json:"configMap,omitempty"`
	// secret of the BuildCache's namespace.
	// +optional
	Secret *corev1.SecretVolumeSource `json:"secret,omitempty"`
	// projected volume: several sources in one directory, service account tokens included.
	// +optional
	Projected *corev1.ProjectedVolumeSource `json:"projected,omitempty"`
	// csi is an ephemeral volume of a CSI driver.
	// +optional
	CSI *corev1.CSIVolumeSource `json:"csi,omitempty"`
	// emptyDir is scratch space that lives as long as the pod.
	// +optional
	EmptyDir *corev1.EmptyDirVolumeSource `json:"emptyDir,omitempty"`
	// hostPath is a directory or file of the node.
	// +optional
	HostPath *corev1.HostPathVolumeSource `json:"hostPath,omitempty"`
}

// ContainerOverlay is the part of a container that can be set.
type ContainerOverlay struct {
	// name of the container: buildkitd, agent or network.
	// +required
	// +kubebuilder:validation:Enum=buildkitd;agent;network
	Name string `json:"name"`
	// resources of the container. Those of buildkitd hold for all build steps together.
	// +optional
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`
	// env added to the container; the operator's own variables win.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Env []corev1.EnvVar `json:"env,omitempty"`
	// envFrom added to the container.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	EnvFrom []corev1.EnvFromSource `json:"envFrom,omitempty"`
	// volumeMounts added to the container.
	// +optional
	// +listType=map
	// +listMapKey=mountPath
	// +kubebuilder:validation:MaxItems=32
	VolumeMounts []corev1.VolumeMount `json:"volumeMounts,omitempty"`
}
