// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/gc"
	"github.com/openllb/hlb-operator/agent/ledger"
	"github.com/openllb/hlb-operator/agent/snapshot"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/gcrules"
	"github.com/openllb/hlb-operator/internal/mountpolicy"
	"github.com/openllb/hlb-operator/internal/status"
)

// mountLimit is the API's limit of a BuildDaemon's status.mounts.
const mountLimit = 256

// platformLimit is the API's limit of status.platforms.
const platformLimit = 32

// usedStep is what usedBytes is rounded up to, so that the status does not change with every file.
const usedStep = 16 << 20

// inodeStep is the same for usedInodes.
const inodeStep = 1000

// describe puts what is known about the daemon into its status. cache is nil when it can't be read.
func (i *inventory) describe(bd *v1alpha1.BuildDaemon, cache *v1alpha1.BuildCache) {
	i.mu.Lock()
	seen, unreached, vol, budget := i.seen, i.unreached, i.volume, i.budget
	gcStatus := i.gcStatus()
	i.mu.Unlock()
	running, draining := i.load()
	s := &bd.Status
	s.ObservedGeneration = bd.Generation
	s.NodeName, s.AgentID, s.Isolation = i.opts.Node, i.me.agentID, i.isolation
	var policies []v1alpha1.MountPolicy
	if cache != nil {
		s.Slots, policies = int32(slotsOf(cache)), cache.Spec.Mounts
	}
	s.CapacityBytes, s.UsedBytes = vol.CapacityBytes, min(upTo(vol.UsedBytes(), usedStep), vol.CapacityBytes)
	s.CapacityInodes, s.UsedInodes = vol.CapacityInodes, min(upTo(vol.UsedInodes(), inodeStep), vol.CapacityInodes)
	s.VolumeEpoch, s.Keys = i.ledger.Epoch(), i.ledger.Keys()
	if seen != nil {
		s.Version, s.Platform, s.CacheBytes = status.Clip(seen.Version, 128), seen.Platform, seen.Bytes
		s.Platforms, s.GCPolicy = seen.Platforms[:min(len(seen.Platforms), platformLimit)], gcLines(seen.GCPolicy)
		// by the day, so that fading alone writes no status
		s.Sizing = i.sizing.report(budget.MountsBytes, i.now().Truncate(24*time.Hour))
		if gcStatus != nil && gcStatus.LastPrune == nil && s.GC != nil {
			gcStatus.LastPrune = s.GC.LastPrune // of an earlier agent of this daemon
		}
		s.Prefetch = i.prefetch.status(bd.Spec.Prefetch)
		s.GC, s.Mounts = gcStatus, mountUses(seen, i.ledger, i.snapshots, i.opts.Namespace, policies)
	}
	status.ReportService(bd, status.DaemonService{
		Unreachable: unreached, Draining: draining, RunningBuilds: running,
	}, i.now())
	conditions := []metav1.Condition{diskCondition(vol, budget)}
	if seen != nil && cache != nil {
		conditions = append(conditions, policyCondition(seen, volumeBytes(cache)))
	}
	if c := i.cleaned(); c != nil {
		conditions = append(conditions, *c)
	}
	for _, c := range conditions {
		c.ObservedGeneration = bd.Generation
		status.Set(&s.Conditions, c, i.now())
	}
}

// upTo rounds up to a multiple of step.
func upTo(n, step int64) int64 { return (n + step - 1) / step * step }

// diskCondition says whether the volume has room for builds.
func diskCondition(vol gc.Volume, budget gc.Budget) metav1.Condition {
	c := metav1.Condition{
		Type: v1alpha1.ConditionDiskPressure, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonVolumeNearlyFull,
	}
	switch {
	case vol.HasBytePressure(budget):
		c.Message = fmt.Sprintf("Less than a tenth of the volume's %d MiB is free", budget.CapacityBytes>>20)
	case vol.HasInodePressure():
		c.Reason = v1alpha1.ReasonInodesNearlyFull
		c.Message = fmt.Sprintf("Less than a tenth of the volume's %d inodes is free", vol.CapacityInodes)
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, v1alpha1.ReasonVolumeHasSpace, "More than a tenth of the volume is free"
	}
	return c
}

// policyCondition compares the rules that buildkitd reports with those for a volume of sizeBytes.
func policyCondition(seen *daemon.Observation, sizeBytes int64) metav1.Condition {
	if gcrules.Honours(seen.Rules, sizeBytes) {
		return metav1.Condition{
			Type: v1alpha1.ConditionGCPolicyInForce, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonGCPolicyAsConfigured,
			Message: "buildkitd collects garbage as configured",
		}
	}
	return metav1.Condition{
		Type: v1alpha1.ConditionGCPolicyInForce, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonGCPolicyDiffers,
		Message: fmt.Sprintf(
			"buildkitd collects garbage by other rules than configured and may delete cache mounts: %s",
			strings.Join(gcLines(seen.GCPolicy), "; "),
		),
	}
}

// gcLines bounds the rules as the API does.
func gcLines(rules []string) []string {
	out := slices.Clone(rules[:min(len(rules), 16)])
	for i := range out {
		out[i] = status.Clip(out[i], 512)
	}
	return out
}

// mountUses lists the cache mounts held, largest first, equal ones by id.
func mountUses(
	seen *daemon.Observation,
	uses *ledger.Ledger,
	snapshots *snapshot.State,
	namespace string,
	policies []v1alpha1.MountPolicy,
) []v1alpha1.MountUse {
	var out []v1alpha1.MountUse
	for id, bytes := range seen.MountBytes {
		if len(id) > idLimit || snapshots.IsUnfilled(id) {
			continue // can't be reported under its own name, or is not there yet
		}
		use := v1alpha1.MountUse{ID: id, Bytes: bytes, Snapshot: snapshotStatus(snapshots, id)}
		if m, known := uses.Mount(id); known {
			first, last := metav1.NewTime(
				m.FirstUsed.Truncate(time.Second),
			), metav1.NewTime(
				m.LastUsed.Truncate(time.Second),
			)
			use.LastUsed, use.Uses, use.Users = &last, m.Uses, m.Users
			if m.Uses > 0 {
				use.FirstUsed = &first
			}
		}
		if p := mountpolicy.Of(namespace, policies, id); p != nil {
			use.Policy = p.ID
		}
		out = append(out, use)
	}
	slices.SortFunc(out, func(a, b v1alpha1.MountUse) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.ID, b.ID))
	})
	return out[:min(len(out), mountLimit)]
}
