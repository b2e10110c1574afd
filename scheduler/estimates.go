// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"errors"
	"fmt"
	"math"
)

// Estimates learns the warm and cold length of builds from successful builds. Lengths are close to lognormal, so it
// keeps exponentially weighted means of logarithms: for each key, and for each wider scope (for example repository,
// namespace, fleet) as a prior for keys with few or no builds. The cold length rests on the key's own cold builds: warm
// builds never lower it. It is shrunk towards the warm length times the ratio of the narrowest scope with a ratio, the
// more the fewer cold builds there were and the more lengths vary.
type Estimates struct {
	byKey   map[KeyID]*lengths
	byScope map[string]*lengths
	noise   mean // mean absolute deviation of warm builds from their key's mean, of logarithms
	// The loss per version is the slope staleCross/staleSquare; see ObserveStale.
	staleCross, staleSquare mean
}

// lengths are the running means of one key or scope, of logarithms. The ratio is a scope's only: it is averaged over
// pairs of a cold build and the warm builds of its key near it in time, since programs grow and shrink.
type lengths struct {
	warm, cold, ratio mean
}

// mean is an exponentially weighted mean that starts as a plain mean.
type mean struct {
	n     int
	value float64
}

const (
	// estimateAlpha is the weight of a key's newest build. The median coefficient of variation of recorded builds is
	// 0.2, so a short memory is precise enough and follows changes of the program.
	estimateAlpha = 0.3
	// scopeAlpha is the weight of a scope's newest build: no single program should dominate a scope.
	scopeAlpha = 0.02
	// priorBuilds is the weight of a wider scope's mean, in builds of the key: the variance within a key over the
	// variance between keys, of logarithms, 0.2² and 1² in the recorded builds.
	priorBuilds = 0.04
	// maxColdPrior bounds the weight of the scopes' ratio against a key's own cold builds, in builds: that builds of
	// other keys vary much is no sign against what this key's took.
	maxColdPrior = 0.2
	// ratioVariance is the variance between keys of the ratio of cold to warm, of logarithms.
	ratioVariance = 0.36
)

func (m *mean) add(x, alpha float64) {
	m.n++
	m.value += max(1/float64(m.n), alpha) * (x - m.value)
}

// blend returns the mean mixed with a prior that has the weight of the given number of builds.
func (m *mean) blend(prior, builds float64) float64 {
	weight := min(float64(m.n), 1/estimateAlpha)
	return (weight*m.value + builds*prior) / (weight + builds)
}

// NewEstimates returns an instance without observations, which answers with the priors of Params.
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

// pairRatio returns the ratio of the newest build, before it is added, to its counterpart: a cold build to the mean of
// the warm ones, or the mean of the cold ones to the first warm build. A ratio below 1 counts as 1: a cold build that
// is faster than a warm one ended early. Otherwise it would count as proof that the caches are worthless and outweigh
// the prior for good, since the key would be run cold from then on.
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

// Expect returns the expected warm and cold length of the next build of key; cold is never below warm.
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
	if own.warm.n == 0 {
		cold = own.cold.blend(cold, priorBuilds)
		return math.Exp(cold - ratio), math.Exp(cold)
	}
	warm := own.warm.blend(cold-ratio, priorBuilds)
	cold = warm + ratio
	if own.cold.n > 0 {
		seen, builds := own.cold, min(e.pairVariance()/2/ratioVariance, maxColdPrior)
		if seen.value <= own.warm.value { // it ended early: no proof that the caches are worth nothing
			seen.value, builds = own.warm.value, e.pairVariance()/ratioVariance
		}
		cold = max(seen.blend(cold, builds), warm)
	}
	return math.Exp(warm), math.Exp(cold)
}

// pairVariance returns the variance of one pair's ratio: twice that of a warm build around its key's mean, from the
// mean absolute deviation of a normal distribution.
func (e *Estimates) pairVariance() float64 {
	const trust, prior = 20, 0.16 // the mean absolute deviation for a standard deviation of 0.2
	n := float64(min(e.noise.n, 1000))
	deviation := (n*e.noise.value + trust*prior) / (n + trust)
	return 2 * deviation * deviation * math.Pi / 2
}

// staleVersions is how many missed versions count at most: the loss is not linear for ever.
const staleVersions = 25

// ObserveStale learns from a build with a copy that is behind versions old what part of the gain each version costs.
// Lengths vary much more than copies age, so one slope is fitted to all such builds: the excess over the warm length
// against versions × gain, both in warm lengths. A negative excess counts too, otherwise half of the noise would be
// taken for age.
func (e *Estimates) ObserveStale(behind uint32, seconds, warmSeconds, coldSeconds float64) {
	if behind == 0 || warmSeconds <= 0 || coldSeconds <= warmSeconds {
		return
	}
	gain := coldSeconds/warmSeconds - 1
	x := min(float64(behind), staleVersions) * gain
	// estimates are medians; the mean of lengths is larger, by half of one build's variance
	excess := seconds/warmSeconds*math.Exp(-e.pairVariance()/4) - 1
	e.staleSquare.add(x*x, scopeAlpha)
	e.staleCross.add(x*min(excess, gain), scopeAlpha)
}

// StalePerVersion returns the slope learned by ObserveStale, or the prior. It takes tens of builds to outweigh the
// prior.
func (e *Estimates) StalePerVersion(p *Params) float64 {
	const trust = 20 * 9 // 20 builds that are one version behind with a cold/warm ratio of 4
	n := float64(min(e.staleCross.n, 200))
	slope := (n*e.staleCross.value + trust*p.StalePerVersion) / (n*e.staleSquare.value + trust)
	return min(max(slope, 0), 1)
}

// Forget drops a key that is no longer built.
func (e *Estimates) Forget(key KeyID) { delete(e.byKey, key) }

// Of returns what was learned of these keys and scopes, and of all builds together.
func (e *Estimates) Of(keys []KeyID, scopes []string) *Estimates {
	out := *e
	out.byKey, out.byScope = map[KeyID]*lengths{}, map[string]*lengths{}
	for _, key := range keys {
		if l := e.byKey[key]; l != nil {
			out.byKey[key] = l
		}
	}
	for _, name := range scopes {
		if l := e.byScope[name]; l != nil {
			out.byScope[name] = l
		}
	}
	return &out
}

// Validate refuses what Observe can't have learned. Lengths are logarithms of seconds: 20 stands for fifteen years.
func (e *Estimates) Validate() error {
	for id, l := range e.byKey {
		if !l.warm.isWithin(20) || !l.cold.isWithin(20) || !l.ratio.isWithin(20) {
			return fmt.Errorf("lengths of key %d are out of range", id)
		}
	}
	for name, l := range e.byScope {
		if !l.warm.isWithin(20) || !l.cold.isWithin(20) || !l.ratio.isWithin(20) {
			return fmt.Errorf("lengths of %q are out of range", name)
		}
	}
	if !e.noise.isWithin(40) || !e.staleCross.isWithin(1e12) || !e.staleSquare.isWithin(1e12) {
		return errors.New("the noise or the staleness is out of range")
	}
	return nil
}

// isWithin reports whether m can be a mean of values of this size.
func (m *mean) isWithin(most float64) bool { return m.n >= 0 && math.Abs(m.value) <= most }
