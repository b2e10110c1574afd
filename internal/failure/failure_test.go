// SPDX-License-Identifier: Apache-2.0

package failure_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/failure"
)

func TestPausesGrow(t *testing.T) {
	cases := map[string]struct {
		reason string
		counts []int // attempts that count, one after the other
		want   string
	}{
		"nothing changes by going elsewhere": {
			v1alpha1.ReasonRemoteUnavailable, []int{1, 2, 3, 4, 5, 6, 17}, "[10s 20s 40s 1m20s 2m40s 5m0s 5m0s]",
		},
		"another daemon may do at once": {v1alpha1.ReasonDiskFull, []int{1, 2, 3, 4}, "[0s 10s 20s 40s]"},
		"drains cost no time":           {v1alpha1.ReasonDaemonDraining, []int{1, 2, 3}, "[0s 0s 0s]"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var pauses []time.Duration
			for _, n := range tc.counts {
				pauses = append(pauses, failure.Judge(failure.Loss{Reason: tc.reason, Counted: n, Limit: 99}).Pause)
			}
			if got := fmt.Sprint(pauses); got != tc.want {
				t.Errorf("pauses %s, want %s", got, tc.want)
			}
		})
	}
}

func TestTheTableIsSound(t *testing.T) {
	for reason, rule := range failure.Rules {
		lost := rule.Class == failure.Infrastructure || rule.Class == failure.Imposed
		if !lost && rule != (failure.Rule{Class: rule.Class}) {
			t.Errorf("%s is never lost, and has a rule for what follows from a loss: %+v", reason, rule)
		}
		if rule.Class == failure.Imposed && rule != (failure.Rule{Class: failure.Imposed}) {
			t.Errorf("%s is held against the build or the daemon although it was ended on purpose: %+v", reason, rule)
		}
	}
	if got := failure.Of("OfANewerAgent"); got.Class != failure.Infrastructure || got.Death {
		t.Errorf("an unknown reason has the rule %+v, want another attempt, up to the limit", got)
	}
}

func TestOnlyDeathsBesideOthersAreFree(t *testing.T) {
	for reason, rule := range failure.Rules {
		for neighbours := range 2 {
			v := failure.Judge(failure.Loss{Reason: reason, Neighbours: neighbours, Deaths: 1, Counted: 1, Limit: 1})
			want := rule.Class != failure.Imposed && !(rule.Death && neighbours > 0)
			if v.Counts != want {
				t.Errorf("%s beside %d others counts: %v, want %v", reason, neighbours, v.Counts, want)
			}
		}
	}
}
