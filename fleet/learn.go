// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"maps"
	"slices"
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/scheduler"
)

// keyState is the history of a key: the number of its successful builds, how many of them each daemon's copy has seen,
// and the cache mounts and platform of the latest.
type keyState struct {
	Version  uint32                `json:"version,omitempty"`
	Seen     map[string]uint32     `json:"seen,omitempty"` // by daemon's name
	Mounts   []v1alpha1.BuildMount `json:"mounts,omitempty"`
	Platform string                `json:"platform,omitempty"`
	MountsAt time.Time             `json:"mountsAt,omitzero"`
	// Exported is set if the registry has the key's cache, written by the build of version ExportedAt.
	Exported   bool   `json:"exported,omitempty"`
	ExportedAt uint32 `json:"exportedAt,omitempty"`

	demands []*demand // of its builds
}

// count counts one more successful build, which daemon's copy has seen.
func (k *keyState) count(daemon string) {
	k.Version++
	k.Seen[daemon] = k.Version
	for _, d := range k.demands {
		d.outdated = true
	}
}

// keyOf finds or makes the entry of a key.
func (s *State) keyOf(key scheduler.KeyID) *keyState {
	k := s.keys[key]
	if k == nil {
		k = &keyState{Seen: map[string]uint32{}}
		s.keys[key] = k
	}
	return k
}

// versionOf is how many builds of the key the daemon's copy has seen.
func (s *State) versionOf(key scheduler.KeyID, daemon string) uint32 {
	if k := s.keys[key]; k != nil {
		return k.Seen[daemon]
	}
	return 0
}

// scopes are the groups of builds, narrow to wide, whose lengths are priors for a build's.
func scopes(queue string) []string { return []string{"queue " + queue, "fleet"} }

// bootstrap learns from what the daemons report of their keys.
func (s *State) bootstrap() {
	s.bootstrapped = true
	type use struct {
		daemon string
		*v1alpha1.KeyUse
	}
	uses := map[string][]use{}
	for _, d := range s.members {
		for i := range d.object.Status.Keys {
			u := &d.object.Status.Keys[i]
			uses[u.Key] = append(uses[u.Key], use{d.Name, u})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(uses)) {
		list := uses[key]
		slices.SortStableFunc(list, func(a, b use) int { return a.LastUsed.Compare(b.LastUsed.Time) })
		id := s.key(key)
		k := s.keyOf(id)
		for _, u := range list { // a copy has missed at least the builds that newer copies have seen
			k.count(u.daemon)
			if at, recalled := s.builtAt[id]; recalled && !u.LastUsed.After(at.Add(clockSkew)) {
				continue
			}
			s.builtAt[id] = latest(s.builtAt[id], u.LastUsed.UTC())
			s.estimates.Observe(id, scopes(""), scheduler.Warm, float64(u.WarmSeconds), &s.params)
			s.estimates.Observe(id, scopes(""), scheduler.Cold, float64(u.ColdSeconds), &s.params)
		}
	}
}

// observeArrival counts a run towards its key's demand.
func (s *State) observeArrival(b *v1alpha1.HLBBuild) {
	key := s.key(b.Status.Run.Key)
	warm, _ := s.estimates.Expect(key, scopes(b.Spec.Queue), &s.params)
	s.hot.Observe(key, seconds(b.Status.Run.QueuedAt.Time), warm)
}

// observeEnd learns from a run that has ended.
func (s *State) observeEnd(k *buildState) {
	b := k.object
	run := b.Status.Run
	if run.StartedAt == nil || run.FinishedAt == nil {
		return
	}
	took := run.FinishedAt.Sub(run.StartedAt.Time).Seconds()
	if k.Charged > 0 {
		s.shares.End(b.Spec.Queue, k.Charged, took)
	}
	if b.Status.Failure != nil || b.Status.Placement == nil || !s.isOwn(b) || b.Status.Cache == nil {
		return // it shows nothing of how long a whole build takes
	}
	id, mode, daemon := s.key(run.Key), modeOf(b), b.Status.Placement.Daemon
	key := s.keyOf(id)
	if behind := key.Version - key.Seen[daemon]; mode == scheduler.Warm && behind > 0 {
		warm, cold := s.estimates.Expect(id, scopes(b.Spec.Queue), &s.params)
		s.estimates.ObserveStale(behind, took, warm, cold)
	} else {
		s.estimates.Observe(id, scopes(b.Spec.Queue), mode, took, &s.params)
	}
	s.builtAt[id] = s.now
	s.taught++
	key.count(daemon)
	if d := s.daemons[daemon]; d != nil && d.object != nil {
		made := unreportedCopy{id, d.object.Status.VolumeEpoch, run.FinishedAt.UTC()}
		d.Unreported, d.dirty = append(d.Unreported, made), true
	}
}

// modeOf is how a build that succeeded found its caches.
func modeOf(b *v1alpha1.HLBBuild) scheduler.Mode {
	refreshed := func(p v1alpha1.PrimeStatus) bool { return p.Outcome == v1alpha1.PrimeRefreshed }
	switch {
	case !b.Status.Cache.Fresh:
		return scheduler.Warm
	case isImported(b) || slices.ContainsFunc(b.Status.Prime, refreshed):
		return scheduler.Primed
	case b.Status.Placement.Refresh && b.Status.Placement.Warm:
		return scheduler.Warm
	}
	return scheduler.Cold
}

// isImported reports whether a build on a fresh daemon had the registry cache brought in.
func isImported(b *v1alpha1.HLBBuild) bool {
	for _, c := range b.Status.Conditions {
		if c.Type == v1alpha1.ConditionCacheImported {
			return c.Reason == v1alpha1.ReasonImported
		}
	}
	return false
}

// sweep counts hot keys, prices evictions, and forgets keys that no daemon holds and no build asks for.
func (s *State) sweep() {
	s.sweptAt = s.now
	s.hot.Sweep(s.ledger, seconds(s.now), s.cache.Spec.BuildKit.MaxConcurrentBuilds)
	s.shares.Trim()
	s.ledger.Trim()
	s.priceEvictions()
	wanted, mounts := map[scheduler.KeyID]bool{}, map[string]bool{}
	for _, d := range s.members {
		for i := range d.object.Status.Keys {
			wanted[s.key(d.object.Status.Keys[i].Key)] = true
		}
		for i := range d.object.Status.Mounts {
			mounts[d.object.Status.Mounts[i].ID] = true
		}
	}
	for _, k := range s.builds {
		switch {
		case k.object == nil:
			wanted[s.key(k.key)] = true
		case k.object.Status.Run != nil:
			wanted[s.key(k.object.Status.Run.Key)] = true
		}
	}
	for id, key := range s.keys {
		if !wanted[id] {
			delete(s.keys, id)
			s.candidates.Forget(id)
			continue
		}
		for i := range key.Mounts { // their snapshots stay when the last daemon that held them is gone
			mounts[key.Mounts[i].ID] = true
		}
	}
	maps.DeleteFunc(s.mounts, func(id string, _ *mountState) bool { return !mounts[id] })
	maps.DeleteFunc(s.daemons, func(_ string, d *daemonState) bool { return d.object == nil && len(d.bound) == 0 })
	s.forgetLengths()
	s.forgetDemands()
}
