// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"testing"
	"time"

	"github.com/openllb/hlb-operator/test/kit/envtestkit"
)

func TestTheBudgetOfPrefetchesIsBounded(t *testing.T) {
	p := &prefetchState{Budget: bucket{At: envtestkit.Epoch}}
	for _, tc := range []struct {
		after   time.Duration
		perHour float64
		want    float64
	}{{
		0, 100, 0,
	}, {30 * time.Minute, 100, 50}, {10 * time.Hour, 100, 100}, {0, 40, 40}, {time.Hour, 1e30, maxBytesPerHour}} {
		p.refill(tc.perHour, p.Budget.At.Add(tc.after))
		if p.Budget.Tokens != tc.want {
			t.Errorf("%s later at %g an hour %g are saved, want %g", tc.after, tc.perHour, p.Budget.Tokens, tc.want)
		}
	}
}
