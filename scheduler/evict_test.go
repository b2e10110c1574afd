// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"math"
	"testing"
)

func TestEvictionPrice(t *testing.T) {
	const once = 1.0 / (8 * 3600) // a working day
	minute := NextEviction{Bytes: 1e9, LostSeconds: 60}
	cases := map[string]struct {
		next      NextEviction
		perSecond float64
		copies    int
		want      float64
	}{
		"a copy that is reused for certain costs all it saves": {next: minute, perSecond: 1, copies: 1, want: 60},
		"the price is by the GB": {
			next: NextEviction{Bytes: 2e9, LostSeconds: 60}, perSecond: 1, copies: 1, want: 30},
		"a copy without builds costs nothing": {next: minute, copies: 1},
		"a copy with one build a working day, on average": {
			next: minute, perSecond: once, copies: 1, want: 60 * (1 - 1/math.E)},
		"two copies share the builds":    {next: minute, perSecond: once, copies: 2, want: 60 * (1 - math.Exp(-.5))},
		"unknown copies count as one":    {next: minute, perSecond: once, want: 60 * (1 - 1/math.E)},
		"a redundant copy is a quarter":  {next: NextEviction{1e9, 60, true}, perSecond: 1, copies: 2, want: 15},
		"an unknown size costs nothing":  {next: NextEviction{LostSeconds: 60}, perSecond: 1, copies: 1},
		"an unknown loss costs nothing":  {next: NextEviction{Bytes: 1e9}, perSecond: 1, copies: 1},
		"nothing to evict costs nothing": {perSecond: 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := EvictionPrice(tc.next, tc.perSecond, tc.copies); math.Abs(got-tc.want) > 1e-9 {
				t.Errorf("%g seconds a GB, want %g", got, tc.want)
			}
		})
	}
}

func TestRoomy(t *testing.T) {
	if Roomy(25, 100) || !Roomy(26, 100) || Roomy(0, 0) {
		t.Error("want more than a quarter free to be roomy")
	}
}
