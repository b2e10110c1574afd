package controllers

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/buildkey"
)

// newRun is the run that the object asks for now. Its id is the same however often it is worked out.
func newRun(b *v1alpha1.HLBBuild) v1alpha1.RunStatus {
	run := v1alpha1.RunStatus{
		ID:          fmt.Sprintf("g%d", b.Generation),
		Cause:       v1alpha1.CauseSpecChanged,
		Generation:  b.Generation,
		RequestedAt: b.Annotations[v1alpha1.AnnotationRequestedAt],
		Key:         buildkey.Derive(b, inlineMounts(b)),
	}
	if len(run.RequestedAt) > 64 {
		run.RequestedAt = run.RequestedAt[:64]
	}
	if run.RequestedAt != "" {
		sum := sha256.Sum256([]byte(run.RequestedAt))
		run.ID += "-" + hex.EncodeToString(sum[:4])
	}
	if old := b.Status.Run; old != nil && old.Generation == b.Generation {
		run.Cause = v1alpha1.CauseRequested
	}
	return run
}

// inlineMounts lists the ids of the cache mounts that an inline program declares, by static analysis.
func inlineMounts(b *v1alpha1.HLBBuild) []string {
	if b.Spec.Inline == nil {
		return nil
	}
	return buildkey.Mounts(*b.Spec.Inline, b.Spec.Targets)
}
