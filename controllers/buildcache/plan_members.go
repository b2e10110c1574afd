// SPDX-License-Identifier: Apache-2.0

package buildcache

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// decideMembers chooses which daemons run: as many as spec.replicas. What is too many is suspended, the least useful
// first; what is missing is woken, the most useful first, and only then made anew.
func decideMembers(s *snapshot, p *plan) {
	running, asleep := []daemon{}, []daemon{}
	for _, d := range s.daemons {
		switch {
		case !d.DeletionTimestamp.IsZero():
		case d.Spec.Suspend:
			asleep = append(asleep, d)
		default:
			running = append(running, d)
		}
	}
	missing := int(wantedReplicas(s.cache)) - len(running)
	if missing < 0 {
		slices.SortFunc(running, s.leastUsefulFirst)
		p.suspend = running[:-missing]
	}
	slices.SortFunc(asleep, s.mostUsefulFirst)
	p.wake = asleep[:max(min(missing, len(asleep)), 0)]
	if s.cache.Spec.Storage.Retention.WhenScaled == v1alpha1.RetentionDelete {
		for _, d := range asleep[len(p.wake):] {
			if d.pod == nil {
				p.remove = append(p.remove, d)
			}
		}
	}
	p.create = s.newOrdinals(missing - len(p.wake))
}

// leastUsefulFirst is the order in which running daemons are suspended.
func (s *snapshot) leastUsefulFirst(a, b daemon) int {
	return cmp.Or(
		trueFirst(a.Spec.Unschedulable, b.Spec.Unschedulable),
		trueFirst(!a.serves(), !b.serves()),
		trueFirst(a.Status.RunningBuilds == 0, b.Status.RunningBuilds == 0),
		cmp.Compare(worthOf(a.BuildDaemon, s.now), worthOf(b.BuildDaemon, s.now)),
		cmp.Compare(b.Spec.Ordinal, a.Spec.Ordinal),
	)
}

// mostUsefulFirst is the order in which suspended daemons are woken.
func (s *snapshot) mostUsefulFirst(a, b daemon) int {
	return cmp.Or(
		trueFirst(!a.Spec.Unschedulable, !b.Spec.Unschedulable),
		trueFirst(a.claim != nil, b.claim != nil),
		cmp.Compare(worthOf(b.BuildDaemon, s.now), worthOf(a.BuildDaemon, s.now)),
		cmp.Compare(a.Spec.Ordinal, b.Spec.Ordinal),
	)
}

// newOrdinals are the ordinals of at most n new BuildDaemons: first those whose volume an earlier BuildCache has left,
// then the lowest free ones. Ordinals of BuildDaemons that were deleted, and of which something is left, are waited
// for: each stands for one of the n.
func (s *snapshot) newOrdinals(n int) []int32 {
	taken := map[int32]bool{}
	for _, d := range s.daemons {
		taken[d.Spec.Ordinal] = true
		if !d.DeletionTimestamp.IsZero() {
			n--
		}
	}
	retained := []int32{}
	for _, r := range s.remains {
		taken[r.ordinal] = true
		if s.isLeaving(&r) {
			n--
		} else {
			retained = append(retained, r.ordinal)
		}
	}
	ordinals := retained[:max(min(n, len(retained)), 0)]
	for ordinal := int32(0); len(ordinals) < n; ordinal++ {
		if !taken[ordinal] {
			ordinals = append(ordinals, ordinal)
		}
	}
	return ordinals
}

// isLeaving reports whether remains must be gone before their ordinal has a BuildDaemon again: a BuildDaemon of an
// earlier BuildCache, a pod, whose agent would take the new BuildDaemon for its own, or a claim that is not to be used
// again.
func (s *snapshot) isLeaving(r *remains) bool {
	return r.former || r.pod != nil || !r.claim.DeletionTimestamp.IsZero() || s.hasUsed(r.claim)
}

// hasUsed reports whether a claim was last used by a daemon of this very BuildCache, rather than by one of an earlier
// BuildCache of the same name that left it behind.
func (s *snapshot) hasUsed(claim *corev1.PersistentVolumeClaim) bool {
	return claim.Annotations[v1alpha1.AnnotationCacheUID] == string(s.cache.UID)
}

// decideRemains has what is left of deleted BuildDaemons cleared away.
func decideRemains(s *snapshot, p *plan) {
	for _, r := range s.remains {
		if r.claim != nil && r.claim.DeletionTimestamp.IsZero() && s.hasUsed(r.claim) {
			p.drop = append(p.drop, r.claim)
		}
		if r.pod != nil && !r.pod.DeletionTimestamp.IsZero() {
			p.unstick = append(p.unstick, r.pod)
			p.lookAgainAfter(deadNodePatience / 2)
		}
	}
}

// trueFirst compares so that true comes before false.
func trueFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}
