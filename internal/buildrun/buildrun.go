// SPDX-License-Identifier: Apache-2.0

// Package buildrun derives the runs that an HLBBuild asks for.
package buildrun

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/buildkey"
	"github.com/openllb/hlb-operator/internal/status"
)

// New is the run that the object asks for now. Its id is the same however often it is derived, and no earlier run in the
// status has it: an annotation may come back to an old value.
func New(b *v1alpha1.HLBBuild) v1alpha1.RunStatus {
	run := v1alpha1.RunStatus{
		ID:          fmt.Sprintf("g%d", b.Generation),
		Cause:       v1alpha1.CauseSpecChanged,
		Generation:  b.Generation,
		RequestedAt: status.Requested(b),
		Key:         buildkey.Derive(b, inlineMounts(b)),
	}
	if run.RequestedAt != "" {
		sum := sha256.Sum256([]byte(run.RequestedAt))
		run.ID += "-" + hex.EncodeToString(sum[:4])
	}
	run.ID = unused(b, run.ID)
	if old := b.Status.Run; old != nil && old.Generation == b.Generation {
		run.Cause = v1alpha1.CauseRequested
	}
	return run
}

// Scheduled is the run of the present spec for a time of its schedule.
func Scheduled(b *v1alpha1.HLBBuild, due time.Time) v1alpha1.RunStatus {
	run := New(b)
	run.Cause = v1alpha1.CauseScheduled
	run.ID = unused(b, fmt.Sprintf("s%d", due.Unix()))
	return run
}

// unused makes an id unique among the runs in the status.
func unused(b *v1alpha1.HLBBuild, id string) string {
	base := id
	for n := 2; isRunOf(b, id); n++ {
		id = fmt.Sprintf("%s-%d", base, n)
	}
	return id
}

// isRunOf reports whether the status has a run with this id.
func isRunOf(b *v1alpha1.HLBBuild, id string) bool {
	if old := b.Status.Run; old != nil && old.ID == id {
		return true
	}
	return slices.ContainsFunc(b.Status.History, func(r v1alpha1.RunRecord) bool { return r.ID == id })
}

// inlineMounts lists the ids of the cache mounts that an inline program declares, by static analysis.
func inlineMounts(b *v1alpha1.HLBBuild) []string {
	if b.Spec.HLB.Inline == nil {
		return nil
	}
	return buildkey.Mounts(*b.Spec.HLB.Inline, b.Spec.HLB.Targets)
}
