// SPDX-License-Identifier: Apache-2.0

package cronschedule_test

import (
	"testing"
	"time"

	"github.com/openllb/hlb-operator/internal/cronschedule"
)

// FuzzParse: whatever an expression and a zone are, they are an error or a schedule whose times come one after the
// other, and whose latest time is one of them.
func FuzzParse(f *testing.F) {
	for _, e := range []string{
		"0 3 * * *", "*/5 9-17 * * MON-FRI", "@daily", "@every 1s", "TZ=Europe/Berlin 0 3 * * *",
		"CRON_TZ=UTC 0 3 * * *",
		"0 0 30 2 *", "0 0 29 2 *", "TZ=0", "CRON_TZ=", "* * * * * *", "", "?", "61 * * * *", "1-0 * * * *",
		"*/0 * * * *",
	} {
		f.Add(e, "Europe/Berlin", int64(1_790_000_000), uint32(86_400))
		f.Add(e, "../etc/passwd", int64(0), uint32(0))
	}
	f.Fuzz(func(t *testing.T, expression, zone string, unix int64, seconds uint32) {
		s, err := cronschedule.Parse(expression, zone)
		if err != nil {
			return
		}
		after := time.Unix(unix%(1<<33), 0)
		until := after.Add(time.Duration(seconds) * time.Second)
		next := s.Next(after)
		if !next.IsZero() && !next.After(after) {
			t.Errorf("%q in %q: after %v comes %v", expression, zone, after, next)
		}
		latest, ok := s.Latest(after, until)
		if comes := !next.IsZero() && !next.After(until); ok != comes {
			t.Errorf("%q in %q: there is a latest time in (%v, %v]: %v, but the next is %v", expression, zone, after,
				until, ok, next)
		}
		if ok && (!latest.After(after) || latest.After(until)) {
			t.Errorf("%q in %q: the latest of (%v, %v] is %v", expression, zone, after, until, latest)
		}
	})
}
