// SPDX-License-Identifier: Apache-2.0

package scheduler

import "math"

// Usage keeps the mean utilisation of each daemon, with a half-life of an hour, for Daemon.Utilisation.
type Usage struct {
	of   map[DaemonID]*usage
	last float64 // last Observe
}

// usage is the state of one daemon.
type usage struct {
	taken         float64 // decayed mean
	now           float64 // value since the last Observe
	long, longNow float64 // the same for taken slots × expected build length
}

// usageHalfLifeSeconds is long enough to see through a push's burst and short enough to follow the hours of the day.
const usageHalfLifeSeconds = 3600

// NewUsage returns an instance without observations.
func NewUsage() *Usage { return &Usage{of: map[DaemonID]*usage{}} }

// Observe adds v, whose state held since the last call, and sets Utilisation and TypicalSeconds of its daemons. Call it
// before each cycle. The mean of a daemon that takes no builds is kept, so that the daemon does not look idle when it
// returns.
func (u *Usage) Observe(v *View) {
	keep := math.Exp2(-max(v.NowSeconds-u.last, 0) / usageHalfLifeSeconds)
	u.last = v.NowSeconds
	for i := range v.Daemons {
		d := &v.Daemons[i]
		x := u.of[d.ID]
		if x == nil {
			x = &usage{}
			u.of[d.ID] = x
		}
		if d.Phase == Ready || d.Running > 0 {
			x.taken = keep*x.taken + (1-keep)*x.now
			x.long = keep*x.long + (1-keep)*x.longNow
		}
		x.longNow = 0
		for j := range d.Busy {
			x.longNow += d.Busy[j].ExpectedSeconds / float64(max(d.Slots, 1))
		}
		if x.taken > 0 {
			d.TypicalSeconds = x.long / x.taken
		}
		x.now = min(float64(d.Running+d.Reserved)/float64(max(d.Slots, 1)), 1)
		d.Utilisation = x.taken
	}
}
