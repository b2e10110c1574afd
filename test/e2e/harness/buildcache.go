// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// BuildCache is a fleet, not yet created, that knows the cluster's registries. It keeps its registry cache in
// Info.Registry, under the path repository: one that no earlier run has used, or its first builds are warm.
func (c *Cluster) BuildCache(namespace, name string, replicas int32, size, repository string) *v1alpha1.BuildCache {
	cache := &v1alpha1.BuildCache{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: v1alpha1.BuildCacheSpec{
			Replicas: &replicas,
			Storage:  v1alpha1.StorageSpec{Size: resource.MustParse(size)},
			Registry: &v1alpha1.RegistryCacheSpec{Repository: c.Info.Registry + "/" + repository},
		},
	}
	if !c.PlainHTTP {
		return cache
	}
	for _, registry := range []string{c.Info.Registry, c.Info.RegistryAuth} {
		if host, _, _ := strings.Cut(registry, "/"); host != "" {
			cache.Spec.BuildKit.Registries = append(cache.Spec.BuildKit.Registries,
				v1alpha1.RegistryHost{Host: host, Scheme: "HTTP"})
		}
	}
	return cache
}
