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

// details are what a report says about an attempt besides how it ended.
type details struct {
	Log      *v1alpha1.LogReference   `json:"log,omitempty"`
	Cache    *v1alpha1.CacheUseStatus `json:"cache,omitempty"`
	Prime    []v1alpha1.PrimeStatus   `json:"prime,omitempty"`
	Steps    *v1alpha1.StepsStatus    `json:"steps,omitempty"`
	Mounts   []v1alpha1.BuildMount    `json:"mounts,omitempty"`
	Outputs  []v1alpha1.OutputStatus  `json:"outputs,omitempty"`
	Imported []metav1.Condition       `json:"imported,omitempty"`
}

// details returns what the attempt did. bytes are the sizes of mounts by now.
func (a *execution) details(bytes map[string]int64) *details {
	d := &details{Prime: primeStatus(a.primed)}
	if a.logFile != "" {
		d.Log = &v1alpha1.LogReference{Daemon: a.Self.Daemon, File: filepath.Base(a.logFile)}
	}
	if a.job != nil {
		d.Cache = &v1alpha1.CacheUseStatus{Fresh: a.job.Plan.Fresh, ImportRefs: a.job.Plan.Imports}
	}
	if a.out == nil || a.out.Total == 0 && len(a.out.Outputs) == 0 && len(a.out.Mounts) == 0 {
		return d // it did not compile, or there was nothing to do
	}
	d.Steps = &v1alpha1.StepsStatus{
		Total: int32(a.out.Total), Cached: int32(a.out.Cached),
		Display: fmt.Sprintf("%d/%d", a.out.Cached, a.out.Total),
	}
	for _, m := range a.out.Mounts {
		if len(m.ID) > idLimit || len(d.Mounts) == listLimit {
			continue // can't be reported under its own name, or at all
		}
		size, held := a.held[m.ID]
		d.Mounts = append(d.Mounts, v1alpha1.BuildMount{
			ID: m.ID, Target: status.Clip(m.Target, 1024), Sharing: v1alpha1.MountSharing(m.Sharing), Hit: held,
			Bytes: size,
		})
	}
	setMountBytes(d.Mounts, bytes)
	d.Outputs = a.out.Outputs[:min(len(a.out.Outputs), listLimit)]
	for _, ref := range a.job.Plan.Imports {
		d.Imported = append(d.Imported, imported(ref, a.out.ImportErrors[ref]))
	}
	return d
}

// apply puts the details into the build's status.
func (d *details) apply(b *v1alpha1.HLBBuild, now time.Time) {
	s := &b.Status
	if d.Log != nil {
		s.Log = d.Log
	}
	if d.Cache != nil {
		s.Cache = d.Cache
	}
	s.Prime = d.Prime
	if d.Steps != nil {
		s.Steps, s.Mounts, s.Outputs = d.Steps, d.Mounts, d.Outputs
	}
	for _, c := range d.Imported {
		c.ObservedGeneration = s.ObservedGeneration
		status.Set(&s.Conditions, c, now)
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

// imported is the condition about an import of registry cache.
func imported(ref, problem string) metav1.Condition {
	c := metav1.Condition{
		Type: v1alpha1.ConditionCacheImported, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonImported,
		Message: "The daemon was fresh and was offered " + ref,
	}
	if problem != "" {
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonImportUnavailable
		c.Message = fmt.Sprintf("The daemon was fresh and %s could not be read: %s", ref, problem)
	}
	return c
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

// setMountBytes sets how large mounts are by now; those that the daemon no longer holds stay as they were.
func setMountBytes(mounts []v1alpha1.BuildMount, bytes map[string]int64) {
	for i := range mounts {
		if size := bytes[mounts[i].ID]; size > 0 {
			mounts[i].Bytes = size
		}
	}
}
