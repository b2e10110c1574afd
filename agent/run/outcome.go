// SPDX-License-Identifier: Apache-2.0

package run

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

// describe puts what the attempt did into the build's status, but for how it ended.
func (a *attempt) describe(b *v1alpha1.HLBBuild, now time.Time) {
	if a.logFile != "" {
		b.Status.Log = &v1alpha1.LogReference{Daemon: a.Self.Daemon, File: filepath.Base(a.logFile)}
	}
	if a.job != nil {
		b.Status.Cache = &v1alpha1.CacheUseStatus{Fresh: a.job.Plan.Fresh, ImportRefs: a.job.Plan.Imports}
	}
	b.Status.Prime = primeStatus(a.primed)
	if a.out == nil || a.out.Total == 0 && len(a.out.Outputs) == 0 && len(a.out.Mounts) == 0 {
		return // it did not compile, or there was nothing to do
	}
	b.Status.Steps = &v1alpha1.StepsStatus{
		Total: int32(a.out.Total), Cached: int32(a.out.Cached),
		Display: fmt.Sprintf("%d/%d", a.out.Cached, a.out.Total),
	}
	b.Status.Mounts = nil
	for _, m := range a.out.Mounts {
		if len(m.ID) > idLimit || len(b.Status.Mounts) == listLimit {
			continue // can't be reported under its own name, or at all
		}
		bytes, held := a.held[m.ID]
		b.Status.Mounts = append(b.Status.Mounts, v1alpha1.BuildMount{
			ID: m.ID, Target: status.Clip(m.Target, 1024), Sharing: v1alpha1.MountSharing(m.Sharing), Hit: held,
			Bytes: bytes,
		})
	}
	b.Status.Outputs = a.out.Outputs[:min(len(a.out.Outputs), listLimit)]
	for _, ref := range a.job.Plan.Imports {
		setImported(b, ref, a.out.ImportErrors[ref], now)
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
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonNothingToExport
		c.Message = "Nothing was written: " + err.Error()
	} else if err != nil {
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonCacheExportFailed
		c.Message = fmt.Sprintf("%s was not written: %v", ref, err)
	} else if b.Status.Cache != nil {
		b.Status.Cache.ExportRef = ref
	}
	status.Set(&b.Status.Conditions, c, now)
}

// setMountBytes sets how large the build's mounts are by now; those that the daemon no longer holds stay as they were.
func setMountBytes(b *v1alpha1.HLBBuild, bytes map[string]int64) {
	for i := range b.Status.Mounts {
		if size := bytes[b.Status.Mounts[i].ID]; size > 0 {
			b.Status.Mounts[i].Bytes = size
		}
	}
}
