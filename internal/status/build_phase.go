// SPDX-License-Identifier: Apache-2.0

package status

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// BuildPhase is where the current run of an HLBBuild stands. Whether the object asks for another run is a question of
// its own: NeedsRun.
type BuildPhase string

// The phases of a build.
const (
	// BuildNew: no run was opened yet.
	BuildNew BuildPhase = "New"
	// BuildWaiting: the run needs a daemon.
	BuildWaiting BuildPhase = "Waiting"
	// BuildBound: the current attempt is with a daemon, started or not.
	BuildBound BuildPhase = "Bound"
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
	case b.Status.Placement != nil:
		return BuildBound
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

// IsBound reports whether the current attempt is with a daemon, started or not.
func IsBound(b *v1alpha1.HLBBuild) bool { return PhaseOfBuild(b) == BuildBound }

// NeedsRun reports whether the object asks for a run that was not opened yet.
func NeedsRun(b *v1alpha1.HLBBuild) bool {
	run := b.Status.Run
	return run == nil || run.Generation != b.Generation || run.RequestedAt != Requested(b)
}

// requestedLimit bounds status.run.requestedAt; the API's own limit, in characters.
const requestedLimit = 64

// Requested is the annotation that asks for a run, as status.run.requestedAt holds it: a value that does not fit is
// replaced by its digest, so that different values stay different.
func Requested(b *v1alpha1.HLBBuild) string {
	value := b.Annotations[v1alpha1.AnnotationRequestedAt]
	if len(value) <= requestedLimit {
		return value
	}
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:])
}
