// SPDX-License-Identifier: Apache-2.0

package scheduler

import "math"

// Estimates learns how long builds take, warm and cold, from builds that ended well. Lengths are close to lognormal, so it keeps
// exponentially weighted means of logarithms: for each key, and for each wider scope (say its repository, its namespace, the fleet) as a prior
// for keys seen little or never. Keys seen in one mode only borrow the ratio of cold to warm from the narrowest scope that knows it.
type Estimates struct {
	byKey   map[KeyID]*lengths
	byScope map[string]*lengths
	stale   mean // of the part of the gain lost per version
}

// lengths are the running means of one key or scope.
type lengths struct {
	warm, cold, ratio mean
}

// mean is an exponentially weighted mean that starts as a plain one.
type mean struct {
	n     int
	value float64
}

// estimateAlpha weighs the newest build. The recorded builds' median coefficient of variation is 0.2, so a short memory is exact
// enough, and follows a program that changes.
const estimateAlpha = 0.3

// priorBuilds is how many builds a wider scope's mean counts for beside a key's own: the variance within a key over that between keys, both
// of logarithms, 0.2² and 1² in the recorded builds.
const priorBuilds = 0.04

func (m *mean) add(x float64) {
	m.n++
	m.value += max(1/float64(m.n), estimateAlpha) * (x - m.value)
}

// toward mixes the mean with a prior.
func (m *mean) toward(prior float64) float64 {
	weight := min(float64(m.n), 1/estimateAlpha)
	return (weight*m.value + priorBuilds*prior) / (weight + priorBuilds)
}

// NewEstimates knows nothing: until builds end it answers with the priors of Params.
func NewEstimates() *Estimates {
	return &Estimates{byKey: map[KeyID]*lengths{}, byScope: map[string]*lengths{}}
}

// Observe learns from a build that ended well. scopes go from narrow to wide. seconds is the build alone, without set-up; primed builds
// count as warm after their known overhead is taken out. Lengths of zero or less are ignored.
func (e *Estimates) Observe(key KeyID, scopes []string, mode Mode, seconds float64, p *Params) {
	if seconds <= 0 {
		return
	}
	own := e.byKey[key]
	if own == nil {
		own = &lengths{}
		e.byKey[key] = own
	}
	x := math.Log(seconds)
	if mode == Primed {
		x -= math.Log(p.PrimedFactor)
	}
	own.add(mode, x)
	if own.warm.n > 0 && own.cold.n > 0 {
		own.ratio = mean{n: 1, value: max(0, own.cold.value-own.warm.value)}
	}
	for _, name := range scopes {
		s := e.byScope[name]
		if s == nil {
			s = &lengths{}
			e.byScope[name] = s
		}
		s.add(mode, x)
		if own.ratio.n > 0 {
			s.ratio.add(own.ratio.value)
		}
	}
}

func (l *lengths) add(mode Mode, x float64) {
	if mode == Cold {
		l.cold.add(x)
	} else {
		l.warm.add(x)
	}
}

// Expect is how long the next build of key should take, warm and cold; cold is never below warm.
func (e *Estimates) Expect(key KeyID, scopes []string, p *Params) (warmSeconds, coldSeconds float64) {
	ratio := math.Log(p.PriorColdRatio)
	cold := math.Log(p.PriorColdSeconds)
	warm := cold - ratio
	for i := len(scopes) - 1; i >= 0; i-- {
		if s := e.byScope[scopes[i]]; s != nil {
			warm, cold, ratio = s.refine(warm, cold, ratio)
		}
	}
	if own := e.byKey[key]; own != nil {
		warm, cold, _ = own.refine(warm, cold, ratio)
	}
	return math.Exp(warm), math.Exp(max(cold, warm))
}

// refine improves wider expectations, all logarithms, by what l knows.
func (l *lengths) refine(warm, cold, ratio float64) (float64, float64, float64) {
	if l.ratio.n > 0 {
		ratio = l.ratio.toward(ratio)
	}
	switch {
	case l.warm.n > 0 && l.cold.n > 0:
		return l.warm.toward(warm), l.cold.toward(cold), ratio
	case l.warm.n > 0:
		warm = l.warm.toward(warm)
		return warm, warm + ratio, ratio
	case l.cold.n > 0:
		cold = l.cold.toward(cold)
		return cold - ratio, cold, ratio
	default:
		return warm, cold, ratio
	}
}

// ObserveStale learns from a build on a copy that was behind versions old: what part of the gain each version cost.
func (e *Estimates) ObserveStale(behind uint32, seconds, warmSeconds, coldSeconds float64) {
	if behind == 0 || coldSeconds <= warmSeconds {
		return
	}
	lost := (seconds - warmSeconds) / (coldSeconds - warmSeconds)
	e.stale.add(min(max(lost, 0), 1) / float64(behind))
}

// StalePerVersion is what was learned by ObserveStale, or the prior. It takes tens of builds to outweigh the prior, because lengths vary
// much more than freshness.
func (e *Estimates) StalePerVersion(p *Params) float64 {
	const trust = 20
	n := float64(min(e.stale.n, 200))
	return (n*e.stale.value + trust*p.StalePerVersion) / (n + trust)
}

// Forget drops a key that is no longer built.
func (e *Estimates) Forget(key KeyID) { delete(e.byKey, key) }
