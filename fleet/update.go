// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
)

// update takes in what has changed.
func (s *State) update(obs *Observation) {
	rebuilt := s.rebase(obs)
	s.shares.SetWeights(queueWeights(obs.Cache))
	s.observeDaemons(obs)
	builds, first := obs.Builds, !s.bootstrapped
	if first { // in the order in which they ended
		builds = slices.Clone(builds)
		slices.SortStableFunc(builds, func(a, b *v1alpha1.HLBBuild) int { return cmp.Compare(endOf(a), endOf(b)) })
		s.bootstrap()
	}
	for _, b := range builds {
		s.observe(b, first)
	}
	s.dropBuilds(obs)
	if rebuilt {
		s.observeRest()
	}
	s.expireUnreported()
}

// rebase has the index built anew when what all of it depends on has changed. It reports whether that is so.
func (s *State) rebase(obs *Observation) bool {
	s.cache = obs.Cache
	basis := indexBasis{
		uid:        obs.Cache.UID,
		generation: obs.Cache.Generation,
		replicas:   wantedReplicas(obs.Cache),
		slots:      obs.Cache.Spec.BuildKit.MaxConcurrentBuilds,
	}
	if s.ledger != nil && s.basis == basis && !obs.Rebuild {
		return false
	}
	s.identity = identityOf(obs.Cache)
	s.reset(basis)
	return true
}

// queueWeights returns the weights that the BuildCache gives its queues.
func queueWeights(cache *v1alpha1.BuildCache) map[string]float64 {
	weights := make(map[string]float64, len(cache.Spec.Queues))
	for _, q := range cache.Spec.Queues {
		weights[q.Name] = float64(q.Weight)
	}
	return weights
}

// observe takes in one build, unless this version of it was taken in before.
func (s *State) observe(b *v1alpha1.HLBBuild, first bool) {
	name := nameOf(b)
	k := s.builds[name]
	if k != nil && k.UID != b.UID {
		s.dropBuild(name, k)
		k = nil
	}
	if k == nil {
		k = &buildState{UID: b.UID}
		s.builds[name] = k
	}
	known := k.version != "" && k.version == b.ResourceVersion
	k.object, k.version = b, b.ResourceVersion
	k.cycle = s.cycle
	if !known {
		s.observeBuild(k, first)
	}
	if status.IsFinal(b) {
		k.object, k.key = nil, b.Status.Run.Key
	}
}

// observeRest takes in the builds that did not change, for a new index.
func (s *State) observeRest() {
	names := slices.SortedFunc(maps.Keys(s.builds), compareNames)
	for _, name := range names {
		if k := s.builds[name]; k.object != nil && k.cycle != s.cycle {
			s.observe(k.object, false)
		}
	}
}

func compareNames(a, b types.NamespacedName) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// observeBuild learns from a build that is new or has changed, and notes where it stands.
func (s *State) observeBuild(k *buildState, first bool) {
	b := k.object
	if run := b.Status.Run; run != nil {
		if k.Run != run.ID {
			k.Run, k.Charged, k.Ended = run.ID, 0, false
			s.observeArrival(b)
		}
		if status.IsFinal(b) && !k.Ended {
			k.Ended = true
			s.observeMounts(b)
			if !first { // how long it took is in what daemons report
				s.observeEnd(k)
			}
		}
	}
	s.setPhase(k)
}

// dropBuilds forgets builds that no longer exist.
func (s *State) dropBuilds(obs *Observation) {
	for _, name := range obs.RemovedBuilds {
		if k := s.builds[name]; k != nil {
			s.dropBuild(name, k)
		}
	}
	if !obs.Full || len(s.builds) == len(obs.Builds) {
		return
	}
	for name, k := range s.builds {
		if k.cycle != s.cycle {
			s.dropBuild(name, k)
		}
	}
}

func (s *State) dropBuild(name types.NamespacedName, k *buildState) {
	s.leave(k)
	delete(s.builds, name)
}

// endOf is when a build's run ended, in Unix seconds, 0 for one that has not.
func endOf(b *v1alpha1.HLBBuild) float64 {
	if b.Status.Run == nil || b.Status.Run.FinishedAt == nil {
		return 0
	}
	return seconds(b.Status.Run.FinishedAt.Time)
}
