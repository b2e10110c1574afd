// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// volume names of the daemon pod.
const (
	volumeCache  = "cache"
	volumeSocket = "socket"
	volumeConfig = "config"
	volumeToken  = "token"
	volumeTmp    = "tmp"
	// volumeNetwork exists unless steps share the pod's network.
	volumeNetwork = "network"
)

// livenessGraceSeconds is how long a buildkitd that is to be restarted has to end: what it runs was given up already,
// and one that is stuck does not hear. The pod's own grace period is for its builds.
const livenessGraceSeconds = 5

// buildkitContainer is the daemon.
func buildkitContainer(cache *v1alpha1.BuildCache, images Images) corev1.Container {
	image := cache.Spec.BuildKit.Image
	if image == "" {
		image = images.BuildKit
	}
	probeGrace := int64(livenessGraceSeconds)
	// The agent's checks are finer than any probe's; a probe of its own finds a buildkitd that no agent looks after.
	wanted := corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{
		"/bin/sh", "-c",
		fmt.Sprintf("test ! -e %s && exec buildctl --addr unix://%s debug workers >/dev/null", restartFile, socketPath),
	}}}
	always := corev1.ContainerRestartPolicyAlways
	alive := corev1.ProbeHandler{
		Exec: &corev1.ExecAction{Command: []string{"buildctl", "--addr", "unix://" + socketPath, "debug", "workers"}},
	}
	mounts := []corev1.VolumeMount{
		{Name: volumeCache, MountPath: buildkitRoot, SubPath: "buildkit"},
		{Name: volumeCache, MountPath: agentState, SubPath: "agent"},
		{Name: volumeSocket, MountPath: socketDir},
		{Name: volumeConfig, MountPath: configDir, ReadOnly: true},
	}
	return corev1.Container{
		Name:          containerBuildkitd,
		Image:         image,
		RestartPolicy: &always,
		// what it said last stands in the pod's status, and from there in the BuildDaemon's
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		Command:                  []string{"/bin/sh", "-c", daemonCommand(cache)},
		// Privileged inside the pod's own user namespace, or on the node where spec.buildkit.isolation says so:
		// mounting overlayfs needs it.
		SecurityContext: &corev1.SecurityContext{Privileged: ptr.To(true)},
		StartupProbe: &corev1.Probe{
			ProbeHandler:     alive,
			PeriodSeconds:    1,
			FailureThreshold: 120,
			TimeoutSeconds:   10,
		},
		LivenessProbe: &corev1.Probe{
			ProbeHandler: wanted, PeriodSeconds: 10, FailureThreshold: 3, TimeoutSeconds: 30,
			TerminationGracePeriodSeconds: &probeGrace,
		},
		VolumeMounts: append(mounts, networkMounts(cache)...),
	}
}

// agentContainer is the agent, but for the name of its daemon. Whatever is added here replaces every pod of every fleet
// at the operator's next upgrade.
func agentContainer(cache *v1alpha1.BuildCache, images Images) corev1.Container {
	mounts := []corev1.VolumeMount{
		{Name: volumeCache, MountPath: agentState, SubPath: "agent"},
		{Name: volumeSocket, MountPath: socketDir},
		{Name: volumeToken, MountPath: tokenDir, ReadOnly: true},
		{Name: volumeTmp, MountPath: "/tmp"},
	}
	args := []string{}
	if networkMode(cache) != v1alpha1.NetworkPod {
		args = append(args, "--network-dir="+networkDir)
	}
	return corev1.Container{
		Name:                     containerAgent,
		Image:                    images.Operator,
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		Command:                  []string{"/agent"},
		Args: append([]string{
			"--cache=" + cache.Name,
			"--namespace=$(POD_NAMESPACE)",
			"--pod-uid=$(POD_UID)",
			"--node=$(NODE_NAME)",
			"--buildkit-addr=unix://" + socketPath,
			"--state-dir=" + agentState,
			"--restart-file=" + restartFile,
			"--memory-bytes=$(MEMORY_BYTES)",
			"--daemon-memory-bytes=$(DAEMON_MEMORY_BYTES)",
			fmt.Sprintf("--health-addr=:%d", healthPort),
			fmt.Sprintf("--drain-timeout=%ds", cache.Spec.BuildKit.DrainTimeoutSeconds),
		}, args...),
		Env: agentEnv(),
		Ports: []corev1.ContainerPort{
			{Name: "health", ContainerPort: healthPort, Protocol: corev1.ProtocolTCP},
		},
		ReadinessProbe: &corev1.Probe{
			ProbeHandler:     agentProbe("/readyz"),
			PeriodSeconds:    2,
			FailureThreshold: 3,
			TimeoutSeconds:   5,
		},
		LivenessProbe: &corev1.Probe{
			ProbeHandler:     agentProbe("/healthz"),
			PeriodSeconds:    20,
			FailureThreshold: 3,
			TimeoutSeconds:   10,
		},
		Resources:       agentResources(),
		SecurityContext: agentSecurity(),
		VolumeMounts:    append(mounts, networkMounts(cache)...),
	}
}

// agentEnv is what the agent knows of its pod. The memory of a container without a limit is that of the node.
func agentEnv() []corev1.EnvVar {
	field := func(name, path string) corev1.EnvVar {
		return corev1.EnvVar{
			Name:      name,
			ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}},
		}
	}
	memory := func(name, container string) corev1.EnvVar {
		limit := &corev1.ResourceFieldSelector{
			ContainerName: container, Resource: "limits.memory", Divisor: resource.MustParse("1"),
		}
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: limit}}
	}
	return []corev1.EnvVar{
		field("POD_NAMESPACE", "metadata.namespace"),
		field("POD_UID", "metadata.uid"),
		field("NODE_NAME", "spec.nodeName"),
		memory("MEMORY_BYTES", containerAgent),
		memory("DAEMON_MEMORY_BYTES", containerBuildkitd),
	}
}

// agentResources bound the memory of the agent and of the processes in which it compiles. There is no limit of
// processor time: a throttled agent would lose its Lease. Its children have a limit each, and give way.
func agentResources() corev1.ResourceRequirements {
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
		},
		Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("2Gi")},
	}
}

func agentProbe(path string) corev1.ProbeHandler {
	return corev1.ProbeHandler{
		HTTPGet: &corev1.HTTPGetAction{
			Path:   path,
			Port:   intstr.FromInt32(healthPort),
			Scheme: corev1.URISchemeHTTP,
		},
	}
}

// agentSecurity satisfies the Pod Security level restricted.
func agentSecurity() *corev1.SecurityContext {
	return &corev1.SecurityContext{
		RunAsNonRoot:             ptr.To(true),
		RunAsUser:                ptr.To[int64](agentUser),
		RunAsGroup:               ptr.To[int64](agentUser),
		AllowPrivilegeEscalation: ptr.To(false),
		ReadOnlyRootFilesystem:   ptr.To(true),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

// podVolumes are the volumes beside the claim, which the StatefulSet adds.
func podVolumes(cache string) []corev1.Volume {
	// An hour is the kubelet's own choice for service account tokens; it renews them in time.
	tokenSeconds := int64(3607)
	mode := int32(0o444)
	return []corev1.Volume{
		{Name: volumeSocket, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: volumeTmp, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: volumeConfig, VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: ConfigName(cache)}, DefaultMode: &mode,
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
