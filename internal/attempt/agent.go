// SPDX-License-Identifier: Apache-2.0

package attempt

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
)

// Action is what an agent does about a build that it sees.
type Action int

// The actions of an agent.
const (
	// Leave: nothing of the build may run here.
	Leave Action = iota
	// Start: the attempt is this agent's to claim and run.
	Start
	// Resume: the session has claimed the attempt, but the answer to the claim was lost.
	Resume
	// Continue: the agent is on the attempt, or was and reports its end.
	Continue
	// Orphan: an earlier session of this daemon claimed the attempt and left no end of it.
	Orphan
	// Acknowledge: an attempt is to be released.
	Acknowledge
)

// Decide decides about a build as the agent last saw it. The agent holds session s. known is the attempt of the build
// that this process is on, or was on last, or has a kept end of; nil for none.
func Decide(b *v1alpha1.HLBBuild, s Session, known *ID) Action {
	if status.IsReleasing(b) && b.DaemonName() == s.Daemon {
		return Acknowledge
	}
	if !b.DeletionTimestamp.IsZero() || !status.IsBound(b) || status.NeedsRun(b) ||
		b.DaemonName() != s.Daemon {
		return Leave
	}
	if known != nil && *known == Of(b) {
		return Continue // also where what was seen is older than the claim or the report
	}
	switch b.Status.Run.StartedBy {
	case "":
		return Start
	case s.ID:
		return Resume
	default:
		return Orphan
	}
}

// MayClaim reports whether the session may claim the attempt.
func MayClaim(b *v1alpha1.HLBBuild, c Claimed) bool {
	return c.Session.IsHeld() && Decide(b, c.Session, nil) == Start && Of(b) == c.ID
}

// Claim makes the attempt the session's.
func Claim(b *v1alpha1.HLBBuild, c Claimed, now time.Time) bool {
	if !MayClaim(b, c) {
		return false
	}
	status.Start(b, c.Session.ID, now)
	return true
}

// MayFinish reports whether the end of a claimed attempt may be written: it has none, and nobody has taken it from the
// session.
func MayFinish(b *v1alpha1.HLBBuild, c Claimed) bool {
	current, claimed := ClaimedAttempt(b)
	return claimed && current == c && b.DeletionTimestamp.IsZero()
}

// MayAmend reports whether something may be added to the report of an attempt: also when it has ended, such as on the
// export of the registry cache.
func MayAmend(b *v1alpha1.HLBBuild, c Claimed) bool {
	if MayFinish(b, c) {
		return true
	}
	run, placement := b.Status.Run, b.Status.Placement
	return b.DeletionTimestamp.IsZero() && status.IsFinal(b) && !status.IsReleasing(b) && placement != nil &&
		Of(b) == c.ID && run.StartedBy == c.Session.ID && b.DaemonName() == c.Session.Daemon &&
		(run.Lost == nil || run.Lost.Attempt != run.Attempt)
}

// End is how an attempt ended. Exactly one of Lost, Missing and Failure is set; none for success.
type End struct {
	// Lost: infrastructure ended it.
	Lost *Cause `json:"lost,omitempty"`
	// Missing: something that the build names does not exist yet.
	Missing *Cause `json:"missing,omitempty"`
	// Failure: the build itself failed.
	Failure *v1alpha1.FailureStatus `json:"failure,omitempty"`
	// At is when it ended.
	At metav1.MicroTime `json:"at"`
}

// Cause is a reason with a message for people.
type Cause struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// Finish writes the end of a claimed attempt.
func Finish(b *v1alpha1.HLBBuild, c Claimed, end End) bool {
	if !MayFinish(b, c) {
		return false
	}
	switch now := end.At.Time; {
	case end.Lost != nil:
		status.Lose(b, end.Lost.Reason, end.Lost.Message, now)
	case end.Missing != nil:
		status.HandBack(b, end.Missing.Reason, end.Missing.Message, now)
	case end.Failure != nil:
		status.Fail(b, *end.Failure, now)
	default:
		status.Succeed(b, now)
	}
	return true
}

// MayDisown reports whether session s may report the attempt lost that an earlier session of its daemon has claimed.
// That s holds the Lease proves that the earlier session is over.
func MayDisown(b *v1alpha1.HLBBuild, c Claimed, s Session) bool {
	return s.IsHeld() && c.Session.Daemon == s.Daemon && c.Session.ID != s.ID && MayFinish(b, c)
}

// Disown reports an attempt of an earlier session as lost.
func Disown(b *v1alpha1.HLBBuild, c Claimed, s Session, message string, now time.Time) bool {
	if !MayDisown(b, c, s) {
		return false
	}
	status.Lose(b, v1alpha1.ReasonDaemonLost, message, now)
	return true
}

// MayAcknowledge reports whether session s may acknowledge that the attempt in status.releasing executes no longer.
// executing is whether anything of the build still executes in this process; everything that another process of the
// daemon has executed is over, since s holds the Lease.
func MayAcknowledge(b *v1alpha1.HLBBuild, s Session, executing bool) bool {
	return s.IsHeld() && status.IsReleasing(b) && b.DaemonName() == s.Daemon && !executing
}

// AcknowledgeRelease clears status.releasing.
func AcknowledgeRelease(b *v1alpha1.HLBBuild, s Session, executing bool, now time.Time) bool {
	if !MayAcknowledge(b, s, executing) {
		return false
	}
	status.Released(b, now)
	return true
}
