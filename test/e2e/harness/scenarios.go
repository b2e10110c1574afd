// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// IsNamed reports whether a scenario's name holds one of some texts, comma-separated.
func IsNamed(name, texts string) bool {
	return slices.ContainsFunc(strings.Split(texts, ","), func(s string) bool { return strings.Contains(name, s) })
}

// WriteReport writes a report as JSON, to no file if that is empty.
func WriteReport(file string, report any) error {
	if file == "" {
		return nil
	}
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// LimitMemory bounds the memory of a fleet's buildkitd containers.
func LimitMemory(cache *v1alpha1.BuildCache, limit string) {
	limits := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(limit)}
	cache.Spec.PodTemplate = &v1alpha1.PodTemplateOverlay{Spec: v1alpha1.PodSpecOverlay{
		Containers: []v1alpha1.ContainerOverlay{
			{Name: "buildkitd", Resources: corev1.ResourceRequirements{Limits: limits}},
		},
	}}
}

// Ended waits until a build's run has ended, or returns false. It asks on while there is no API server.
func (c *Cluster) Ended(ctx context.Context, b *v1alpha1.HLBBuild, within time.Duration) bool {
	err := Eventually(ctx, within, b.Name+" ends", func(ctx context.Context) (bool, error) {
		if err := c.Client.Get(ctx, client.ObjectKeyFromObject(b), b); err != nil {
			return false, nil //nolint:nilerr // the API server may be the fault
		}
		return meta.IsStatusConditionTrue(b.Status.Conditions, v1alpha1.ConditionFinished), nil
	})
	return err == nil
}
