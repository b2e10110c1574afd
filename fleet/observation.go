// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/attempt"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/scheduler"
)

// Observation is one BuildCache with its daemons and builds at one instant. The objects are kept and never changed.
type Observation struct {
	Now   time.Time            `json:"now"`
	Cache *v1alpha1.BuildCache `json:"cache"`
	// Full is set if Daemons and Builds are all there are. Otherwise they are those that changed since the observation
	// before, and the rest is as it was; the first observation must be full.
	Full bool `json:"full,omitempty"`
	// Rebuild has the index built anew. It asks for a full observation.
	Rebuild bool                    `json:"rebuild,omitempty"`
	Daemons []*v1alpha1.BuildDaemon `json:"daemons,omitempty"`
	// Builds have their runs opened, if only in memory. Those that need a run and get none are left out.
	Builds []*v1alpha1.HLBBuild `json:"builds,omitempty"`
	// RemovedDaemons and RemovedBuilds no longer exist, or belong to another BuildCache now.
	RemovedDaemons []string               `json:"removedDaemons,omitempty"`
	RemovedBuilds  []types.NamespacedName `json:"removedBuilds,omitempty"`
}

// Writes is what a Cycle wants written.
type Writes struct {
	// Builds are placements, and why builds wait.
	Builds []BuildWrite
	// Prefetch lists daemons whose requests change.
	Prefetch []PrefetchWrite
	// Queued is how many builds wanted a daemon, those in Builds included.
	Queued int
	// Recheck is when there is something to do even if nothing changes and no build waits; 0: never.
	Recheck time.Duration
	// Round is the decided queue, where every build was looked at and State.Explain is set; nil otherwise.
	Round *Round
}

// BuildWrite is one decision to write.
type BuildWrite struct {
	// Build is as it was observed.
	Build    *v1alpha1.HLBBuild
	Decision scheduler.Decision
}

// IsPlacement reports whether the write binds the build to a daemon.
func (w *BuildWrite) IsPlacement() bool { return w.Decision.Action == scheduler.Run }

// Apply changes the status of build, a copy of w.Build, as the decision says.
func (w *BuildWrite) Apply(build *v1alpha1.HLBBuild, now time.Time) {
	if w.IsPlacement() {
		attempt.Place(build, placementOf(build, &w.Decision), now)
	} else {
		status.Wait(build, waitReason(&w.Decision), w.Decision.String(), now)
		build.Status.Run.QueuePosition = w.Decision.Position
	}
}

// PrefetchWrite is a daemon's new list of requests.
type PrefetchWrite struct {
	// Daemon is as it was observed.
	Daemon   *v1alpha1.BuildDaemon
	Requests []v1alpha1.PrefetchRequest
	// Added are those of Requests that the daemon does not have yet.
	Added []v1alpha1.PrefetchRequest
}

// Round is a decided queue with all it was decided from.
type Round struct {
	// Names are those of the builds, in the record's order.
	Names  []string
	Record *scheduler.Record
}

// Written lists the Writes of the last Cycle that have reached the API server. It counts until it is observed.
type Written struct {
	At time.Time `json:"at"`
	// Placed lists placements in the order of Writes.Builds.
	Placed []Placed `json:"placed,omitempty"`
	// Prefetch lists requests that were added.
	Prefetch []v1alpha1.PrefetchRequest `json:"prefetch,omitempty"`
}

// Placed is a placement that was written on top of one version of a build.
type Placed struct {
	Build types.NamespacedName `json:"build"`
	// Before is the resource version that was observed.
	Before string `json:"before"`
	Daemon string `json:"daemon"`
	// Warm is set if the daemon is expected to hold the caches.
	Warm bool `json:"warm,omitempty"`
}

// Placed describes the placement that w is.
func (w *BuildWrite) Placed() Placed {
	return Placed{
		Build:  nameOf(w.Build),
		Before: w.Build.ResourceVersion,
		Daemon: w.Decision.Chosen.Name,
		Warm:   w.Decision.Chosen.Mode == scheduler.Warm,
	}
}

func nameOf(b *v1alpha1.HLBBuild) types.NamespacedName {
	return types.NamespacedName{Namespace: b.Namespace, Name: b.Name}
}

// placementOf says where a build is to run.
func placementOf(b *v1alpha1.HLBBuild, d *scheduler.Decision) v1alpha1.PlacementStatus {
	out := v1alpha1.PlacementStatus{
		Daemon:  d.Chosen.Name,
		Reason:  d.String(),
		Rank:    d.Chosen.Rank,
		Warm:    d.Chosen.Mode == scheduler.Warm,
		Refresh: d.Chosen.Prime != 0,
	}
	if namespace := b.CacheName().Namespace; namespace != b.Namespace {
		out.Namespace = namespace
	}
	return out
}

func waitReason(d *scheduler.Decision) string {
	switch {
	case d.Action == scheduler.Wait:
		return v1alpha1.ReasonWaitingForDaemon
	case d.Reason == scheduler.QueueFull:
		return v1alpha1.ReasonQueueFull
	}
	return v1alpha1.ReasonNoDaemonFits
}
