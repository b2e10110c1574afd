// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
)

// listLimit is the API's limit of status.mounts and status.outputs.
const listLimit = 64

// idLimit is the API's limit of a mount's id, in bytes.
const idLimit = 512

// describe puts what the attempt did into the build's status; how it ended is told apart from it.
func (t *task) describe(b *v1alpha1.HLBBuild, now time.Time) {
	if t.logFile != "" {
		b.Status.Log = &v1alpha1.LogReference{Daemon: t.opts.Daemon, File: filepath.Base(t.logFile)}
	}
	if t.job != nil {
		b.Status.Cache = &v1alpha1.CacheUseStatus{Fresh: t.job.Plan.Fresh, ImportRefs: t.job.Plan.Imports}
	}
	b.Status.Prime = primeStatus(t.primed)
	if t.out == nil || t.out.Total == 0 && len(t.out.Outputs) == 0 && len(t.out.Mounts) == 0 {
		return // it did not compile, or there was nothing to do
	}
	b.Status.Steps = &v1alpha1.StepsStatus{
		Total: int32(
			t.out.Total,
		), Cached: int32(t.out.Cached), Display: fmt.Sprintf("%d/%d", t.out.Cached, t.out.Total),
	}
	b.Status.Mounts = nil
	for _, m := range t.out.Mounts {
		if len(m.ID) > idLimit || len(b.Status.Mounts) == listLimit {
			continue // can't be reported under its own name, or at all
		}
		bytes, held := t.held[m.ID]
		b.Status.Mounts = append(b.Status.Mounts, v1alpha1.BuildMount{
			ID: m.ID, Target: status.Clip(m.Target, 1024), Sharing: v1alpha1.MountSharing(m.Sharing), Hit: held, Bytes: bytes,
		})
	}
	b.Status.Outputs = t.out.Outputs[:min(len(t.out.Outputs), listLimit)]
	for _, ref := range t.job.Plan.Imports {
		setImported(b, ref, t.out.ImportErrors[ref], now)
	}
}

// primeStatus bounds what is said about priming as the API does.
func primeStatus(primed []v1alpha1.PrimeStatus) []v1alpha1.PrimeStatus {
	var out []v1alpha1.PrimeStatus
	for _, p := range primed {
		if len(p.ID) <= idLimit && len(out) < listLimit {
			p.Message = status.Clip(p.Message, 512)
			out = append(out, p)
		}
	}
	return out
}

func setImported(b *v1alpha1.HLBBuild, ref, problem string, now time.Time) {
	c := metav1.Condition{
		Type: v1alpha1.ConditionCacheImported, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonImported,
		Message: "The daemon was fresh and was offered " + ref, ObservedGeneration: b.Status.ObservedGeneration,
	}
	if problem != "" {
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonImportUnavailable
		c.Message = fmt.Sprintf("The daemon was fresh and %s could not be read: %s", ref, problem)
	}
	status.Set(&b.Status.Conditions, c, now)
}

func setExported(b *v1alpha1.HLBBuild, ref string, err error, now time.Time) {
	c := metav1.Condition{
		Type: v1alpha1.ConditionCacheExported, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonExported,
		Message: "Written to " + ref, ObservedGeneration: b.Status.ObservedGeneration,
	}
	if errors.Is(err, daemon.ErrNothingToExport) {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, v1alpha1.ReasonNothingToExport, "Nothing was written: "+err.Error()
	} else if err != nil {
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonCacheExportFailed
		c.Message = fmt.Sprintf("%s was not written: %v", ref, err)
	} else if b.Status.Cache != nil {
		b.Status.Cache.ExportRef = ref
	}
	status.Set(&b.Status.Conditions, c, now)
}

// setMountBytes notes how large the build's mounts are by now; those that the daemon no longer holds stay as they were.
func setMountBytes(b *v1alpha1.HLBBuild, bytes map[string]int64) {
	for i := range b.Status.Mounts {
		if size := bytes[b.Status.Mounts[i].ID]; size > 0 {
			b.Status.Mounts[i].Bytes = size
		}
	}
}
