// SPDX-License-Identifier: Apache-2.0

package sizingreplay_test

import (
	"slices"
	"testing"

	"github.com/openllb/hlb-operator/test/kit/sizingreplay"
)

func TestEstimatesAreWithinTwoPointsOfTheTruth(t *testing.T) {
	for _, w := range slices.Concat(sizingreplay.Workloads(1), sizingreplay.Workloads(2)) {
		t.Run(w.Name, func(t *testing.T) {
			t.Parallel()
			errs := sizingreplay.Errors(w)
			t.Logf("errors in percentage points: %.2f", errs)
			if worst := slices.Max(errs); worst > 2 {
				t.Errorf("the estimate is %.2f points off", worst)
			}
		})
	}
}
