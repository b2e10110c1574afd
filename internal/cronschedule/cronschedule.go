// SPDX-License-Identifier: Apache-2.0

// Package cronschedule works out when a cron schedule comes. It is pure: the time is an argument.
package cronschedule

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule is a parsed cron expression in its time zone.
type Schedule struct {
	cron cron.Schedule
	zone *time.Location
}

// Parse reads an expression of five fields or a name such as @daily, and the name of a time zone, UTC when empty.
// Expressions that never come, such as the 30th of February, are errors.
func Parse(expression, timeZone string) (*Schedule, error) {
	zone, err := time.LoadLocation(cmp.Or(timeZone, "UTC"))
	if err != nil {
		return nil, fmt.Errorf("timeZone: there is no time zone %q", timeZone)
	}
	// Zones are checked before they are parsed: ParseStandard panics on "TZ=0".
	if strings.HasPrefix(expression, "@every") || strings.Contains(expression, "TZ=") {
		return nil, fmt.Errorf("cron: %q is not an expression of five fields", expression)
	}
	parsed, err := cron.ParseStandard(expression)
	if err != nil {
		return nil, fmt.Errorf("cron: %w", err)
	}
	s := &Schedule{cron: parsed, zone: zone}
	if s.Next(time.Unix(0, 0)).IsZero() {
		return nil, fmt.Errorf("cron: %q never comes", expression)
	}
	return s, nil
}

// Next is the first time of the schedule after a moment, zero when there is none within five years.
func (s *Schedule) Next(after time.Time) time.Time { return s.cron.Next(after.In(s.zone)) }

// Latest is the last time of the schedule in the interval (after, until], false when there is none.
func (s *Schedule) Latest(after, until time.Time) (time.Time, bool) {
	// Windows that end at until and double find it without going through all times of a long interval.
	for window := time.Minute; ; window *= 2 {
		from := until.Add(-window)
		if from.Before(after) {
			from = after
		}
		if at := s.Next(from); !at.IsZero() && !at.After(until) {
			return s.last(at, until), true
		}
		if from.Equal(after) {
			return time.Time{}, false
		}
	}
}

// last is the last time of the schedule from at on that is not after until. at is one.
func (s *Schedule) last(at, until time.Time) time.Time {
	for {
		next := s.Next(at)
		if next.IsZero() || next.After(until) {
			return at
		}
		at = next
	}
}
