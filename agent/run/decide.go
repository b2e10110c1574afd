// SPDX-License-Identifier: Apache-2.0

package run

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/agent/self"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
)

// attemptID names one attempt of one build.
type attemptID struct {
	uid     types.UID
	run     string
	attempt int32
}

// attemptOf is the current attempt of a build that has a run.
func attemptOf(b *v1alpha1.HLBBuild) attemptID {
	return attemptID{uid: b.UID, run: b.Status.Run.ID, attempt: b.Status.Run.Attempt}
}

// action is what an agent does about a build that it sees.
type action int

const (
	// actionRelease: nothing of the build may run here.
	actionRelease action = iota
	// actionClaim: the attempt is this agent's to claim and run.
	actionClaim
	// actionResume: the attempt was claimed by this agent, but the answer to the claim was lost.
	actionResume
	// actionContinue: the agent is on the attempt, or was and has reported.
	actionContinue
	// actionReportOrphaned: another agent of this daemon claimed the attempt and is no more.
	actionReportOrphaned
)

// decide decides about a build as the agent last saw it. known is the attempt of the build that this process is on or
// was on last, nil for none.
func decide(b *v1alpha1.HLBBuild, me *self.Self, known *attemptID) action {
	if !b.DeletionTimestamp.IsZero() || !status.IsBound(b) || status.NeedsRun(b) ||
		b.DaemonName() != me.DaemonName() {
		return actionRelease
	}
	if known != nil && *known == attemptOf(b) {
		return actionContinue // also where what was seen is older than the claim or the report
	}
	switch b.Status.Run.StartedBy {
	case "":
		return actionClaim
	case me.AgentID:
		return actionResume
	default:
		return actionReportOrphaned
	}
}

// isMine reports whether a report about the attempt may be written: nobody has taken it from this agent. An attempt
// that has ended is open to a final report, such as on the export of the cache.
func isMine(b *v1alpha1.HLBBuild, id attemptID, me *self.Self) bool {
	run, placement := b.Status.Run, b.Status.Placement
	return b.DeletionTimestamp.IsZero() && run != nil && placement != nil && attemptOf(b) == id && !status.IsLost(b) &&
		b.DaemonName() == me.DaemonName() && run.StartedBy == me.AgentID
}
