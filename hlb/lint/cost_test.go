// SPDX-License-Identifier: Apache-2.0

package lint_test

import (
	"fmt"
	"testing"

	"github.com/openllb/hlb-operator/hlb/lint"
	"github.com/openllb/hlb-operator/hlb/syntax"
	"github.com/openllb/hlb-operator/test/kit/hlbtest"
)

// TestCostGrowsWithTheLength counts allocations, which, unlike times, are the same on every machine.
func TestCostGrowsWithTheLength(t *testing.T) {
	perLine := func(lines int) float64 {
		src := hlbtest.Program(lines)
		return testing.AllocsPerRun(1, func() {
			if _, errs := lint.Program("a.hlb", src, syntax.Limits{}); len(errs) > 0 {
				t.Fatal(errs)
			}
		}) / float64(lines)
	}
	short, long := perLine(1_000), perLine(32_000)
	if long > 1.2*short {
		t.Errorf("%.1f allocations a line in a long program, %.1f in a short one", long, short)
	}
}

func BenchmarkProgram(b *testing.B) {
	for _, lines := range []int{100, 1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(lines), func(b *testing.B) {
			src := hlbtest.Program(lines)
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				if _, errs := lint.Program("a.hlb", src, syntax.Limits{MaxBytes: 64 << 20}); len(errs) > 0 {
					b.Fatal(errs)
				}
			}
		})
	}
}
