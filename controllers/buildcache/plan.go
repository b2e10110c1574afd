// SPDX-License-Identifier: Apache-2.0

package buildcache

import (
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/workload"
)

// snapshot is a fleet as one pass reads it.
type snapshot struct {
	cache   *v1alpha1.BuildCache
	daemons []daemon  // by ordinal
	remains []remains // by ordinal
	now     time.Time
}

// daemon is a BuildDaemon with what belongs to it.
type daemon struct {
	*v1alpha1.BuildDaemon
	pod     *corev1.Pod                   // nil for none
	claim   *corev1.PersistentVolumeClaim // nil for none
	differs workload.Difference           // of the pod from the template; UpToDate without a pod
	// rendered is set when the daemon's StatefulSet makes pods of the present template.
	rendered bool
}

// remains are what is left of a BuildDaemon that no longer exists, or of an earlier BuildCache of the same name.
type remains struct {
	ordinal int32
	former  bool // the BuildDaemon of an earlier BuildCache is there, about to be collected
	pod     *corev1.Pod
	claim   *corev1.PersistentVolumeClaim
}

// plan is what one pass does to a fleet. Everything in it can be done in any order.
type plan struct {
	create  []int32                         // ordinals that get a BuildDaemon
	wake    []daemon                        // suspended, to run again
	suspend []daemon                        // running, to be stopped
	remove  []daemon                        // suspended, to be deleted with their volumes
	drop    []*corev1.PersistentVolumeClaim // claims of BuildDaemons that were deleted
	unstick []*corev1.Pod                   // pods of BuildDaemons that were deleted, which may sit on a dead node
	replace []daemon                        // pods to delete, so that their StatefulSets make others
	patch   []daemon                        // pods whose agent's image is changed in place
	settled []daemon                        // daemons whose update has ended well
	// after is when to look again though nothing has changed; 0 for not.
	after time.Duration
}

// decide makes the plan for a fleet. It reads no clock and no API: equal snapshots give equal plans.
func decide(s *snapshot) plan {
	var p plan
	decideMembers(s, &p)
	decideRemains(s, &p)
	decideUpdates(s, &p)
	return p
}

// wantedReplicas is spec.replicas with its default.
func wantedReplicas(cache *v1alpha1.BuildCache) int32 {
	if cache.Spec.Replicas == nil {
		return 1
	}
	return *cache.Spec.Replicas
}

// worthHalfLife is after which time a cache key counts half: a key that is built daily still counts on Monday.
const worthHalfLife = 72 * time.Hour

// worthOf is how many seconds of builds a daemon's caches are expected to save, by its keys: the difference between a
// cold build and a warm one, less the longer ago it was. Of a key whose cold or warm build is unknown half of the other
// is taken.
func worthOf(d *v1alpha1.BuildDaemon, now time.Time) float64 {
	sum := 0.0
	for i := range d.Status.Keys {
		use := &d.Status.Keys[i]
		saved := float64(use.ColdSeconds - use.WarmSeconds)
		if use.ColdSeconds == 0 || use.WarmSeconds == 0 {
			saved = float64(max(use.ColdSeconds, use.WarmSeconds)) / 2
		}
		age := max(now.Sub(use.LastUsed.Time), 0)
		sum += max(saved, 0) * math.Exp2(-age.Hours()/worthHalfLife.Hours())
	}
	return sum
}
