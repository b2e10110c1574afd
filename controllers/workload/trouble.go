// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
)

// Facts are what is known of a daemon that should run.
type Facts struct {
	// Pod is nil when there is none.
	Pod *corev1.Pod
	// Claim is nil when there is none.
	Claim *corev1.PersistentVolumeClaim
	// Events are the newest messages of the object that Wants names, by their reason.
	Events map[string]string
}

// Reasons of events that components of Kubernetes send.
const (
	eventFailedCreate       = "FailedCreate"           // StatefulSet controller, of its pod
	eventProvisioningFailed = "ProvisioningFailed"     // volume controller, of the claim
	eventFailedSandbox      = "FailedCreatePodSandBox" // kubelet, of the pod
	eventFailedMount        = "FailedMount"            // kubelet
	eventFailedAttach       = "FailedAttachVolume"     // attach controller
)

// Wants names the object whose Warning events say why the daemon does not come up, empty when nothing but the pod's
// status does.
func (f *Facts) Wants(daemon string) (kind, name string) {
	switch {
	case f.Pod == nil:
		return "StatefulSet", daemon
	case !f.Pod.DeletionTimestamp.IsZero():
		return "", ""
	case f.Pod.Spec.NodeName == "" && f.Claim != nil && f.Claim.Status.Phase == corev1.ClaimPending:
		return "PersistentVolumeClaim", f.Claim.Name
	case f.Pod.Spec.NodeName != "" && f.Pod.Status.PodIP == "":
		return "Pod", f.Pod.Name // on its node, but without a sandbox or its volumes
	default:
		return "", ""
	}
}

// Diagnose finds why the daemon's pod does not come up, nil when nothing stands in its way, as far as is known.
func Diagnose(f Facts) *status.Trouble {
	if f.Pod == nil {
		return refusedPod(f.Events[eventFailedCreate])
	}
	if !f.Pod.DeletionTimestamp.IsZero() {
		return lostNode(f.Pod)
	}
	for _, find := range []func(*Facts) *status.Trouble{failedVolume, unscheduled, failedSandbox, failedContainer} {
		if t := find(&f); t != nil {
			return t
		}
	}
	return lostNode(f.Pod)
}

// refusedPod reads the StatefulSet controller's event about a pod that the API server did not take.
func refusedPod(message string) *status.Trouble {
	if message == "" || strings.Contains(message, "error looking up service account") {
		return nil // the service account is about to be made
	}
	_, cause, found := strings.Cut(message, " failed error: ")
	if !found {
		cause = message
	}
	t := &status.Trouble{Reason: v1alpha1.ReasonPodRefused, Message: "The pod is refused: " + cause, UserOnly: true}
	switch {
	case strings.Contains(cause, "violates PodSecurity"):
		t.Reason = v1alpha1.ReasonPodSecurityRefused
		t.Message = "Pod Security refuses the pod; " +
			"label the namespace pod-security.kubernetes.io/enforce=privileged: " + cause
	case strings.Contains(cause, "exceeded quota"), strings.Contains(cause, "failed quota"):
		t.Reason, t.Message = v1alpha1.ReasonQuotaExceeded, "A ResourceQuota refuses the pod: "+cause
	case isOfLimitRange(cause):
		t.Reason, t.Message = v1alpha1.ReasonLimitRangeRefused, "A LimitRange refuses the pod: "+cause
	case !strings.Contains(cause, "is forbidden") && !strings.Contains(cause, "denied the request") &&
		!strings.Contains(cause, "is invalid"):
		t.UserOnly = false // a time-out, a conflict, a webhook that does not answer
	}
	return t
}

// isOfLimitRange reports whether a refusal is a LimitRange's, as in "minimum memory usage per Container is 1Gi".
func isOfLimitRange(cause string) bool {
	for _, of := range []string{" usage per Container is ", " usage per Pod is ", " limit to request ratio per "} {
		if strings.Contains(cause, of) {
			return true
		}
	}
	return false
}

// failedVolume finds a claim that gets no volume. One that waits for its pod to be scheduled is as it should be.
func failedVolume(f *Facts) *status.Trouble {
	if f.Pod.Spec.NodeName == "" && f.Claim != nil && f.Claim.Status.Phase != corev1.ClaimBound {
		switch {
		case f.Claim.Status.Phase == corev1.ClaimLost:
			return &status.Trouble{Reason: v1alpha1.ReasonVolumePending, UserOnly: true, Message: fmt.Sprintf(
				"The volume of claim %s is gone: delete the BuildDaemon to have it made anew", f.Claim.Name)}
		case f.Events[eventProvisioningFailed] != "":
			message := f.Events[eventProvisioningFailed]
			return &status.Trouble{
				Reason:   v1alpha1.ReasonVolumePending,
				Message:  fmt.Sprintf("Claim %s gets no volume: %s", f.Claim.Name, message),
				UserOnly: strings.Contains(message, "not found"), // the storage class
			}
		case f.Claim.Spec.StorageClassName == nil:
			return &status.Trouble{Reason: v1alpha1.ReasonVolumePending, UserOnly: true, Message: fmt.Sprintf(
				"Claim %s gets no volume: it names no storage class, and the cluster has no default one", f.Claim.Name)}
		}
	}
	for _, reason := range []string{eventFailedMount, eventFailedAttach} {
		if message := f.Events[reason]; message != "" {
			return &status.Trouble{
				Reason: v1alpha1.ReasonVolumePending, Message: "A volume of the pod can't be mounted: " + message,
			}
		}
	}
	return nil
}

// unscheduled reads the scheduler's verdict.
func unscheduled(f *Facts) *status.Trouble {
	for _, c := range f.Pod.Status.Conditions {
		if c.Type != corev1.PodScheduled || c.Status != corev1.ConditionFalse ||
			c.Reason != corev1.PodReasonUnschedulable {
			continue
		}
		t := &status.Trouble{Reason: v1alpha1.ReasonUnschedulable, Message: "No node takes the pod: " + c.Message}
		if strings.Contains(c.Message, "unbound immediate PersistentVolumeClaims") {
			t.Reason = v1alpha1.ReasonVolumePending
		}
		return t
	}
	return nil
}

// failedSandbox reads the kubelet's event about a pod whose sandbox can't be made.
func failedSandbox(f *Facts) *status.Trouble {
	message := f.Events[eventFailedSandbox]
	switch {
	case message == "":
		return nil
	case isOfUserNamespaces(message):
		return noUserNamespaces(f.Pod, message)
	default:
		return &status.Trouble{
			Reason:  v1alpha1.ReasonContainerFailed,
			Message: fmt.Sprintf("Node %s can't start the pod: %s", f.Pod.Spec.NodeName, message),
		}
	}
}

// lostNode finds a node that no longer answers: the control plane has taken back the pod's readiness, and its agent,
// as the kubelet last saw it, is ready.
func lostNode(pod *corev1.Pod) *status.Trouble {
	ready := false
	for _, c := range pod.Status.ContainerStatuses {
		ready = ready || c.Name == containerAgent && c.Ready
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status != corev1.ConditionTrue && ready {
			return &status.Trouble{Reason: v1alpha1.ReasonNodeLost, Message: fmt.Sprintf(
				"Node %s does not answer; if it is gone for good, delete the BuildDaemon to have it made anew",
				pod.Spec.NodeName)}
		}
	}
	return nil
}
