// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/sizing"
)

// Images are what the daemon pods run; both non-empty.
type Images struct {
	// Operator holds the agent beside the manager.
	Operator string
	// BuildKit is the default for spec.buildkit.image.
	BuildKit string
}

// volume names of the daemon pod.
const (
	volumeCache  = "cache"
	volumeSocket = "socket"
	volumeConfig = "config"
	volumeToken  = "token"
	volumeTmp    = "tmp"
)

// desiredStatefulSet is the fleet: one pod a daemon, with buildkitd as a sidecar of the agent.
//
// buildkitd is an init container that keeps running (a native sidecar), so that a pod that must go ends in order: the
// agent is told first, waits for its builds while buildkitd still serves them, and only then is buildkitd told. A
// change of restart rolls the pods.
func desiredStatefulSet(cache *v1alpha1.BuildCache, images Images, restart string) *appsv1.StatefulSet {
	replicas := wantedReplicas(cache)
	return &appsv1.StatefulSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"},
		ObjectMeta: metav1.ObjectMeta{Name: cache.Name, Namespace: cache.Namespace, Labels: daemonLabels(cache)},
		Spec: appsv1.StatefulSetSpec{
			Replicas:            &replicas,
			PodManagementPolicy: appsv1.ParallelPodManagement, // daemons know nothing of one another
			Selector:            &metav1.LabelSelector{MatchLabels: daemonLabels(cache)},
			Template:            desiredPodTemplate(cache, images, restart),
			PersistentVolumeClaimRetentionPolicy: &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
				WhenScaled:  appsv1.PersistentVolumeClaimRetentionPolicyType(cache.Spec.Storage.Retention.WhenScaled),
				WhenDeleted: appsv1.PersistentVolumeClaimRetentionPolicyType(cache.Spec.Storage.Retention.WhenDeleted),
			},
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{
				ObjectMeta: metav1.ObjectMeta{Name: volumeCache, Labels: daemonLabels(cache)},
				Spec: corev1.PersistentVolumeClaimSpec{
					AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
					StorageClassName: cache.Spec.Storage.StorageClassName,
					Resources: corev1.VolumeResourceRequirements{
						Requests: corev1.ResourceList{corev1.ResourceStorage: sizing.VolumeSize(cache)},
					},
				},
			}},
		},
	}
}

func desiredPodTemplate(cache *v1alpha1.BuildCache, images Images, restart string) corev1.PodTemplateSpec {
	overlay := v1alpha1.PodTemplateOverlay{}
	if cache.Spec.PodTemplate != nil {
		overlay = *cache.Spec.PodTemplate
	}
	labels, annotations := map[string]string{}, map[string]string{}
	maps.Copy(labels, overlay.Metadata.Labels)
	maps.Copy(labels, daemonLabels(cache))
	maps.Copy(annotations, overlay.Metadata.Annotations)
	sum := sha256.Sum256([]byte(restart))
	annotations[v1alpha1.AnnotationConfigHash] = hex.EncodeToString(sum[:8])

	// A minute more than the agent waits, for its last reports and for buildkitd to end.
	graceSeconds := int64(cache.Spec.BuildKit.DrainTimeoutSeconds) + 60
	no, hostUsers := false, cache.Spec.BuildKit.Isolation == v1alpha1.IsolationPrivileged
	buildkitd, agent := buildkitContainer(cache, images), agentContainer(cache, images)
	for _, more := range overlay.Spec.Containers {
		for _, own := range []*corev1.Container{&buildkitd, &agent} {
			if own.Name == more.Name {
				overlayContainer(own, more)
			}
		}
	}
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: annotations},
		Spec: corev1.PodSpec{
			ServiceAccountName:            agentName(cache),
			AutomountServiceAccountToken:  &no, // only the agent's container gets a token, by a volume of its own
			EnableServiceLinks:            &no,
			HostUsers:                     &hostUsers,
			TerminationGracePeriodSeconds: &graceSeconds,
			NodeSelector:                  overlay.Spec.NodeSelector,
			Tolerations:                   overlay.Spec.Tolerations,
			Affinity:                      overlay.Spec.Affinity,
			PriorityClassName:             overlay.Spec.PriorityClassName,
			TopologySpreadConstraints:     spreadConstraints(cache, overlay.Spec.TopologySpreadConstraints),
			ImagePullSecrets:              overlay.Spec.ImagePullSecrets,
			RuntimeClassName:              overlay.Spec.RuntimeClassName,
			SchedulerName:                 overlay.Spec.SchedulerName,
			DNSPolicy:                     overlay.Spec.DNSPolicy,
			DNSConfig:                     overlay.Spec.DNSConfig,
			HostAliases:                   overlay.Spec.HostAliases,
			InitContainers:                []corev1.Container{buildkitd},
			Containers:                    []corev1.Container{agent},
			Volumes:                       append(podVolumes(cache), overlayVolumes(overlay.Spec.Volumes)...),
		},
	}
}

