// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestStalenessIsLearnedThroughNoise gives builds of 20 s warm and 80 s cold whose lengths vary as recorded ones do,
// and more.
func TestStalenessIsLearnedThroughNoise(t *testing.T) {
	for name, c := range map[string]struct{ truth, low, high float64 }{
		"copies that do not age":             {0, 0, .005},
		"copies that lose 1% a version":      {.01, .005, .015},
		"copies that lose a tenth a version": {.1, .08, .12},
	} {
		t.Run(name, func(t *testing.T) {
			e, p := NewEstimates(), DefaultParams()
			rng := rand.New(rand.NewPCG(1, 1))
			for i := range 600 {
				behind := uint32(1 + i%6)
				noise := math.Exp(.3 * rng.NormFloat64())
				e.Observe(KeyOf("ns", "app"), nil, Warm, 20*noise, &p)
				e.ObserveStale(behind, noise*(20+60*c.truth*float64(behind)), 20, 80)
			}
			if got := e.StalePerVersion(&p); got < c.low || got > c.high {
				t.Errorf("learned %.4f, want %.3f to %.3f", got, c.low, c.high)
			}
		})
	}
}

// TestAColdBuildThatEndedEarly must not teach that a key's caches are worth nothing.
func TestAColdBuildThatEndedEarly(t *testing.T) {
	for name, order := range map[string][]Mode{
		"before all warm ones": {Cold, Warm, Warm},
		"among warm ones":      {Warm, Warm, Cold},
	} {
		t.Run(name, func(t *testing.T) {
			e, p := NewEstimates(), DefaultParams()
			key := KeyOf("ns", "app")
			for _, mode := range order {
				seconds := 300.0
				if mode == Cold {
					seconds = 30
				}
				e.Observe(key, nil, mode, seconds, &p)
			}
			warm, cold := e.Expect(key, nil, &p)
			if saved := cold - warm; saved < 60 || saved > 900 {
				t.Errorf("warm %.0f s, cold %.0f s: caches save %.0f s, want 60 to 900 by the prior of 4", warm, cold,
					saved)
			}
		})
	}
}
