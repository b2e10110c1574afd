// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// podWith is a pod on node n1 whose container waits for a reason.
func podWith(container, reason, message string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "c-0-0"}, Spec: corev1.PodSpec{NodeName: "n1"}}
	status := corev1.ContainerStatus{
		Name: container, Image: "image:1",
		State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
	}
	if container == containerBuildkitd {
		pod.Status.InitContainerStatuses = []corev1.ContainerStatus{status}
	} else {
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{status}
	}
	return pod
}

// ended adds how the pod's buildkitd ended last.
func ended(pod *corev1.Pod, code int32, reason, message string) *corev1.Pod {
	pod.Status.InitContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{
		ExitCode: code, Reason: reason, Message: message,
	}
	return pod
}

func unscheduledPod(message string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "c-0-0"}}
	pod.Status.Conditions = []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse,
		Reason: corev1.PodReasonUnschedulable, Message: message,
	}}
	return pod
}

func claimWith(phase corev1.PersistentVolumeClaimPhase, class *string) *corev1.PersistentVolumeClaim {
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "cache-c-0-0"}}
	claim.Spec.StorageClassName, claim.Status.Phase = class, phase
	return claim
}

// runningPod is a pod whose agent is ready as the kubelet last saw it, and whose Ready condition is as given.
func runningPod(ready corev1.ConditionStatus) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "c-0-0"}, Spec: corev1.PodSpec{NodeName: "n1"}}
	pod.Status.PodIP = "10.0.0.1"
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: containerAgent, Ready: true}}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
	return pod
}

// refused is the StatefulSet controller's event about a pod that the API server does not take.
func refused(cause string) Facts {
	return Facts{Events: map[string]string{
		"FailedCreate": "create Pod c-0-0 in StatefulSet c-0 failed error: pods \"c-0-0\" is forbidden: " + cause,
	}}
}

func failedPod(reason, message string) Facts {
	pod := &corev1.Pod{Spec: corev1.PodSpec{NodeName: "n1"}}
	return Facts{Pod: pod, Events: map[string]string{reason: message}}
}

type troubleCase struct {
	facts    Facts
	want     string // the reason, empty for no trouble
	userOnly bool
	says     string // part of the message
}

func TestPodsThatAreRefusedAreExplained(t *testing.T) {
	diagnoseAll(t, map[string]troubleCase{
		"no pod, nothing known": {Facts{}, "", false, ""},
		"Pod Security": {
			refused(`violates PodSecurity "restricted:latest": privileged (container "buildkitd" must not set ...)`),
			v1alpha1.ReasonPodSecurityRefused, true, "enforce=privileged",
		},
		"a quota that is used up": {
			refused("exceeded quota: q, requested: requests.cpu=1, used: requests.cpu=4, limited: requests.cpu=4"),
			v1alpha1.ReasonQuotaExceeded, true, "requests.cpu=4",
		},
		"a quota on what the pod does not say": {
			refused(
				"failed quota: q: must specify limits.cpu for: agent",
			), v1alpha1.ReasonQuotaExceeded, true, "limits.cpu",
		},
		"a LimitRange": {
			refused("maximum memory usage per Container is 1Gi, but limit is 4Gi"),
			v1alpha1.ReasonLimitRangeRefused, true, "1Gi",
		},
		"another admission": {
			refused(
				`admission webhook "p" denied the request: no`,
			), v1alpha1.ReasonPodRefused, true, "denied the request: no",
		},
		"an API server that does not answer": {
			Facts{
				Events: map[string]string{
					"FailedCreate": "create Pod c-0-0 in StatefulSet c-0 failed error: etcd timeout",
				},
			},
			v1alpha1.ReasonPodRefused, false, "etcd timeout",
		},
		"a service account that is on its way": {
			refused(`error looking up service account ns/c-agent: serviceaccount "c-agent" not found`), "", false, "",
		},
	})
}

