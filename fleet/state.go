// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/scheduler"
)

// sweepInterval is how often hot keys are counted, evictions priced and unused entries dropped.
const sweepInterval = time.Minute

// State is all that is believed of one fleet. It is not safe for concurrent use.
type State struct {
	// Explain has Cycle return the queue it decided.
	Explain bool

	params      scheduler.Params // with priors; see learnedParams
	now         time.Time        // of the last observation
	explainedAt time.Time        // when Cycle last returned its queue
	taught      uint64           // see Learned
	cache       *v1alpha1.BuildCache
	identity
	learned
	index
}

// learned is what Save keeps. Everything else follows from it and the observed objects.
type learned struct {
	bootstrapped bool
	sweptAt      time.Time
	lookedAt     time.Time // when every waiting build was last looked at
	placedAt     time.Time // when a build was last placed
	estimates    *scheduler.Estimates
	hot          *scheduler.HotKeys
	shares       *scheduler.Shares
	usage        *scheduler.Usage
	restarts     *scheduler.Restarts
	keys         map[scheduler.KeyID]*keyState
	builtAt      map[scheduler.KeyID]time.Time // when the keys whose lengths are known were last built
	mounts       map[string]*mountState        // by id as BuildKit knows it
	pull         pullRate                      // of the whole fleet
	waitUpdates  bucket
	prefetch     *prefetchState // nil while the BuildCache has no spec.prefetch
	builds       map[types.NamespacedName]*buildState
	daemons      map[string]*daemonState // by name; also of daemons that builds are bound to and that are gone
}

// New is a State that has observed nothing. Placement goes by p until it has learned better.
func New(p scheduler.Params) *State {
	return &State{
		params: p,
		learned: learned{
			estimates: scheduler.NewEstimates(),
			hot:       scheduler.NewHotKeys(),
			shares:    scheduler.NewShares(),
			usage:     scheduler.NewUsage(),
			restarts:  scheduler.NewRestarts(),
			keys:      map[scheduler.KeyID]*keyState{},
			builtAt:   map[scheduler.KeyID]time.Time{},
			mounts:    map[string]*mountState{},
			builds:    map[types.NamespacedName]*buildState{},
			daemons:   map[string]*daemonState{},
		},
		index: index{candidates: scheduler.NewRankCache()},
	}
}

// Cycle takes in an observation and decides what to write. The caller writes it, and reports by Written what arrived
// before it observes again. An error means that the daemons contradict each other; nothing is decided then.
func (s *State) Cycle(obs Observation) (Writes, error) {
	s.now = obs.Now.UTC().Round(0)
	s.update(&obs)
	if s.now.Sub(s.sweptAt) >= sweepInterval {
		s.sweep()
	}
	s.planIsolation()
	if err := s.refresh(); err != nil {
		return Writes{}, err
	}
	var w Writes
	s.decide(&w)
	if err := s.planPrefetch(&w); err != nil {
		return Writes{}, fmt.Errorf("plan prefetches: %w", err)
	}
	return w, nil
}

// Written takes in the outcome of the last Writes.
func (s *State) Written(w Written) {
	at := w.At.UTC().Round(0)
	for i := range w.Placed {
		p := &w.Placed[i]
		k := s.builds[p.Build]
		if k == nil || k.object == nil || k.object.ResourceVersion != p.Before {
			continue
		}
		k.Assumed = &assumption{Daemon: p.Daemon, Before: p.Before, Warm: p.Warm, At: at}
		s.setPhase(k)
	}
	for i := range w.Prefetch {
		if s.prefetch == nil {
			break
		}
		s.prefetch.spend(&w.Prefetch[i])
	}
}

// Params are the parameters of a round: with what was learned in place of priors, and what the BuildCache asks for.
func (s *State) Params() scheduler.Params {
	p := s.learnedParams()
	if r := s.cache.Spec.Registry; r != nil {
		p.WaitSecondsPerGB = float64(r.WaitSecondsPerGiB) * 1e9 / (1 << 30)
	}
	if q := s.cache.Spec.Queue; q != nil {
		p.MaxPending = int(q.MaxPending)
	}
	return p
}

// learnedParams are the parameters with what was learned in place of priors.
func (s *State) learnedParams() scheduler.Params {
	p := s.params
	p.StalePerVersion = s.estimates.StalePerVersion(&s.params)
	if s.pull.BytesPerSecond > 0 {
		p.PullBytesPerSecond = s.pull.BytesPerSecond
	}
	if s.pull.FixedSeconds > 0 {
		p.PrimeFixedSeconds = s.pull.FixedSeconds
	}
	return p
}

// wantedReplicas is spec.replicas with its default.
func wantedReplicas(cache *v1alpha1.BuildCache) int32 {
	if cache.Spec.Replicas == nil {
		return 1
	}
	return *cache.Spec.Replicas
}
