// SPDX-License-Identifier: Apache-2.0

// Package snapshot pushes the content of cache mounts as images, and fills mounts from them. When a snapshot is due
// and from which image it starts are pure functions; the daemon copies, the registry is looked at, and a file on the
// volume remembers.
package snapshot

import (
	"fmt"
	"hash/fnv"
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/cronschedule"
)

const (
	// maxLayers is how many layers a snapshot has at most. Each one costs a lookup for every file that a step opens.
	maxLayers = 10
	// spread is over how much time the daemons of a fleet begin what one schedule asks for.
	spread = time.Minute
	// pauseAfterDisturbance is how soon a snapshot is tried again that a build has disturbed.
	pauseAfterDisturbance = 20 * time.Second
	// pauseAfterFailure is how soon a snapshot is tried again that has failed, and longestPause how soon after its
	// pauses have doubled often enough.
	pauseAfterFailure, longestPause = 20 * time.Second, time.Hour
	// pauseWhileBusy is how often it is said that a snapshot waits for its mount. It is made as soon as the mount is
	// idle, so this only costs writes.
	pauseWhileBusy = 5 * time.Minute
	// patience is how long a snapshot waits for its turn at the daemon and at a locked mount. Others wait behind it
	// meanwhile.
	patience = time.Minute
	// overdueAfter is how long a snapshot is put off before that is told: longer than builds take, and no more than
	// the pause of most schedules.
	overdueAfter = time.Hour
)

// Annotations of a snapshot's manifest; package daemon adds two.
const (
	annotationMount     = "dev.openllb.build.mount.id"
	annotationNamespace = "dev.openllb.build.mount.namespace"
	annotationDaemon    = "dev.openllb.build.mount.daemon"
	annotationPlatform  = "dev.openllb.build.mount.platform"
	annotationUsage     = "dev.openllb.build.mount.usage"
)

// needsWhole reports whether the next snapshot copies everything again instead of adding a layer: when it would be one
// of more than ten, or when the layers on top weigh more than the bottom one. layers are the bytes of the newest
// snapshot's, the bottom one first.
func needsWhole(layers []int64) bool {
	if len(layers) == 0 || len(layers) >= maxLayers {
		return true
	}
	var top int64
	for _, bytes := range layers[1:] {
		top += bytes
	}
	return top > layers[0]
}

// nextRun is when a schedule comes next after a moment, with the daemon's share of the spread; false when there is no
// schedule. The error is what is wrong with it.
func nextRun(spec *v1alpha1.MountSnapshotSpec, after time.Time, seed string) (time.Time, bool, error) {
	if spec.Schedule == nil {
		return time.Time{}, false, nil
	}
	schedule, err := cronschedule.Parse(spec.Schedule.Cron, spec.Schedule.TimeZone)
	if err != nil {
		return time.Time{}, false, fmt.Errorf("snapshot.schedule: %w", err)
	}
	hash := fnv.New32a()
	hash.Write([]byte(seed))
	jitter := time.Duration(hash.Sum32()%uint32(spread/time.Second)) * time.Second
	next := schedule.Next(after.Add(-jitter))
	return next.Add(jitter), !next.IsZero(), nil
}

// isDue reports whether a mount's snapshot is to be tried now. quiet reports whether no build uses the mount and the
// last one // that did succeeded.
func isDue(spec *v1alpha1.MountSnapshotSpec, e Entry, quiet bool, now time.Time, seed string) (bool, error) {
	var pause time.Duration
	switch {
	case !quiet:
		pause = pauseWhileBusy
	case e.Disturbed:
		pause = pauseAfterDisturbance
	}
	if e.Outcome == v1alpha1.SnapshotDeferred && now.Sub(e.Tried) < pause {
		return false, nil
	}
	if e.Failures > 0 {
		return now.Sub(e.Tried) >= min(longestPause, pauseAfterFailure<<min(e.Failures-1, 10)), nil
	}
	if e.Requested || e.Outcome == v1alpha1.SnapshotDeferred {
		return true, nil
	}
	since := e.Tried
	if since.IsZero() {
		since = e.Seen
	}
	next, scheduled, err := nextRun(spec, since, seed)
	return scheduled && err == nil && !now.Before(next), err
}

// repositoryOf is where a policy's snapshots are, empty for nowhere.
func repositoryOf(p *v1alpha1.MountPolicy, registry *v1alpha1.RegistryCacheSpec) string {
	if p.Snapshot != nil && p.Snapshot.Repository != "" {
		return p.Snapshot.Repository
	}
	if registry != nil {
		return registry.Repository
	}
	return ""
}
