// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"k8s.io/apimachinery/pkg/types"

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

// verdict is what an agent does about a build that it sees.
type verdict int

const (
	// letGo: nothing of the build may run here.
	letGo verdict = iota
	// takeUp: the attempt is this agent's to claim and run.
	takeUp
	// resume: the attempt was claimed by this agent, but the answer to the claim was lost.
	resume
	// carryOn: the attempt is this agent's and it is on it, or was and has reported.
	carryOn
	// disown: another agent of this daemon claimed the attempt and is no more.
	disown
)

// self is who the agent is.
type self struct {
	daemon, agentID string
}

// judge decides about a build as the agent last saw it. known is the attempt of the build that this process is on or
// was on last, nil for none.
func judge(b *v1alpha1.HLBBuild, me self, known *attemptID) verdict {
	if !b.DeletionTimestamp.IsZero() || !status.IsBound(b) || status.NeedsRun(b) ||
		b.Status.Placement.Daemon != me.daemon {
		return letGo
	}
	if known != nil && *known == attemptOf(b) {
		return carryOn // also where what was seen is older than the claim or the report
	}
	switch b.Status.Run.StartedBy {
	case "":
		return takeUp
	case me.agentID:
		return resume
	default:
		return disown
	}
}

// isMine says whether a report about the attempt may be written: nobody has taken it from this agent. An attempt that
// has ended is open to its last words, such as how the export of the cache went.
func isMine(b *v1alpha1.HLBBuild, id attemptID, me self) bool {
	run, placement := b.Status.Run, b.Status.Placement
	return b.DeletionTimestamp.IsZero() && run != nil && placement != nil && attemptOf(b) == id && !status.IsLost(b) &&
		placement.Daemon == me.daemon &&
		run.StartedBy == me.agentID
}
