// SPDX-License-Identifier: Apache-2.0

package attempt

import (
	"fmt"
	"time"
)

// Timing is how a Lease is kept. Agents and manager measure it with their own clocks, as time that has passed: no
// time of one machine is ever compared with that of another.
type Timing struct {
	// RenewEvery is the time between renewals, and the limit of one request.
	RenewEvery time.Duration
	// FenceAfter is how old an agent's last renewal may be before it ends all attempts.
	FenceAfter time.Duration
	// Duration is how long a Lease must have been unchanged before anyone else may take it. In whole seconds.
	Duration time.Duration
}

// StopMargin is the time an agent has between fencing itself and the earliest moment at which its Lease can be taken:
// for ending its attempts, and for clocks that run at different speeds.
const StopMargin = 3 * time.Second

// NoticeWithin is how soon it is noticed that an agent has died.
const NoticeWithin = 15 * time.Second

// DefaultTiming is how the Leases of daemons are kept.
func DefaultTiming() Timing {
	return Timing{RenewEvery: 3 * time.Second, FenceAfter: 10 * time.Second, Duration: 13 * time.Second}
}

// The bounds of what the manager waits for.
const (
	// ReportWithin is how long after spec.timeoutSeconds an attempt may go on without a report. The agent ends it at
	// that time, and retries its report.
	ReportWithin = 5 * time.Minute
	// ReleaseWithin is how long an agent may take to acknowledge a release.
	ReleaseWithin = time.Minute
)

// Validate returns what is wrong with the timing, nil if nothing.
func (t Timing) Validate() error {
	switch {
	case t.RenewEvery <= 0 || t.RenewEvery >= t.FenceAfter:
		return fmt.Errorf(
			"the Lease must be renewed more often (every %s) than the agent fences itself (after %s)",
			t.RenewEvery, t.FenceAfter,
		)
	case t.FenceAfter >= t.Duration:
		return fmt.Errorf(
			"the agent must fence itself (after %s) before its Lease ends (after %s)", t.FenceAfter, t.Duration,
		)
	case t.Duration%time.Second != 0:
		return fmt.Errorf("a Lease lasts whole seconds, not %s", t.Duration)
	}
	return nil
}
