// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
)

// Reasons for which a container waits, as kubelets give them.
const (
	waitsInvalidImage = "InvalidImageName"
	waitsCrashLoop    = "CrashLoopBackOff"
)

// failedContainer finds a container that does not start or does not stay.
func failedContainer(f *Facts) *status.Trouble {
	all := slices.Concat(f.Pod.Status.InitContainerStatuses, f.Pod.Status.ContainerStatuses)
	for i := range all {
		c := &all[i]
		if c.State.Waiting == nil {
			continue
		}
		if t := waitingContainer(f.Pod, c); t != nil {
			return t
		}
	}
	return nil
}

func waitingContainer(pod *corev1.Pod, c *corev1.ContainerStatus) *status.Trouble {
	reason, message := c.State.Waiting.Reason, c.State.Waiting.Message
	switch reason {
	case "ErrImagePull", "ImagePullBackOff", waitsInvalidImage, "ErrImageNeverPull", "ImageInspectError",
		"RegistryUnavailable", "SignatureValidationFailed":
		return &status.Trouble{
			Reason:   v1alpha1.ReasonImagePullFailed,
			Message:  fmt.Sprintf("Image %s of %s can't be pulled: %s", c.Image, c.Name, orElse(message, reason)),
			UserOnly: reason == waitsInvalidImage || isRefusedPull(message),
		}
	case "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
		if isOfUserNamespaces(message) {
			return noUserNamespaces(pod, message)
		}
		return &status.Trouble{
			Reason:   v1alpha1.ReasonContainerFailed,
			Message:  fmt.Sprintf("Container %s can't be started: %s", c.Name, orElse(message, reason)),
			UserOnly: reason == "CreateContainerConfigError", // a Secret or ConfigMap that is not there
		}
	case waitsCrashLoop:
		return crashLoop(pod, c)
	default:
		return nil
	}
}

// crashLoop reads how the container ended last.
func crashLoop(pod *corev1.Pod, c *corev1.ContainerStatus) *status.Trouble {
	last := c.LastTerminationState.Terminated
	if last == nil {
		return &status.Trouble{
			Reason: v1alpha1.ReasonCrashLoop, Message: fmt.Sprintf("Container %s ends again and again", c.Name),
		}
	}
	if isOfUserNamespaces(last.Message) {
		return noUserNamespaces(pod, lastLine(last.Message))
	}
	how := fmt.Sprintf("with exit code %d", last.ExitCode)
	if last.Reason == "OOMKilled" {
		how += ", out of memory"
	}
	return &status.Trouble{
		Reason: v1alpha1.ReasonCrashLoop,
		Message: strings.TrimSuffix(
			fmt.Sprintf("Container %s ends again and again %s: %s", c.Name, how, lastLine(last.Message)), ": "),
	}
}

// isRefusedPull reports whether a registry refuses an image for good: it has none of that name, or not for these
// credentials.
func isRefusedPull(message string) bool {
	lower := strings.ToLower(message)
	return slices.ContainsFunc(
		[]string{"not found", "unauthorized", "denied", "401", "403", "404", "authorization failed"},
		func(of string) bool { return strings.Contains(lower, of) },
	)
}

// isOfUserNamespaces reports whether a runtime or a program has failed for want of user namespaces or of idmapped
// mounts. "no space left on device" is what the kernel says of user namespaces beyond user.max_user_namespaces.
func isOfUserNamespaces(message string) bool {
	lower := strings.ToLower(message)
	for _, of := range []string{"user namespace", "userns", "idmap", "id-mapped", "id mapped", "mount_attr_idmap"} {
		if strings.Contains(lower, of) {
			return true
		}
	}
	return strings.Contains(lower, "no space left on device") && slices.ContainsFunc(
		[]string{"unshare", "clone", "fork/exec", "nsexec", "newuser"},
		func(of string) bool { return strings.Contains(lower, of) },
	)
}

func noUserNamespaces(pod *corev1.Pod, cause string) *status.Trouble {
	return &status.Trouble{
		Reason:   v1alpha1.ReasonUserNamespacesRefused,
		UserOnly: true,
		Message: fmt.Sprintf("Node %s can't run the pod in a user namespace; choose other nodes, or "+
			"spec.buildkit.isolation: Privileged: %s", pod.Spec.NodeName, cause),
	}
}

// lastLine is the last line of a text that is not empty.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
