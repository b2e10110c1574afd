// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/mountpolicy"
	"github.com/openllb/hlb-operator/scheduler"
)

// keptCandidates bounds the remembered orders of daemons, each of about 300 bytes.
const keptCandidates = 20_000

// demandsLast is for how long what waiting builds have in common is taken to hold although other keys' builds may
// have moved the priors.
const demandsLast = 5 * time.Second

// requestMounts bounds the cache mounts that placement weighs: a request has eight keys at most.
const requestMounts = 7

// mountsGain is what all cache mounts of a build together are taken to save, beside its cache key's 1: half as much.
const mountsGain = 0.5

// demandID is what builds must share to be alike for placement.
type demandID struct {
	key   scheduler.KeyID
	queue string
}

// demand is what all builds of one key and queue have in common, worked out once for all of them.
type demand struct {
	id         demandID
	fresh      *freshness
	version    uint32 // of the key, when it was worked out
	at         time.Time
	usedAt     time.Time
	keys       []scheduler.KeyUse // never written again once made: records and bound builds share them
	warm, cold float64
	learned    bool // its order of daemons is remembered
}

// demandOf finds a build's demand and brings it up to date.
func (m *memory) demandOf(f *fleet, b *v1alpha1.HLBBuild) *demand {
	id := demandID{f.keyOf(b.Status.Run.Key), b.Spec.Queue}
	d := m.demands[id]
	if d == nil {
		d = &demand{id: id, fresh: m.freshnessOf(id.key)}
		m.demands[id] = d
	}
	m.renew(f, d)
	return d
}

// renew works a demand out again where it may have changed.
func (m *memory) renew(f *fleet, d *demand) {
	d.usedAt = f.now
	if d.keys != nil && d.version == d.fresh.version && f.now.Sub(d.at) < demandsLast {
		return
	}
	d.at, d.version = f.now, d.fresh.version
	d.keys = m.keysOf(f, d)
	d.warm, d.cold = m.estimates.Expect(d.id.key, scopes(d.id.queue), m.params)
}

// keysOf are what builds of a demand would profit from: their cache key, and half as much their cache mounts, as far
// as a build of the key has told of them.
func (m *memory) keysOf(f *fleet, d *demand) []scheduler.KeyUse {
	mounts := d.fresh.mounts
	mounts = mounts[:min(len(mounts), requestMounts)]
	keys := make([]scheduler.KeyUse, 1, 1+len(mounts))
	keys[0] = scheduler.KeyUse{ID: d.id.key, Gain: 1}
	if d.fresh.exported && importsCache(f.cache) {
		keys[0].SnapshotBytes, keys[0].SnapshotFresh = registryCacheBytes, m.left(d.fresh.version-d.fresh.exportedAt)
	}
	for i := range mounts {
		use := scheduler.KeyUse{
			ID:      f.mountKey(mounts[i].ID),
			Gain:    mountsGain / float64(len(mounts)),
			Bytes:   mounts[i].Bytes,
			Sharing: sharingOf(mounts[i].Sharing),
		}
		if facts := m.mounts[mounts[i].ID]; facts != nil && facts.snapshotBytes > 0 && isPrimed(f.cache, mounts[i].ID) {
			use.SnapshotBytes, use.SnapshotFresh = facts.snapshotBytes, m.left(facts.missed)
		}
		keys = append(keys, use)
	}
	return keys
}

// registryCacheBytes stands for the size of a key's registry cache. BuildKit pulls of it only what the steps that
// have to run need, and reports no size, so only the fixed part of bringing it in counts.
const registryCacheBytes = 1

// left is the part of a copy's worth that is left when it has missed so many builds.
func (m *memory) left(missed uint32) float64 {
	return max(0, 1-m.estimates.StalePerVersion(m.params)*float64(missed))
}

func importsCache(cache *v1alpha1.BuildCache) bool {
	return cache.Spec.Registry != nil && cache.Spec.Registry.ImportPolicy != v1alpha1.ImportNever
}

// isPrimed says whether a daemon that does not hold the mount fills it from its newest snapshot.
func isPrimed(cache *v1alpha1.BuildCache, id string) bool {
	return mountpolicy.Primes(mountpolicy.Of(cache.Namespace, cache.Spec.Mounts, id))
}

func sharingOf(s v1alpha1.MountSharing) scheduler.Sharing {
	switch s {
	case v1alpha1.MountLocked:
		return scheduler.Locked
	case v1alpha1.MountPrivate:
		return scheduler.Private
	default:
		return scheduler.Shared
	}
}

// learnOrders has the orders of daemons remembered for the keys of the builds that wait.
func (m *memory) learnOrders(line []inLine) {
	for i := range line {
		if d := line[i].known.demand; !d.learned {
			d.learned = true
			m.candidates.Learn(m.view, d.id.key)
		}
	}
}

// forgetDemands drops the demands that nobody has had for a minute, and remembered orders when there are too many.
func (m *memory) forgetDemands(f *fleet) {
	tooMany := m.candidates.Len() > keptCandidates
	for id, d := range m.demands {
		if f.now.Sub(d.usedAt) >= sweepEvery {
			delete(m.demands, id)
		}
		d.learned = d.learned && !tooMany
	}
	if tooMany {
		m.candidates, m.view = scheduler.NewRankCache(), nil
	}
}
