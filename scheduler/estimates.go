// SPDX-License-Identifier: Apache-2.0

package scheduler

import "math"

// Estimates learns how long builds take, warm and cold, from builds that ended well. Lengths are close to lognormal,
// so it keeps exponentially weighted means of logarithms: for each key, and for each wider scope (say its repository,
// its namespace, the fleet) as a prior for keys seen little or never. The ratio of cold to warm is drawn towards that
// of the narrowest scope that knows one, the more the less sure the key's own is.
type Estimates struct {
	byKey   map[KeyID]*lengths
	byScope map[string]*lengths
	noise   mean // of how far warm builds are from their key's mean, as logarithms
	// What is lost per version is the slope that these two make; see ObserveStale.
	staleCross, staleSquare mean
}

// lengths are the running means of one key or scope, all of logarithms. The ratio is of pairs: a cold build beside
// the warm ones around it, because programs grow and shrink, and a cold length from last month says little beside
// today's warm ones.
type lengths struct {
	warm, cold, ratio mean
}

// mean is an exponentially weighted mean that starts as a plain one.
type mean struct {
	n     int
	value float64
}

const (
	// estimateAlpha weighs a key's newest build. The recorded builds' median coefficient of variation is 0.2, so a
	// short memory is exact enough, and follows a program that changes.
	estimateAlpha = 0.3
	// scopeAlpha weighs a scope's newest build: a scope is many programs, and none of them should sway it.
	scopeAlpha = 0.02
	// priorBuilds is how many builds a wider scope's mean counts for beside a key's own: the variance within a key
	// over that between keys, both of logarithms, 0.2² and 1² in the recorded builds.
	priorBuilds = 0.04
	// ratioVariance is that of the ratio of cold to warm between keys, of logarithms.
	ratioVariance = 0.36
)

func (m *mean) add(x, alpha float64) {
	m.n++
	m.value += max(1/float64(m.n), alpha) * (x - m.value)
}

// toward mixes a key's mean with a prior that counts for so many builds.
func (m *mean) blend(prior, builds float64) float64 {
	weight := min(float64(m.n), 1/estimateAlpha)
	return (weight*m.value + builds*prior) / (weight + builds)
}

// NewEstimates knows nothing: until builds end it answers with the priors of Params.
func NewEstimates() *Estimates {
	return &Estimates{byKey: map[KeyID]*lengths{}, byScope: map[string]*lengths{}}
}

// Observe learns from a build that ended well. scopes go from narrow to wide. seconds is the build alone, without
// set-up; primed builds count as warm after their known overhead is taken out. Lengths of zero or less are ignored.
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
	if mode != Cold && own.warm.n > 0 {
		e.noise.add(math.Abs(x-own.warm.value), scopeAlpha)
	}
	ratio, paired := own.pairRatio(mode, x)
	own.add(mode, x, estimateAlpha)
	if paired {
		own.ratio.add(ratio, estimateAlpha)
	}
	for _, name := range scopes {
		s := e.byScope[name]
		if s == nil {
			s = &lengths{}
			e.byScope[name] = s
		}
		s.add(mode, x, scopeAlpha)
		if paired {
			s.ratio.add(ratio, scopeAlpha)
		}
	}
}

// pair is the ratio that the newest build shows, before it is added: a cold one beside the warm ones so far, or the
// first warm one beside the cold. No build is faster without its caches: a cold one that seems to be has ended early,
// and counts as equal. Taken for what it looks like it would be proof that the key's caches are worth nothing, and
// outweigh the prior for good, since the key is run cold from then on.
func (l *lengths) pairRatio(mode Mode, x float64) (ratio float64, paired bool) {
	switch {
	case mode == Cold && l.warm.n > 0:
		return max(x-l.warm.value, 0), true
	case mode != Cold && l.warm.n == 0 && l.cold.n > 0:
		return max(l.cold.value-x, 0), true
	default:
		return 0, false
	}
}

func (l *lengths) add(mode Mode, x, alpha float64) {
	if mode == Cold {
		l.cold.add(x, alpha)
	} else {
		l.warm.add(x, alpha)
	}
}

// Expect is how long the next build of key should take, warm and cold; cold is never below warm.
func (e *Estimates) Expect(key KeyID, scopes []string, p *Params) (warmSeconds, coldSeconds float64) {
	ratio := math.Log(p.PriorColdRatio)
	cold := math.Log(p.PriorColdSeconds)
	for i := len(scopes) - 1; i >= 0; i-- {
		if s := e.byScope[scopes[i]]; s != nil {
			if s.ratio.n > 0 {
				ratio = max(s.ratio.blend(ratio, priorBuilds), 0)
			}
			if s.cold.n > 0 {
				cold = s.cold.blend(cold, priorBuilds)
			} else if s.warm.n > 0 {
				cold = s.warm.blend(cold-ratio, priorBuilds) + ratio
			}
		}
	}
	own := e.byKey[key]
	if own == nil {
		return math.Exp(cold - ratio), math.Exp(cold)
	}
	if own.ratio.n > 0 {
		ratio = max(own.ratio.blend(ratio, e.pairVariance()/ratioVariance), 0)
	}
	if own.warm.n > 0 {
		warm := own.warm.blend(cold-ratio, priorBuilds)
		return math.Exp(warm), math.Exp(warm + ratio)
	}
	cold = own.cold.blend(cold, priorBuilds)
	return math.Exp(cold - ratio), math.Exp(cold)
}

// pairNoise is the variance of one pair's ratio: that of a warm build around its key's mean, from the mean of its
// amount, as if normal.
func (e *Estimates) pairVariance() float64 {
	const trust, prior = 20, 0.16 // the amount for a deviation of 0.2
	n := float64(min(e.noise.n, 1000))
	amount := (n*e.noise.value + trust*prior) / (n + trust)
	return 2 * amount * amount * math.Pi / 2
}

// staleVersions is how many versions behind count at most: what a copy loses is not linear for ever.
const staleVersions = 25

// ObserveStale learns from a build on a copy that was behind versions old: what part of the gain each version cost.
// Lengths vary much more than copies age. So it fits one slope to all such builds, the excess over the warm length
// against versions times gain, both in warm lengths; and an excess below zero counts too, or half of the noise would
// be taken for age.
func (e *Estimates) ObserveStale(behind uint32, seconds, warmSeconds, coldSeconds float64) {
	if behind == 0 || warmSeconds <= 0 || coldSeconds <= warmSeconds {
		return
	}
	gain := coldSeconds/warmSeconds - 1
	x := min(float64(behind), staleVersions) * gain
	// estimates are medians, and the mean of lengths is above: by half of one build's variance
	excess := seconds/warmSeconds*math.Exp(-e.pairVariance()/4) - 1
	e.staleSquare.add(x*x, scopeAlpha)
	e.staleCross.add(x*min(excess, gain), scopeAlpha)
}

// StalePerVersion is what was learned by ObserveStale, or the prior. It takes tens of builds to outweigh the prior.
func (e *Estimates) StalePerVersion(p *Params) float64 {
	const trust = 20 * 9 // as of 20 builds that are one version behind and four times as long without caches
	n := float64(min(e.staleCross.n, 200))
	slope := (n*e.staleCross.value + trust*p.StalePerVersion) / (n*e.staleSquare.value + trust)
	return min(max(slope, 0), 1)
}

// Forget drops a key that is no longer built.
func (e *Estimates) Forget(key KeyID) { delete(e.byKey, key) }
