// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"testing"
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

func TestLargeRoundsAreExplainedNowAndThen(t *testing.T) {
	cases := map[string]struct {
		queued int
		want   []bool // for rounds four seconds apart
	}{
		"of a short queue, each":             {100, []bool{true, true, true, true}},
		"of a long queue, one in 10 seconds": {2000, []bool{true, false, false, true}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var builds []v1alpha1.HLBBuild
			for i := range tc.queued {
				builds = append(builds, opened(fmt.Sprintf("b%05d", i), "key"))
			}
			f := observe(t, builds...)
			f.state.Explain = true
			for i, want := range tc.want {
				w := f.cycle()
				if len(w.Builds) == 0 {
					t.Fatalf("round %d decides nothing", i)
				}
				if got := w.Round != nil; got != want {
					t.Errorf("round %d is explained: %v, want %v", i, got, want)
				}
				if w.Round != nil && len(w.Round.Names) != tc.queued {
					t.Errorf("round %d explains %d of %d builds", i, len(w.Round.Names), tc.queued)
				}
				f.now = f.now.Add(4 * time.Second)
			}
		})
	}
}
