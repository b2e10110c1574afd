// SPDX-License-Identifier: Apache-2.0

// Package buildrun derives the runs that an HLBBuild asks for.
package buildrun

import (
	"cmp"
	"fmt"
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/buildkey"
	"github.com/openllb/hlb-operator/internal/status"
)

// New is the run that the object asks for now. It is the same however often it is derived from one version of the
// object, and no earlier run of the object has its id.
func New(b *v1alpha1.HLBBuild) v1alpha1.RunStatus {
	run := v1alpha1.RunStatus{
		ID:          fmt.Sprintf("g%d", b.Generation),
		Cause:       v1alpha1.CauseSpecChanged,
		Generation:  b.Generation,
		RequestedAt: status.Requested(b),
		Key:         Key(b),
	}
	old := b.Status.Run
	if old == nil {
		return run
	}
	// an annotation that was removed and comes back with the same value asks for nothing
	run.RequestedAt = cmp.Or(run.RequestedAt, old.RequestedAt)
	if old.Generation == b.Generation {
		run.ID += fmt.Sprintf("-%d", old.Number+1)
	}
	if !status.HasNewSpec(b) {
		run.Cause = v1alpha1.CauseRequested
	}
	return run
}

// Scheduled is the run of the present spec for a time of its schedule. Its id is made of that time: a schedule comes to
// each of its times once.
func Scheduled(b *v1alpha1.HLBBuild, due time.Time) v1alpha1.RunStatus {
	run := New(b)
	run.Cause = v1alpha1.CauseScheduled
	run.ID = fmt.Sprintf("s%d", due.Unix())
	return run
}

// Again is a run in place of the current one, for the same cause and under another id.
func Again(b *v1alpha1.HLBBuild) v1alpha1.RunStatus {
	run := New(b)
	run.Cause = b.Status.Run.Cause
	return run
}

// Key is the cache key that the object's next run goes by.
func Key(b *v1alpha1.HLBBuild) string { return buildkey.Derive(b, inlineMounts(b)) }

// inlineMounts lists the ids of the cache mounts that an inline program declares, by static analysis.
func inlineMounts(b *v1alpha1.HLBBuild) []string {
	if b.Spec.HLB.Inline == nil {
		return nil
	}
	return buildkey.Mounts(*b.Spec.HLB.Inline, b.Spec.HLB.Targets)
}
