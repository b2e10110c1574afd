// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"math"
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/scheduler"
)

// mountFacts is what is known of one cache mount across daemons.
type mountFacts struct {
	// snapshotBytes is the size of the newest snapshot, 0 for none. Since it was made, at snapshotAt, missed builds
	// have had the mount.
	snapshotBytes int64
	snapshotAt    time.Time
	missed        uint32
}

func (m *memory) mount(id string) *mountFacts {
	facts := m.mounts[id]
	if facts == nil {
		facts = &mountFacts{}
		m.mounts[id] = facts
	}
	return facts
}

// used notes what a build that has ended tells of mounts, of the registry cache, and of the time that priming took.
func (m *memory) used(f *fleet, b *v1alpha1.HLBBuild) {
	ended := b.Status.Run.FinishedAt.Time
	fresh := m.freshnessOf(f.keyOf(b.Status.Run.Key))
	if len(b.Status.Mounts) > 0 && !ended.Before(fresh.mountsAt) {
		fresh.mounts, fresh.platform, fresh.mountsAt = b.Status.Mounts, plainPlatform(b.Spec.Platform()), ended
	}
	if b.Status.Failure == nil {
		m.usedMounts(f, b, ended)
	}
	if b.Status.Cache != nil && b.Status.Cache.ExportRef != "" {
		fresh.exported, fresh.exportedAt = true, fresh.version+1 // it holds this very build's layers
	}
	if b.Status.Placement == nil {
		return
	}
	for i := range b.Status.Prime {
		if p := &b.Status.Prime[i]; p.Outcome == v1alpha1.PrimePrimed {
			m.pull.see(p, m.params)
			d := m.daemon(b.Status.Placement.Daemon)
			d.pull.see(p, m.params)
			d.dirty = true
		}
	}
}

// usedMounts notes what a build that ended well tells of its mounts.
func (m *memory) usedMounts(f *fleet, b *v1alpha1.HLBBuild, ended time.Time) {
	for i := range b.Status.Mounts {
		id := b.Status.Mounts[i].ID
		facts := m.mount(id)
		if ended.After(facts.snapshotAt) {
			facts.missed++
		}
		m.hot.Observe(f.mountKey(id), seconds(ended), 0) // for its rate: copies are wanted of cache keys alone
	}
}

// snapshots notes the newest snapshots that a daemon tells of.
func (m *memory) snapshots(d *v1alpha1.BuildDaemon) {
	for i := range d.Status.Mounts {
		u := &d.Status.Mounts[i]
		if u.Snapshot == nil || u.Snapshot.Ref == "" {
			continue
		}
		facts := m.mount(u.ID)
		if at := u.Snapshot.Time.Time; at.After(facts.snapshotAt) && isOfContent(u.Snapshot.Outcome) {
			facts.snapshotBytes, facts.snapshotAt, facts.missed = u.Snapshot.Bytes, at, 0
		} else if facts.snapshotBytes == 0 {
			facts.snapshotBytes = u.Snapshot.Bytes // the last try came to nothing, and an older snapshot is there
		}
	}
}

// isOfContent says whether the newest snapshot holds what the mount held at the time of this outcome.
func isOfContent(o v1alpha1.SnapshotOutcome) bool {
	return o == v1alpha1.SnapshotPushed || o == v1alpha1.SnapshotUnchanged
}

// pullRate is how fast snapshots were seen to come in: large ones tell the bytes a second, small ones the time that
// any takes. The zero value has seen nothing.
type pullRate struct {
	bytesPerSecond, fixedSeconds float64
}

const (
	pullAlpha = 0.3 // as that of lengths: the network changes as slowly as programs do
	// largePull is where a snapshot's size begins to outweigh the fixed part: at 200 MB/s it takes a second. It is
	// told in whole seconds.
	largePull = 200_000_000
)

// see learns from one mount that was primed.
func (r *pullRate) see(p *v1alpha1.PrimeStatus, params *scheduler.Params) {
	took := float64(p.DurationSeconds) - 0.5 // it was rounded up
	if took <= 0 {
		return
	}
	if p.Bytes < largePull {
		r.fixedSeconds = ewma(r.fixedSeconds, took)
		return
	}
	fixed := r.fixedSeconds
	if fixed == 0 {
		fixed = params.PrimeFixedSeconds
	}
	// the fixed part is never most of a large one
	r.bytesPerSecond = ewma(r.bytesPerSecond, float64(p.Bytes)/max(took-fixed, took/4))
}

// ewma is a mean that starts with the first value.
func ewma(mean, value float64) float64 {
	if mean == 0 {
		return value
	}
	return math.FMA(pullAlpha, value-mean, mean)
}

// params are the parameters of a round: what was learned, and what the BuildCache asks for.
func (f *fleet) params() scheduler.Params {
	p := f.memory.paramsNow()
	if r := f.cache.Spec.Registry; r != nil {
		p.WaitSecondsPerGB = float64(r.WaitSecondsPerGiB) * 1e9 / (1 << 30)
	}
	return p
}

// paramsNow are the parameters with what was learned in place of priors.
func (m *memory) paramsNow() scheduler.Params {
	p := *m.params
	p.StalePerVersion = m.estimates.StalePerVersion(m.params)
	if m.pull.bytesPerSecond > 0 {
		p.PullBytesPerSecond = m.pull.bytesPerSecond
	}
	if m.pull.fixedSeconds > 0 {
		p.PrimeFixedSeconds = m.pull.fixedSeconds
	}
	return p
}
