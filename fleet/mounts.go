// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"math"
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/scheduler"
)

// mountState is what is known of one cache mount across daemons.
type mountState struct {
	// SnapshotBytes is the size of the newest snapshot, 0 for none. Since it was made, at SnapshotAt, Missed builds
	// have used the mount.
	SnapshotBytes int64     `json:"snapshotBytes,omitempty"`
	SnapshotAt    time.Time `json:"snapshotAt,omitzero"`
	Missed        uint32    `json:"missed,omitempty"`
}

// mountOf finds or makes the entry of a mount, by its id as BuildKit knows it.
func (s *State) mountOf(id string) *mountState {
	m := s.mounts[id]
	if m == nil {
		m = &mountState{}
		s.mounts[id] = m
	}
	return m
}

// observeMounts learns from a build that has ended: its mounts, its registry cache, and the time that priming took.
func (s *State) observeMounts(b *v1alpha1.HLBBuild) {
	ended := b.Status.Run.FinishedAt.UTC()
	key := s.keyOf(s.key(b.Status.Run.Key))
	if len(b.Status.Mounts) > 0 && !ended.Before(key.MountsAt) {
		key.Mounts, key.Platform, key.MountsAt = b.Status.Mounts, normalPlatform(b.Spec.Platform()), ended
	}
	if b.Status.Failure == nil {
		s.observeUses(b, ended)
	}
	if b.Status.Cache != nil && b.Status.Cache.ExportRef != "" {
		key.Exported, key.ExportedAt = true, key.Version+1 // it holds this very build's layers
	}
	if b.Status.Placement == nil || !s.isOwn(b) {
		return
	}
	for i := range b.Status.Prime {
		if p := &b.Status.Prime[i]; p.Outcome == v1alpha1.PrimePrimed {
			s.pull.observe(p, &s.params)
			d := s.daemon(b.Status.Placement.Daemon)
			d.Pull.observe(p, &s.params)
			d.dirty = true
		}
	}
}

// observeUses learns from the mounts of a build that succeeded.
func (s *State) observeUses(b *v1alpha1.HLBBuild, ended time.Time) {
	for i := range b.Status.Mounts {
		id := b.Status.Mounts[i].ID
		m := s.mountOf(id)
		if ended.After(m.SnapshotAt) {
			m.Missed++
		}
		s.hot.Observe(s.mount(id), seconds(ended), 0) // for its rate: copies are wanted of cache keys alone
	}
}

// observeSnapshots learns of the newest snapshots that a daemon reports.
func (s *State) observeSnapshots(d *v1alpha1.BuildDaemon) {
	for i := range d.Status.Mounts {
		u := &d.Status.Mounts[i]
		if u.Snapshot == nil || u.Snapshot.Ref == "" {
			continue
		}
		m := s.mountOf(u.ID)
		if at := u.Snapshot.Time.UTC(); at.After(m.SnapshotAt) && isOfContent(u.Snapshot.Outcome) {
			m.SnapshotBytes, m.SnapshotAt, m.Missed = u.Snapshot.Bytes, at, 0
		} else if m.SnapshotBytes == 0 {
			m.SnapshotBytes = u.Snapshot.Bytes // the last try came to nothing, and an older snapshot is there
		}
	}
}

// isOfContent reports whether the newest snapshot holds what the mount held at the time of this outcome.
func isOfContent(o v1alpha1.SnapshotOutcome) bool {
	return o == v1alpha1.SnapshotPushed || o == v1alpha1.SnapshotUnchanged
}

// pullRate estimates pull throughput from large snapshots, and fixed overhead from small ones. The zero value has
// observed nothing.
type pullRate struct {
	BytesPerSecond float64 `json:"bytesPerSecond,omitempty"`
	FixedSeconds   float64 `json:"fixedSeconds,omitempty"`
}

const (
	pullAlpha = 0.3 // as that of lengths: the network changes as slowly as programs do
	// largePull is where a snapshot's size begins to outweigh the fixed part: at 200 MB/s it takes a second. Times are
	// reported in whole seconds.
	largePull = 200_000_000
)

// observe learns from one mount that was primed.
func (r *pullRate) observe(p *v1alpha1.PrimeStatus, params *scheduler.Params) {
	took := float64(p.DurationSeconds) - 0.5 // it was rounded up
	if took <= 0 {
		return
	}
	if p.Bytes < largePull {
		r.FixedSeconds = ewma(r.FixedSeconds, took)
		return
	}
	fixed := r.FixedSeconds
	if fixed == 0 {
		fixed = params.PrimeFixedSeconds
	}
	// the fixed part is never most of a large one
	r.BytesPerSecond = ewma(r.BytesPerSecond, float64(p.Bytes)/max(took-fixed, took/4))
}

// ewma is a mean that starts with the first value.
func ewma(mean, value float64) float64 {
	if mean == 0 {
		return value
	}
	return math.FMA(pullAlpha, value-mean, mean)
}
