// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/openllb/hlb-operator/test/kit/hlbtest"
)

// TestHostileProgramsAreRefused compiles in this process, as cmd/hlb does. agent/compile has the same for the child.
func TestHostileProgramsAreRefused(t *testing.T) {
	for _, p := range hlbtest.HostilePrograms() {
		t.Run(p.Name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := time.Now()
			_, errs := compile(t, p.Source, Options{Profile: ProfileServer, CacheMountNamespace: "ns"})
			took := time.Since(began)
			runtime.ReadMemStats(&after)
			if len(errs) != 1 || string(errs[0].Code) != p.Code {
				t.Fatalf("got %.500s, want %s", errs.Error(), p.Code)
			}
			hasNumber := strings.ContainsAny(errs[0].Message, "0123456789")
			if !errs[0].Primary.IsValid() || len(errs[0].Error()) > 1000 || !hasNumber {
				t.Errorf("the diagnostic has no place, is long or names no limit: %.1000s", errs[0].Error())
			}
			if took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
			t.Logf("%v, %d MiB allocated: %.200s", took, (after.TotalAlloc-before.TotalAlloc)>>20, errs.Error())
		})
	}
}

func TestNumbersCountAsWidths(t *testing.T) {
	for name, tc := range map[string]struct {
		format string
		sizes  []int
		star   int
		least  int
	}{
		"a plain text":             {"abc", nil, 0, 3},
		"a width in the format":    {"%1000s", []int{1}, 0, 1000},
		"a width as a number":      {"%*d", []int{32, 32}, 1000, 1000},
		"a width by its index":     {"%[1]*[2]d%[1]*[2]d", []int{32, 32}, 1000, 2000},
		"a precision as a number":  {"%.*f", []int{32, 32}, 1000, 1000},
		"a value behind the width": {"%*s", []int{1, 5000}, 10, 5000},
	} {
		t.Run(name, func(t *testing.T) {
			if got := formatSize(tc.format, tc.sizes, tc.star); got < tc.least {
				t.Errorf("at most %d bytes are expected of %q, it may be %d", got, tc.format, tc.least)
			}
		})
	}
}
