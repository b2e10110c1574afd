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

// TestAColdLengthRestsOnColdBuilds has one cold build and warm ones after it, in fleets whose other builds vary less
// and more.
func TestAColdLengthRestsOnColdBuilds(t *testing.T) {
	for name, tc := range map[string]struct {
		noise     float64 // of another key's builds, as a factor
		cold      float64 // of its one cold build
		warm      []float64
		low, high float64 // of the next cold build
	}{
		"three short warm ones take little from it":    {1.1, 26, []float64{1, 1, 1}, 20, 26},
		"nor in a fleet whose builds vary much":        {8, 42, []float64{4, 3, 3}, 30, 42},
		"one that ended early is no shorter than warm": {1.1, 3, []float64{10, 10}, 10, 15},
	} {
		t.Run(name, func(t *testing.T) {
			e, p := NewEstimates(), DefaultParams()
			for i := range 40 {
				seconds := 20 * math.Pow(tc.noise, float64(i%2))
				e.Observe(KeyOf("ns", "other"), []string{"fleet"}, Warm, seconds, &p)
			}
			e.Observe(KeyOf("ns", "other"), []string{"fleet"}, Cold, 30, &p)
			key, before := KeyOf("ns", "app"), 0.0
			e.Observe(key, []string{"fleet"}, Cold, tc.cold, &p)
			for _, seconds := range tc.warm {
				e.Observe(key, []string{"fleet"}, Warm, seconds, &p)
			}
			_, cold := e.Expect(key, []string{"fleet"}, &p)
			if cold < tc.low || cold > tc.high {
				t.Errorf("a cold build is expected to take %.1fs, want %.0fs to %.0fs", cold, tc.low, tc.high)
			}
			for range 10 { // more warm builds as long as the last take nothing from it
				_, before = e.Expect(key, []string{"fleet"}, &p)
				e.Observe(key, []string{"fleet"}, Warm, tc.warm[len(tc.warm)-1], &p)
			}
			if _, after := e.Expect(key, []string{"fleet"}, &p); after < .97*before {
				t.Errorf("one more warm build takes it from %.1fs to %.1fs", before, after)
			}
		})
	}
}
