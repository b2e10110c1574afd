// SPDX-License-Identifier: Apache-2.0

package status

import (
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// BuildPhase is where the current run of an HLBBuild stands. Whether the object asks for another run is a question of
// its own: NeedsRun.
type BuildPhase string

// The phases of a build.
const (
	// BuildNew: no run was opened yet.
	BuildNew BuildPhase = "New"
	// BuildHeld: the run needs no daemon yet. spec.suspend holds it, it waits for something that it names, or for the
	// time of its next attempt.
	BuildHeld BuildPhase = "Held"
	// BuildWaiting: the run needs a daemon.
	BuildWaiting BuildPhase = "Waiting"
	// BuildBound: the current attempt is with a daemon, started or not.
	BuildBound BuildPhase = "Bound"
	// BuildReleasing: the run needs a daemon, but an earlier attempt may still be executing on another one.
	BuildReleasing BuildPhase = "Releasing"
	// BuildLost: the current attempt was lost, and the manager has not yet decided about the next one.
	BuildLost BuildPhase = "Lost"
	// BuildFinal: the run has ended.
	BuildFinal BuildPhase = "Final"
)

// PhaseOfBuild returns where the build's current run stands.
func PhaseOfBuild(b *v1alpha1.HLBBuild) BuildPhase {
	run := b.Status.Run
	switch {
	case run == nil:
		return BuildNew
	case run.FinishedAt != nil:
		return BuildFinal
	case run.Lost != nil && run.Lost.Attempt == run.Attempt:
		return BuildLost
	case b.Status.Releasing != nil:
		return BuildReleasing
	case b.Status.Placement != nil:
		return BuildBound
	case b.Spec.Suspend || run.SuspendedAt != nil || run.RetryAt != nil ||
		run.Missing != nil && run.Missing.NextCheckAt != nil:
		return BuildHeld
	default:
		return BuildWaiting
	}
}

// IsFinal reports whether the current run has ended; a build without a run has not.
func IsFinal(b *v1alpha1.HLBBuild) bool { return PhaseOfBuild(b) == BuildFinal }

// IsLost reports whether the current attempt was lost and the manager has not yet decided about the next one.
func IsLost(b *v1alpha1.HLBBuild) bool { return PhaseOfBuild(b) == BuildLost }

// IsWaiting reports whether the current run needs a daemon.
func IsWaiting(b *v1alpha1.HLBBuild) bool { return PhaseOfBuild(b) == BuildWaiting }

// IsHeld reports whether the current run has no daemon and needs none yet.
func IsHeld(b *v1alpha1.HLBBuild) bool { return PhaseOfBuild(b) == BuildHeld }

// IsBound reports whether the current attempt is with a daemon, started or not.
func IsBound(b *v1alpha1.HLBBuild) bool { return PhaseOfBuild(b) == BuildBound }

// IsReleasing reports whether an attempt that is no longer wanted may still be executing, also of a run that is final.
func IsReleasing(b *v1alpha1.HLBBuild) bool { return b.Status.Releasing != nil }
