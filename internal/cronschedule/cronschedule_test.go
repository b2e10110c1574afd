// SPDX-License-Identifier: Apache-2.0

package cronschedule

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func at(t *testing.T, s string) time.Time {
	t.Helper()
	out, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestLatest(t *testing.T) {
	for name, tc := range map[string]struct{ cron, zone, after, until, want string }{
		"none yet": {"0 3 * * *", "", "2026-01-01T03:00:00Z", "2026-01-02T02:59:59Z", ""},
		"the very moment": {
			"0 3 * * *", "", "2026-01-01T03:00:00Z", "2026-01-02T03:00:00Z", "2026-01-02T03:00:00Z",
		},
		"of many missed, the last": {
			"* * * * *", "", "2020-01-01T00:00:00Z", "2026-01-02T03:00:30Z", "2026-01-02T03:00:00Z",
		},
		"a rare one long ago": {
			"0 0 1 1 *", "", "2025-06-01T00:00:00Z", "2026-11-01T00:00:00Z", "2026-01-01T00:00:00Z",
		},
		"in another time zone": {
			"0 3 * * *", "Asia/Tokyo", "2026-01-01T00:00:00Z", "2026-01-01T20:00:00Z", "2026-01-01T18:00:00Z",
		},
		"an hour that summer time skips": {
			"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z", "",
		},
		"by a clock that was set back": {"* * * * *", "", "2026-01-01T03:00:00Z", "2026-01-01T02:00:00Z", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Parse(tc.cron, tc.zone)
			if err != nil {
				t.Fatal(err)
			}
			got, ok := s.Latest(at(t, tc.after), at(t, tc.until))
			if ok != (tc.want != "") || ok && !got.Equal(at(t, tc.want)) {
				t.Errorf("got %v %v, want %q", got, ok, tc.want)
			}
		})
	}
}

func TestLatestIsTheLastOneOfTheInterval(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		expression := rapid.SampledFrom([]string{"* * * * *", "*/7 3,5 * * 1-5", "0 0 1 * *", "@weekly",
			"15 14 29 2 *"}).Draw(t, "cron")
		s, err := Parse(expression,
			rapid.SampledFrom([]string{"UTC", "Europe/Berlin", "America/New_York"}).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		until := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "until"), 0)
		after := until.Add(-time.Duration(rapid.Int64Range(0, 3e5).Draw(t, "seconds")) * time.Second)
		got, ok := s.Latest(after, until)
		if first := s.Next(after); ok == (first.IsZero() || first.After(until)) {
			t.Fatalf("found is %v, and the first after %v is %v", ok, after, first)
		}
		if ok && (!got.After(after) || got.After(until) || !s.Next(got).After(until)) {
			t.Fatalf("%v is not the last in (%v, %v]", got, after, until)
		}
	})
}

func TestParseRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ cron, zone, want string }{
		"a minute that is none":    {"61 * * * *", "", "cron:"},
		"a range the wrong way":    {"0 5-3 * * *", "", "cron:"},
		"six fields":               {"0 0 3 * * *", "", "cron:"},
		"an interval":              {"@every 5m", "", "five fields"},
		"a zone within":            {"TZ=UTC 0 3 * * *", "", "five fields"},
		"a zone and nothing else":  {"TZ=0", "", "five fields"},
		"a day that never comes":   {"0 0 30 2 *", "", "never comes"},
		"a zone that there is not": {"0 3 * * *", "Mars/Olympus", "no time zone"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse(tc.cron, tc.zone); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
}
