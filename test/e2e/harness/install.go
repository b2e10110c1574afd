// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
)

// Names of the installation, from config/default.
const (
	SystemNamespace = "hlb-system"
	ManagerName     = "hlb-operator"
)

// overlay puts the images of this checkout into config/default. JSON patches append flags, so that those in
// config/manager stay.
const (
	overlay = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [%s]
images:
  - name: ghcr.io/openllb/hlb-operator
    newName: %s
    digest: %s
patches:
  - target: {kind: Deployment, name: hlb-operator}
    patch: |
%s`
	argsPatch = `      - {op: add, path: /spec/template/spec/containers/0/args, value: ["--buildkit-image=%s"]}
`
)

// Install builds the images and applies config/default with them, then waits until the manager runs.
func (c *Cluster) Install(ctx context.Context) error {
	if err := c.BuildImages(ctx); err != nil {
		return err
	}
	dir := filepath.Join(c.root, "bin", "install")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	base, err := filepath.Rel(dir, filepath.Join(c.root, "config", "default"))
	if err != nil {
		return err
	}
	for name, text := range c.overlayFiles(base) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	c.logf("installing hlb-operator")
	if _, err := c.Kubectl(ctx, "", "apply", "--server-side", "--force-conflicts", "-k", dir); err != nil {
		return err
	}
	if err := c.WaitManager(ctx); err != nil || c.recording == nil {
		return err
	}
	return c.recording.removeOthers()
}

// overlayFiles are the files of the kustomization that puts the images of this checkout, and the recording if there is
// one, into the installation at base.
func (c *Cluster) overlayFiles(base string) map[string]string {
	name, digest, _ := strings.Cut(c.Images["operator"], "@")
	resources, patch := base, fmt.Sprintf(argsPatch, c.Images["buildkit"])
	files := map[string]string{}
	if r := c.recording; r != nil {
		resources += ", recording.yaml"
		patch += fmt.Sprintf(recordingPatch, r.run, recordingLimit)
		files["recording.yaml"] = fmt.Sprintf(recordingVolume, SystemNamespace, r.root)
	}
	files["kustomization.yaml"] = fmt.Sprintf(overlay, resources, name, digest, patch)
	return files
}

// WaitManager waits until the manager's Deployment is rolled out.
func (c *Cluster) WaitManager(ctx context.Context) error {
	return Eventually(ctx, 3*time.Minute, "the manager runs", func(ctx context.Context) (bool, error) {
		d := &appsv1.Deployment{}
		if err := c.Client.Get(ctx, types.NamespacedName{Namespace: SystemNamespace, Name: ManagerName},
			d); err != nil {
			return false, err
		}
		return d.Status.ObservedGeneration == d.Generation && d.Status.UpdatedReplicas == *d.Spec.Replicas &&
			d.Status.AvailableReplicas == *d.Spec.Replicas && d.Status.Replicas == *d.Spec.Replicas, nil
	})
}

// Leader is the name of the manager's pod that leads.
func (c *Cluster) Leader(ctx context.Context) (string, error) {
	lease := &coordinationv1.Lease{}
	key := types.NamespacedName{Namespace: SystemNamespace, Name: "hlb-operator.build.openllb.dev"}
	if err := c.Client.Get(ctx, key, lease); err != nil {
		return "", err
	}
	pod, _, found := strings.Cut(ptr.Deref(lease.Spec.HolderIdentity, ""), "_")
	if !found {
		return "", errors.New("no manager leads")
	}
	return pod, nil
}

// Eventually polls until the condition holds. Errors of single looks are remembered and told if time runs out.
func Eventually(ctx context.Context, timeout time.Duration, what string,
	condition func(context.Context) (bool, error)) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, timeout, true,
		func(ctx context.Context) (bool, error) {
			ok, err := condition(ctx)
			if err != nil {
				last = err
			}
			return ok && err == nil, nil
		})
	if err != nil && last != nil {
		return fmt.Errorf("waiting until %s: %w (last error: %w)", what, err, last)
	}
	if err != nil {
		return fmt.Errorf("waiting until %s: %w", what, err)
	}
	return nil
}

// WaitCache waits until a BuildCache is Ready in its current generation.
func (c *Cluster) WaitCache(ctx context.Context, cache *v1alpha1.BuildCache) error {
	return Eventually(ctx, 5*time.Minute, "BuildCache "+cache.Name+" is Ready",
		func(ctx context.Context) (bool, error) {
			if err := c.Client.Get(ctx, client.ObjectKeyFromObject(cache), cache); err != nil {
				return false, err
			}
			return cache.Status.ObservedGeneration == cache.Generation &&
				meta.IsStatusConditionTrue(cache.Status.Conditions, v1alpha1.ConditionReady), nil
		})
}

// WaitBuild waits until the run of a build's current generation has ended, well or not, by a watch: the instant counts.
func (c *Cluster) WaitBuild(ctx context.Context, build *v1alpha1.HLBBuild, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	list := &v1alpha1.HLBBuildList{}
	watch, err := c.Client.Watch(ctx, list, client.InNamespace(build.Namespace),
		client.MatchingFields{"metadata.name": build.Name})
	if err != nil {
		return fmt.Errorf("watch HLBBuild %s: %w", build.Name, err)
	}
	defer watch.Stop()
	for event := range watch.ResultChan() {
		seen, ok := event.Object.(*v1alpha1.HLBBuild)
		if !ok {
			continue
		}
		if seen.Generation >= build.Generation && seen.Status.ObservedGeneration == seen.Generation &&
			!status.NeedsRun(seen) && status.IsFinal(seen) {
			*build = *seen
			return nil
		}
		*build = *seen
	}
	return fmt.Errorf("HLBBuild %s did not end within %s; its status: %s", build.Name, timeout, Describe(build))
}

// Describe is a build's Ready condition in a line.
func Describe(build *v1alpha1.HLBBuild) string {
	ready := meta.FindStatusCondition(build.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil {
		return "no Ready condition yet"
	}
	text := fmt.Sprintf("Ready=%s %s: %s", ready.Status, ready.Reason, ready.Message)
	if f := build.Status.Failure; f != nil {
		text += "\n" + f.LogTail
		for _, d := range f.Diagnostics {
			text += fmt.Sprintf("\n%s:%d:%d: %s: %s", d.File, d.Line, d.Column, d.Code, d.Message)
		}
	}
	return text
}

// PodLogs waits until a pod has succeeded and returns what it printed.
func (c *Cluster) PodLogs(ctx context.Context, namespace, name string) (string, error) {
	err := Eventually(ctx, 3*time.Minute, "pod "+name+" has ended", func(ctx context.Context) (bool, error) {
		pod := &corev1.Pod{}
		if err := c.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, pod); err != nil {
			return false, err
		}
		return pod.Status.Phase == corev1.PodSucceeded, nil
	})
	if err != nil {
		return "", err
	}
	return c.Kubectl(ctx, "", "-n", namespace, "logs", name)
}

// DeleteNamespace removes a namespace and waits until it is gone.
func (c *Cluster) DeleteNamespace(ctx context.Context, name string) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := c.Client.Delete(ctx, ns); err != nil {
		return client.IgnoreNotFound(err)
	}
	return Eventually(ctx, 5*time.Minute, "namespace "+name+" is gone", func(ctx context.Context) (bool, error) {
		err := c.Client.Get(ctx, client.ObjectKeyFromObject(ns), ns)
		return err != nil && client.IgnoreNotFound(err) == nil, client.IgnoreNotFound(err)
	})
}
