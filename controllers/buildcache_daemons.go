// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"slices"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// desiredDaemons lists a BuildDaemon for each ordinal that the spec asks for. Those beyond that exist already stay
// while their volume does.
func desiredDaemons(cache *v1alpha1.BuildCache) []*v1alpha1.BuildDaemon {
	daemons := make([]*v1alpha1.BuildDaemon, 0, wantedReplicas(cache))
	for ordinal := range wantedReplicas(cache) {
		daemons = append(daemons, &v1alpha1.BuildDaemon{
			TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "BuildDaemon"},
			ObjectMeta: objectMeta(cache, daemonName(cache.Name, ordinal)),
			Spec:       v1alpha1.BuildDaemonSpec{CacheRef: v1alpha1.LocalObjectReference{Name: cache.Name}, Ordinal: ordinal},
		})
	}
	return daemons
}

// desiredLease is the Lease that a daemon's agent renews. Its spec is the agent's.
func desiredLease(daemon *v1alpha1.BuildDaemon) *coordinationv1.Lease {
	return &coordinationv1.Lease{
		TypeMeta: metav1.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"},
		ObjectMeta: metav1.ObjectMeta{
			Name: daemon.Name, Namespace: daemon.Namespace, Labels: map[string]string{v1alpha1.LabelCache: daemon.Spec.CacheRef.Name},
		},
	}
}

// daemonNames lists the daemons that agents of the cache may report on: those wanted and those that still exist,
// sorted. It is never empty, because an empty list of names in a role means all of them.
func daemonNames(cache *v1alpha1.BuildCache, existing []v1alpha1.BuildDaemon) []string {
	names := []string{daemonName(cache.Name, 0)}
	for _, d := range desiredDaemons(cache) {
		names = append(names, d.Name)
	}
	for i := range existing {
		names = append(names, existing[i].Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// surplusDaemons are those beyond the wanted ordinals whose pods are gone. With retained volumes they stay, asleep;
// otherwise their volume is gone with the pod and they must go too.
func surplusDaemons(
	cache *v1alpha1.BuildCache,
	existing []v1alpha1.BuildDaemon,
	podExists func(name string) bool,
) []*v1alpha1.BuildDaemon {
	var surplus []*v1alpha1.BuildDaemon
	for i := range existing {
		d := &existing[i]
		if d.Spec.Ordinal >= wantedReplicas(cache) && !podExists(d.Name) {
			surplus = append(surplus, d)
		}
	}
	return surplus
}

// byOrdinal sorts daemons by ordinal.
func byOrdinal(daemons []v1alpha1.BuildDaemon) {
	slices.SortFunc(daemons, func(a, b v1alpha1.BuildDaemon) int { return cmp.Compare(a.Spec.Ordinal, b.Spec.Ordinal) })
}
