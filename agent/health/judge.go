// SPDX-License-Identifier: Apache-2.0

package health

import (
	"errors"
	"fmt"
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// Check is what is known of one kind of check. The zero value is a check that was never begun.
type Check struct {
	// Began is when the check that is under way began, zero when none is.
	Began time.Time
	// Unanswered reports that a check had no answer in time, and none has succeeded since.
	Unanswered bool
	// Failures is how many checks in a row had an answer that was an error, Last the last one.
	Failures int
	Last     error
}

// begin records the begin of a check.
func (c *Check) begin(now time.Time) { c.Began = now }

// end records the end of a check. An error that comes later than limit is no answer: it comes from a buildkitd that was
// killed meanwhile, for example.
func (c *Check) end(err error, limit time.Duration, now time.Time) {
	if err == nil {
		*c = Check{}
		return
	}
	c.Unanswered = c.Unanswered || now.Sub(c.Began) >= limit
	c.Began = time.Time{}
	c.Failures++
	c.Last = err
}

// overdue reports whether a check has had no answer for at least so long.
func (c *Check) overdue(now time.Time, limit time.Duration) bool {
	return c.Unanswered || !c.Began.IsZero() && now.Sub(c.Began) >= limit
}

// State is all that a verdict is made of.
type State struct {
	// Disk writes a file on the volume, Solve is a solve that needs no step, Step one that runs a program.
	Disk, Solve, Step Check
	// Outages are the ends of the latest times in which the daemon was out, oldest first.
	Outages []time.Time
}

// Limits are the bounds of checks. After Out without an answer the daemon gets no more builds, and after Lost those
// that it runs are given up. Out is the shorter one.
type Limits struct {
	Out, Lost time.Duration
	// StepLost is that of a step, which has no Out of its own: it is only tried when something is wrong.
	StepLost time.Duration
	// Failures is how many errors in a row take the daemon out.
	Failures int
}

// DefaultLimits are those of the product. A busy disk may take seconds for a write, and a busy processor for a solve.
func DefaultLimits() Limits {
	return Limits{Out: 12 * time.Second, Lost: 20 * time.Second, StepLost: 30 * time.Second, Failures: 3}
}

// Verdict is the health of a daemon. The zero value is a healthy one.
type Verdict struct {
	// Reason is why the daemon gets no builds, a reason of the Ready condition; empty when it gets some.
	Reason, Message string
	// Lost: the builds that it runs are given up.
	Lost bool
	// Restart: buildkitd has to be killed. Lapse: the Lease is not to be renewed, since the agent itself can no longer
	// be sure to report what it runs.
	Restart, Lapse bool
}

// IsHealthy reports whether the daemon can have builds.
func (v Verdict) IsHealthy() bool { return v.Reason == "" }

// Judge returns the verdict on a state. A disk that does not answer explains solves that don't, and killing buildkitd
// would not help there.
func Judge(s State, limits Limits, now time.Time) Verdict {
	switch {
	case s.Disk.overdue(now, limits.Out):
		lost := s.Disk.overdue(now, limits.Lost)
		return Verdict{
			Reason: v1alpha1.ReasonDiskStalled, Lost: lost, Lapse: lost,
			Message: fmt.Sprintf("The volume has not taken a write for %s", limits.Out),
		}
	case s.Solve.overdue(now, limits.Out):
		lost := s.Solve.overdue(now, limits.Lost)
		return Verdict{
			Reason: v1alpha1.ReasonDaemonStuck, Lost: lost, Restart: lost,
			Message: fmt.Sprintf("buildkitd has not finished a solve of one trivial operation within %s", limits.Out),
		}
	case s.Step.overdue(now, limits.StepLost):
		return Verdict{
			Reason: v1alpha1.ReasonDaemonStuck, Lost: true, Restart: true,
			Message: fmt.Sprintf("No build has progressed, and buildkitd has not finished a trivial step within %s",
				limits.StepLost),
		}
	case isSkew(s.Solve.Last):
		return Verdict{Reason: v1alpha1.ReasonVersionSkew, Message: s.Solve.Last.Error()}
	case s.Solve.Failures >= limits.Failures:
		return Verdict{
			Reason:  v1alpha1.ReasonDaemonStuck,
			Message: fmt.Sprintf("buildkitd can't solve a trivial operation: %v", s.Solve.Last),
		}
	case s.Disk.Failures >= limits.Failures:
		return Verdict{
			Reason: v1alpha1.ReasonDiskStalled, Message: fmt.Sprintf("The volume takes no writes: %v", s.Disk.Last),
		}
	}
	if until, outages := coolDown(s.Outages, now); now.Before(until) {
		return Verdict{
			Reason: v1alpha1.ReasonCoolingDown,
			Message: fmt.Sprintf("The daemon was out %d times within an hour, and takes builds again from %s on",
				outages, until.UTC().Format(time.TimeOnly)),
		}
	}
	return Verdict{}
}

// isSkew reports whether a check found a buildkitd that works and is too old.
func isSkew(err error) bool {
	var skew interface {
		error
		Skew()
	}
	return errors.As(err, &skew)
}

// Cool-down: one outage within an hour costs none, the second one firstCoolDown, and each one more twice that, up to
// lastCoolDown.
const (
	outageMemory  = time.Hour
	firstCoolDown = 15 * time.Second
	lastCoolDown  = 5 * time.Minute
)

// coolDown returns until when the daemon stays out after its last outage, and how many there were within the hour.
func coolDown(outages []time.Time, now time.Time) (until time.Time, count int) {
	for _, end := range outages {
		if now.Sub(end) < outageMemory {
			count++
		}
	}
	if count < 2 {
		return time.Time{}, count
	}
	length := firstCoolDown
	for i := 2; i < count && length < lastCoolDown; i++ {
		length *= 2
	}
	return outages[len(outages)-1].Add(min(length, lastCoolDown)), count
}

// Resumed returns the state after the process itself was stopped for a time, during which nothing could answer.
func Resumed(s State, stopped time.Duration) State {
	for _, c := range []*Check{&s.Disk, &s.Solve, &s.Step} {
		if !c.Began.IsZero() {
			c.Began = c.Began.Add(stopped)
		}
	}
	return s
}
