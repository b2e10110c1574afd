// SPDX-License-Identifier: Apache-2.0

package buildcache

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/workload"
	"github.com/openllb/hlb-operator/internal/write"
)

// lists are the objects of a fleet's daemons, in no order.
type lists struct {
	daemons []v1alpha1.BuildDaemon
	sets    []appsv1.StatefulSet
	pods    []corev1.Pod
	claims  []corev1.PersistentVolumeClaim
}

// read reads the objects of a fleet's daemons from the cache.
func (r *Reconciler) read(ctx context.Context, cache *v1alpha1.BuildCache) (*lists, error) {
	var (
		daemons v1alpha1.BuildDaemonList
		sets    appsv1.StatefulSetList
		pods    corev1.PodList
		claims  corev1.PersistentVolumeClaimList
	)
	fleet := client.MatchingLabels(workload.FleetLabels(cache.Name))
	for _, list := range []struct {
		into   client.ObjectList
		labels client.MatchingLabels
		what   string
	}{
		{&daemons, client.MatchingLabels{v1alpha1.LabelCache: cache.Name}, "BuildDaemons"},
		{&sets, fleet, "StatefulSets"},
		{&pods, fleet, "pods"},
		{&claims, fleet, "volume claims"},
	} {
		if err := r.Client.List(ctx, list.into, client.InNamespace(cache.Namespace), list.labels); err != nil {
			return nil, fmt.Errorf("list %s: %w", list.what, err)
		}
	}
	return &lists{daemons: daemons.Items, sets: sets.Items, pods: pods.Items, claims: claims.Items}, nil
}

// gather sorts what was read by daemon. Objects of no daemon of the cache are left out. template is nil when it can't
// be rendered; then no pod is outdated.
func (s *snapshot) gather(l *lists, template *workload.Template) {
	left := map[int32]*remains{}
	remainsOf := func(labels map[string]string) *remains {
		ordinal, ok := workload.Ordinal(s.cache.Name, labels)
		if !ok {
			return &remains{} // nobody's
		}
		if left[ordinal] == nil {
			left[ordinal] = &remains{ordinal: ordinal}
		}
		return left[ordinal]
	}
	for i := range l.pods {
		remainsOf(l.pods[i].Labels).pod = &l.pods[i]
	}
	for i := range l.claims {
		remainsOf(l.claims[i].Labels).claim = &l.claims[i]
	}
	rendered := map[string]bool{}
	for i := range l.sets {
		rendered[l.sets[i].Name] = template != nil && template.IsRenderedIn(&l.sets[i])
	}
	for i := range l.daemons {
		if write.IsFormer(&l.daemons[i], s.cache) {
			remainsOf(map[string]string{v1alpha1.LabelDaemon: l.daemons[i].Name}).former = true
			continue
		}
		d := daemon{BuildDaemon: &l.daemons[i], rendered: rendered[l.daemons[i].Name]}
		if has := left[d.Spec.Ordinal]; has != nil {
			d.pod, d.claim = has.pod, has.claim
			delete(left, d.Spec.Ordinal)
		}
		if d.pod != nil && template != nil {
			d.differs = template.Compare(d.pod)
		}
		s.daemons = append(s.daemons, d)
	}
	slices.SortFunc(s.daemons, func(a, b daemon) int { return cmp.Compare(a.Spec.Ordinal, b.Spec.Ordinal) })
	for _, r := range left {
		s.remains = append(s.remains, *r)
	}
	slices.SortFunc(s.remains, func(a, b remains) int { return cmp.Compare(a.ordinal, b.ordinal) })
}
