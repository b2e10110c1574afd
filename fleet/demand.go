// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"slices"
	"strings"
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/mountpolicy"
	"github.com/openllb/hlb-operator/scheduler"
)

const (
	// maxCandidates bounds the remembered orders of daemons, each of about 300 bytes.
	maxCandidates = 20_000
	// demandInterval is for how long a demand is kept although builds of other keys may have moved the priors.
	demandInterval = 5 * time.Second
	// requestMounts bounds the cache mounts that placement weighs: a request has eight keys at most.
	requestMounts = 7
	// mountsGain is what all cache mounts of a build together are taken to save, beside its cache key's 1.
	mountsGain = 0.5
	// registryCacheBytes stands for the size of a key's registry cache. BuildKit pulls of it only what the steps that
	// have to run need, and reports no size, so only the fixed part of bringing it in counts.
	registryCacheBytes = 1
)

// demandID identifies builds that are alike for placement.
type demandID struct {
	key   scheduler.KeyID
	queue string
}

// demand is the part of a request that all builds of one key and queue share.
type demand struct {
	id         demandID
	key        *keyState
	renewal    uint32 // counts how often it was worked out
	outdated   bool   // the key has changed since
	at         time.Time
	usedAt     time.Time
	keys       []scheduler.KeyUse // never written again once made: records and bound builds share them
	warm, cold float64            // seconds
	remembered bool               // its order of daemons is
}

// demandOf finds a build's demand and brings it up to date.
func (s *State) demandOf(b *v1alpha1.HLBBuild) *demand {
	id := demandID{s.key(b.Status.Run.Key), b.Spec.Queue}
	d := s.demands[id]
	if d == nil {
		d = &demand{id: id, key: s.keyOf(id.key), outdated: true}
		d.key.demands = append(d.key.demands, d)
		s.demands[id] = d
	}
	s.renew(d)
	return d
}

// renew works a demand out again where it may have changed.
func (s *State) renew(d *demand) {
	d.usedAt = s.now
	if !d.outdated && s.now.Sub(d.at) < demandInterval {
		return
	}
	d.at, d.outdated = s.now, false
	d.renewal++
	d.keys = s.keyUses(d)
	d.warm, d.cold = s.estimates.Expect(d.id.key, scopes(d.id.queue), &s.params)
}

// keyUses are what builds of a demand profit from: their cache key, and half as much their cache mounts, as far as a
// build of the key has reported them.
func (s *State) keyUses(d *demand) []scheduler.KeyUse {
	mounts := d.key.Mounts
	mounts = mounts[:min(len(mounts), requestMounts)]
	uses := make([]scheduler.KeyUse, 1, 1+len(mounts))
	uses[0] = scheduler.KeyUse{ID: d.id.key, Gain: 1}
	if d.key.Exported && importsCache(s.cache) {
		uses[0].SnapshotBytes = registryCacheBytes
		uses[0].SnapshotFresh = s.freshness(d.key.Version - d.key.ExportedAt)
	}
	for i := range mounts {
		use := scheduler.KeyUse{
			ID:      s.mount(mounts[i].ID),
			Gain:    mountsGain / float64(len(mounts)),
			Bytes:   mounts[i].Bytes,
			Sharing: sharingOf(mounts[i].Sharing),
		}
		if m := s.mounts[mounts[i].ID]; m != nil && m.SnapshotBytes > 0 && isPrimed(s.cache, mounts[i].ID) {
			use.SnapshotBytes, use.SnapshotFresh = m.SnapshotBytes, s.freshness(m.Missed)
		}
		uses = append(uses, use)
	}
	return uses
}

// freshness is the part of a copy's worth that is left after it has missed builds, from 0 to 1.
func (s *State) freshness(missed uint32) float64 {
	return max(0, 1-s.estimates.StalePerVersion(&s.params)*float64(missed))
}

func importsCache(cache *v1alpha1.BuildCache) bool {
	return cache.Spec.Registry != nil && cache.Spec.Registry.ImportPolicy != v1alpha1.ImportNever
}

// isPrimed reports whether a daemon that does not hold the mount fills it from its newest snapshot.
func isPrimed(cache *v1alpha1.BuildCache, id string) bool {
	_, written, ok := strings.Cut(mountpolicy.Unbased(id), "/") // after the namespace of its builds
	return ok && mountpolicy.Primes(mountpolicy.For(cache.Spec.Mounts, written))
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

// forgetDemands drops demands that no build has had for a minute, and remembered orders when there are too many.
func (s *State) forgetDemands() {
	tooMany := s.candidates.Len() > maxCandidates
	for id, d := range s.demands {
		if s.now.Sub(d.usedAt) >= sweepInterval || s.keys[id.key] != d.key {
			delete(s.demands, id)
			d.key.demands = slices.DeleteFunc(d.key.demands, func(o *demand) bool { return o == d })
		}
		d.remembered = d.remembered && !tooMany
	}
	if tooMany {
		s.candidates = scheduler.NewRankCache()
		if s.view != nil {
			s.candidates.Follow(s.view)
		}
	}
}