func TestPodsThatDoNotStartAreExplained(t *testing.T) {
	backOff := ended(podWith(containerBuildkitd, "CrashLoopBackOff", "back-off 10s"), 1, "Error", "first\nlast words\n")
	diagnoseAll(t, map[string]troubleCase{
		"a pod that runs":      {Facts{Pod: runningPod(corev1.ConditionTrue)}, "", false, ""},
		"a pod that is new":    {Facts{Pod: &corev1.Pod{}}, "", false, ""},
		"a container to start": {Facts{Pod: podWith(containerAgent, "PodInitializing", "")}, "", false, ""},
		"no node": {
			Facts{Pod: unscheduledPod("0/3 nodes are available: 3 Insufficient memory.")},
			v1alpha1.ReasonUnschedulable, false, "Insufficient memory",
		},
		"an image that is not there": {
			Facts{Pod: podWith(containerBuildkitd, "ErrImagePull", "image:1: not found")},
			v1alpha1.ReasonImagePullFailed, true, "image:1",
		},
		"a registry that is away": {
			Facts{Pod: podWith(containerBuildkitd, "ImagePullBackOff", "dial tcp: connection refused")},
			v1alpha1.ReasonImagePullFailed, false, "connection refused",
		},
		"a name that is none": {
			Facts{Pod: podWith(containerAgent, "InvalidImageName", "")}, v1alpha1.ReasonImagePullFailed, true, "agent",
		},
		"a Secret that is not there": {
			Facts{Pod: podWith(containerAgent, "CreateContainerConfigError", `secret "s" not found`)},
			v1alpha1.ReasonContainerFailed, true, `secret "s" not found`,
		},
		"a container that can't be made": {
			Facts{Pod: podWith(containerAgent, "RunContainerError", "exec: no such file")},
			v1alpha1.ReasonContainerFailed, false, "no such file",
		},
		"a program that ends again and again": {
			Facts{Pod: backOff}, v1alpha1.ReasonCrashLoop, false, "exit code 1: last words",
		},
		"a program out of memory": {
			Facts{Pod: ended(podWith(containerBuildkitd, "CrashLoopBackOff", ""), 137, "OOMKilled", "")},
			v1alpha1.ReasonCrashLoop, false, "out of memory",
		},
		"a node without id-mapped mounts": {
			Facts{
				Pod: podWith(
					containerBuildkitd, "RunContainerError", "failed to set MOUNT_ATTR_IDMAP on /x: invalid argument",
				),
			},
			v1alpha1.ReasonUserNamespacesRefused, true, "n1",
		},
		"a runtime without user namespaces": {
			failedPod("FailedCreatePodSandBox", "the runtime does not support user namespaces"),
			v1alpha1.ReasonUserNamespacesRefused, true, "isolation: Privileged",
		},
		"a kernel that has no more of them": {
			Facts{Pod: ended(podWith(containerBuildkitd, "CrashLoopBackOff", ""), 1, "Error",
				"fork/exec /proc/self/exe: no space left on device")},
			v1alpha1.ReasonUserNamespacesRefused, true, "n1",
		},
		"a disk that is full is another matter": {
			Facts{Pod: ended(podWith(containerBuildkitd, "CrashLoopBackOff", ""), 1, "Error",
				"write /var/lib/buildkit/cache.db: no space left on device")},
			v1alpha1.ReasonCrashLoop, false, "cache.db",
		},
		"a sandbox that can't be made": {
			failedPod("FailedCreatePodSandBox", "no IP addresses available"),
			v1alpha1.ReasonContainerFailed, false, "no IP addresses",
		},
		"a node that is silent": {
			Facts{Pod: runningPod(corev1.ConditionFalse)}, v1alpha1.ReasonNodeLost, false, "n1",
		},
	})
}

func TestVolumesThatAreMissingAreExplained(t *testing.T) {
	pending := claimWith(corev1.ClaimPending, ptr.To("class"))
	diagnoseAll(t, map[string]troubleCase{
		"a claim that waits for its pod's node": {Facts{Pod: &corev1.Pod{}, Claim: pending}, "", false, ""},
		"a claim without a class": {
			Facts{Pod: &corev1.Pod{}, Claim: claimWith(corev1.ClaimPending, nil)},
			v1alpha1.ReasonVolumePending, true, "default",
		},
		"a class that is not there": {
			Facts{Pod: &corev1.Pod{}, Claim: pending, Events: map[string]string{
				"ProvisioningFailed": `storageclass.storage.k8s.io "class" not found`,
			}}, v1alpha1.ReasonVolumePending, true, "not found",
		},
		"a driver that fails": {
			Facts{Pod: &corev1.Pod{}, Claim: pending, Events: map[string]string{"ProvisioningFailed": "rpc: timeout"}},
			v1alpha1.ReasonVolumePending, false, "rpc: timeout",
		},
		"a volume that is gone": {
			Facts{Pod: &corev1.Pod{}, Claim: claimWith(corev1.ClaimLost, ptr.To("class"))},
			v1alpha1.ReasonVolumePending, true, "delete the BuildDaemon",
		},
		"a scheduler that waits for it": {
			Facts{
				Pod:   unscheduledPod("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."),
				Claim: pending,
			},
			v1alpha1.ReasonVolumePending, false, "unbound",
		},
		"a volume that is attached elsewhere": {
			failedPod("FailedAttachVolume", "Multi-Attach error"), v1alpha1.ReasonVolumePending, false, "Multi-Attach",
		},
	})
}

func diagnoseAll(t *testing.T, cases map[string]troubleCase) {
	t.Helper()
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := Diagnose(tc.facts)
			switch {
			case got == nil:
				if tc.want != "" {
					t.Errorf("no trouble is found, want %s", tc.want)
				}
			case got.Reason != tc.want || got.UserOnly != tc.userOnly || !strings.Contains(got.Message, tc.says):
				t.Errorf("trouble is %+v, want %s, user only %v, with %q", got, tc.want, tc.userOnly, tc.says)
			}
		})
	}
}

// TestEventsAreReadOnlyWhereTheyHelp holds down how often events are read: once a daemon runs, never.
func TestEventsAreReadOnlyWhereTheyHelp(t *testing.T) {
	for name, tc := range map[string]struct {
		facts    Facts
		wantKind string
		wantName string
	}{
		"without a pod":                 {Facts{}, "StatefulSet", "c-0"},
		"with a pod that runs":          {Facts{Pod: runningPod(corev1.ConditionTrue)}, "", ""},
		"with a pod that no node takes": {Facts{Pod: unscheduledPod("x")}, "", ""},
		"with a pod whose volume is missing": {
			Facts{Pod: &corev1.Pod{}, Claim: claimWith(corev1.ClaimPending, nil)}, "PersistentVolumeClaim",
			"cache-c-0-0",
		},
		"with a pod that does not start": {
			Facts{Pod: podWith(containerAgent, "ContainerCreating", "")}, "Pod", "c-0-0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if kind, of := tc.facts.Wants("c-0"); kind != tc.wantKind || of != tc.wantName {
				t.Errorf("events of %s %s are read, want %s %s", kind, of, tc.wantKind, tc.wantName)
			}
		})
	}
}