// overlayContainer adds what the BuildCache sets for a container of the operator's. Variables of the operator win.
func overlayContainer(c *corev1.Container, more v1alpha1.ContainerOverlay) {
	if len(more.Resources.Limits) > 0 || len(more.Resources.Requests) > 0 || len(more.Resources.Claims) > 0 {
		c.Resources = more.Resources
	}
	own := map[string]bool{}
	for _, e := range c.Env {
		own[e.Name] = true
	}
	for _, e := range more.Env {
		if !own[e.Name] {
			c.Env = append(c.Env, e)
		}
	}
	c.EnvFrom = append(c.EnvFrom, more.EnvFrom...)
	c.VolumeMounts = append(c.VolumeMounts, more.VolumeMounts...)
}

// overlayVolumes are the volumes that the BuildCache adds.
func overlayVolumes(volumes []v1alpha1.PodVolume) []corev1.Volume {
	var out []corev1.Volume
	for _, v := range volumes {
		out = append(out, corev1.Volume{Name: v.Name, VolumeSource: corev1.VolumeSource{
			ConfigMap: v.ConfigMap, Secret: v.Secret, Projected: v.Projected, CSI: v.CSI, EmptyDir: v.EmptyDir, HostPath: v.HostPath,
		}})
	}
	return out
}

// spreadConstraints puts daemons on different nodes where that is possible, unless the spec says otherwise.
func spreadConstraints(
	cache *v1alpha1.BuildCache,
	wanted []corev1.TopologySpreadConstraint,
) []corev1.TopologySpreadConstraint {
	if len(wanted) > 0 {
		return wanted
	}
	return []corev1.TopologySpreadConstraint{{
		MaxSkew:           1,
		TopologyKey:       corev1.LabelHostname,
		WhenUnsatisfiable: corev1.ScheduleAnyway,
		LabelSelector:     &metav1.LabelSelector{MatchLabels: daemonLabels(cache)},
	}}
}

func buildkitContainer(cache *v1alpha1.BuildCache, images Images) corev1.Container {
	image := cache.Spec.BuildKit.Image
	if image == "" {
		image = images.BuildKit
	}
	always, privileged := corev1.ContainerRestartPolicyAlways, true
	alive := corev1.ProbeHandler{
		Exec: &corev1.ExecAction{Command: []string{"buildctl", "--addr", "unix://" + socketPath, "debug", "workers"}},
	}
	return corev1.Container{
		Name:          "buildkitd",
		Image:         image,
		RestartPolicy: &always,
		// The volume comes up owned by root. Its second directory is the agent's, who is not root; an fsGroup would
		// do the same but also leave its group on every layer that buildkitd unpacks.
		Command: []string{
			"/bin/sh",
			"-c",
			fmt.Sprintf(
				"chown %d:%d %s && exec buildkitd --config %s/%s",
				agentUser,
				agentUser,
				agentState,
				configDir,
				configFile,
			),
		},
		// Privileged inside the pod's own user namespace, or on the node where spec.buildkit.isolation says so:
		// mounting overlayfs needs it.
		SecurityContext: &corev1.SecurityContext{Privileged: &privileged},
		StartupProbe: &corev1.Probe{
			ProbeHandler:     alive,
			PeriodSeconds:    1,
			FailureThreshold: 120,
			TimeoutSeconds:   10,
		},
		LivenessProbe: &corev1.Probe{ProbeHandler: alive, PeriodSeconds: 30, FailureThreshold: 4, TimeoutSeconds: 30},
		VolumeMounts: []corev1.VolumeMount{
			{Name: volumeCache, MountPath: buildkitRoot, SubPath: "buildkit"},
			{Name: volumeCache, MountPath: agentState, SubPath: "agent"},
			{Name: volumeSocket, MountPath: socketDir},
			{Name: volumeConfig, MountPath: configDir, ReadOnly: true},
		},
	}
}

