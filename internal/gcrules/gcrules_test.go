// SPDX-License-Identifier: Apache-2.0

package gcrules_test

import (
	"testing"

	"github.com/openllb/hlb-operator/internal/gcrules"
)

func TestRulesInForceAreCompared(t *testing.T) {
	change := func(change func([]gcrules.Rule) []gcrules.Rule) []gcrules.Rule { return change(gcrules.Backstop(1000)) }
	cases := map[string]struct {
		inForce []gcrules.Rule
		want    bool
	}{
		"those configured":                  {gcrules.Backstop(1000), true},
		"those of a volume that grew since": {gcrules.Backstop(500), true},
		"those of a larger volume":          {gcrules.Backstop(2000), false},
		"none":                              {nil, false},
		"a rule too many": {
			change(func(r []gcrules.Rule) []gcrules.Rule { return append(r, gcrules.Rule{MinFreeBytes: 1}) }), false,
		},
		"a rule that deletes by age as well": {
			change(func(r []gcrules.Rule) []gcrules.Rule { r[1].Others = true; return r }), false,
		},
		"a rule that takes cache mounts": {
			change(func(r []gcrules.Rule) []gcrules.Rule { r[1].Filters = nil; return r }), false,
		},
		"a rule without a bound": {
			change(func(r []gcrules.Rule) []gcrules.Rule { r[0].MinFreeBytes = 0; return r }), false,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := gcrules.Honours(tc.inForce, 1000); got != tc.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
