// SPDX-License-Identifier: Apache-2.0

package buildcache

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/workload"
)

// desiredDaemon is a BuildDaemon as it is made. It does not mention what the plan, placement and users set later.
func desiredDaemon(cache *v1alpha1.BuildCache, ordinal int32) *v1alpha1.BuildDaemon {
	return &v1alpha1.BuildDaemon{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "BuildDaemon"},
		ObjectMeta: objectMeta(cache, workload.DaemonName(cache.Name, ordinal)),
		Spec: v1alpha1.BuildDaemonSpec{
			CacheRef: v1alpha1.LocalObjectReference{Name: cache.Name}, Ordinal: ordinal,
		},
	}
}

// reportableDaemons lists the daemons that agents of the cache may report on: those that exist and those about to be
// made, sorted. It is never empty, because an empty list of names in a Role means all of them.
func reportableDaemons(s *snapshot, p *plan) []string {
	names := []string{workload.DaemonName(s.cache.Name, 0)}
	for _, d := range s.daemons {
		names = append(names, d.Name)
	}
	for _, ordinal := range p.create {
		names = append(names, workload.DaemonName(s.cache.Name, ordinal))
	}
	slices.Sort(names)
	return slices.Compact(names)
}