func agentContainer(cache *v1alpha1.BuildCache, images Images) corev1.Container {
	yes, no := true, false
	user := int64(agentUser)
	probe := func(path string) corev1.ProbeHandler {
		return corev1.ProbeHandler{
			HTTPGet: &corev1.HTTPGetAction{
				Path:   path,
				Port:   intstr.FromInt32(healthPort),
				Scheme: corev1.URISchemeHTTP,
			},
		}
	}
	field := func(name, path string) corev1.EnvVar {
		return corev1.EnvVar{
			Name:      name,
			ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}},
		}
	}
	return corev1.Container{
		Name:    "agent",
		Image:   images.Operator,
		Command: []string{"/agent"},
		Args: []string{
			"--cache=" + cache.Name,
			"--namespace=$(POD_NAMESPACE)",
			"--daemon=$(POD_NAME)",
			"--pod-uid=$(POD_UID)",
			"--node=$(NODE_NAME)",
			"--buildkit-addr=unix://" + socketPath,
			"--state-dir=" + agentState,
			fmt.Sprintf("--health-addr=:%d", healthPort),
			fmt.Sprintf("--drain-timeout=%ds", cache.Spec.BuildKit.DrainTimeoutSeconds),
		},
		Env: []corev1.EnvVar{
			field("POD_NAME", "metadata.name"), field("POD_NAMESPACE", "metadata.namespace"),
			field("POD_UID", "metadata.uid"), field("NODE_NAME", "spec.nodeName"),
		},
		Ports: []corev1.ContainerPort{
			{Name: "health", ContainerPort: healthPort, Protocol: corev1.ProtocolTCP},
		},
		ReadinessProbe: &corev1.Probe{
			ProbeHandler:     probe("/readyz"),
			PeriodSeconds:    2,
			FailureThreshold: 3,
			TimeoutSeconds:   5,
		},
		LivenessProbe: &corev1.Probe{
			ProbeHandler:     probe("/healthz"),
			PeriodSeconds:    20,
			FailureThreshold: 3,
			TimeoutSeconds:   10,
		},
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
		}},
		SecurityContext: &corev1.SecurityContext{
			RunAsNonRoot:             &yes,
			RunAsUser:                &user,
			RunAsGroup:               &user,
			AllowPrivilegeEscalation: &no,
			ReadOnlyRootFilesystem:   &yes,
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		VolumeMounts: []corev1.VolumeMount{
			{Name: volumeCache, MountPath: agentState, SubPath: "agent"},
			{Name: volumeSocket, MountPath: socketDir},
			{Name: volumeToken, MountPath: tokenDir, ReadOnly: true},
			{Name: volumeTmp, MountPath: "/tmp"},
		},
	}
}

func podVolumes(cache *v1alpha1.BuildCache) []corev1.Volume {
	// An hour is the kubelet's own choice for service account tokens; it renews them in time.
	tokenSeconds := int64(3607)
	mode := int32(0o444)
	return []corev1.Volume{
		{Name: volumeSocket, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: volumeTmp, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: volumeConfig, VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: configName(cache)}, DefaultMode: &mode,
		}}},
		{Name: volumeToken, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			DefaultMode: &mode,
			Sources: []corev1.VolumeProjection{
				{
					ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
						Path:              "token",
						ExpirationSeconds: &tokenSeconds,
					},
				},
				{ConfigMap: &corev1.ConfigMapProjection{
					LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"},
					Items:                []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
				}},
				{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
					{
						Path:     "namespace",
						FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"},
					},
				}}},
			},
		}}},
	}
}
