// SPDX-License-Identifier: Apache-2.0

package daemonstatus

import (
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/agent/board"
	"github.com/openllb/hlb-operator/agent/gc"
	"github.com/openllb/hlb-operator/agent/snapshot"
	"github.com/openllb/hlb-operator/agent/stepnet"
	"github.com/openllb/hlb-operator/agent/usage"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/sizing"
	"github.com/openllb/hlb-operator/internal/status"
)

// Facts are all that a status is made of.
type Facts struct {
	board.Facts
	// Cache is the daemon's BuildCache, nil when it can't be read.
	Cache *v1alpha1.BuildCache
	// AgentID is the ID of the agent's session.
	AgentID   string
	Node      string
	Isolation v1alpha1.Isolation
	// Network is that of steps, nil where they were to share the pod's.
	Network   *stepnet.State
	Usage     usage.Snapshot
	Snapshots map[string]snapshot.Entry
	// Unfilled are mounts that are still being prefetched.
	Unfilled map[string]bool
	Sizing   *v1alpha1.DaemonSizing
	Now      time.Time
}

// platformLimit is the API's limit of status.platforms.
const platformLimit = 32

// usedStep is what usedBytes is rounded up to, so that the status does not change with every file.
const usedStep = 16 << 20

// inodeStep is the same for usedInodes.
const inodeStep = 1000

// Describe puts the facts into the status. It is a pure function. What the facts don't know stays as it is.
func Describe(bd *v1alpha1.BuildDaemon, f Facts) {
	d, s := &f.Daemon, &bd.Status
	s.ObservedGeneration = bd.Generation
	s.NodeName, s.AgentID, s.Isolation = f.Node, f.AgentID, f.Isolation
	mounts := mountUses(&f)
	if d.Seen == nil && s.VolumeEpoch == f.Usage.Epoch {
		mounts = s.Mounts // as an earlier agent has written
	}
	s.VolumeEpoch = f.Usage.Epoch
	vol := d.Volume
	s.CapacityBytes, s.UsedBytes = vol.CapacityBytes, min(upTo(vol.UsedBytes(), usedStep), vol.CapacityBytes)
	s.CapacityInodes, s.UsedInodes = vol.CapacityInodes, min(upTo(vol.UsedInodes(), inodeStep), vol.CapacityInodes)
	s.Usage = usageText(s.UsedBytes, s.CapacityBytes)
	status.ReportService(bd, status.DaemonService{
		Unreachable: d.Unreached, Unhealthy: f.Health.Reason, Why: f.Health.Message, Draining: f.Builds.Draining,
		RunningBuilds: f.Builds.Running,
	}, f.Now)
	conditions := []metav1.Condition{diskCondition(vol, d.Budget), networkCondition(f.Network)}
	if f.Cache != nil {
		s.Slots = max(f.Cache.Spec.BuildKit.MaxConcurrentBuilds, 1)
	}
	if seen := d.Seen; seen != nil {
		s.Version, s.Platform, s.CacheBytes = status.Clip(seen.Version, 128), seen.Platform, seen.Bytes
		s.Platforms, s.GCPolicy = seen.Platforms[:min(len(seen.Platforms), platformLimit)], gcLines(seen.GCPolicy)
		s.Sizing, s.GC, s.Prefetch = f.Sizing, gcStatus(d, s.GC), prefetchStatus(f.Prefetched, bd.Spec.Prefetch)
		if f.Cache != nil {
			size := sizing.VolumeSize(f.Cache)
			conditions = append(conditions, policyCondition(seen, size.Value()))
		}
	}
	if f.RegistryCleaned != nil {
		conditions = append(conditions, *f.RegistryCleaned)
	}
	for _, c := range conditions {
		c.ObservedGeneration = bd.Generation
		status.Set(&s.Conditions, c, f.Now)
	}
	fitLists(bd, f.Usage.Keys, mounts)
	s.KeysTotal = int32(f.Usage.KeysTotal)
	if d.Seen != nil {
		s.MountsTotal = int32(len(d.Seen.MountBytes))
	}
}

// upTo rounds up to a multiple of step.
func upTo(n, step int64) int64 { return (n + step - 1) / step * step }

// usageText describes how full a volume is: "61% of 20Gi", empty for one of no size.
func usageText(used, capacity int64) string {
	if capacity <= 0 {
		return ""
	}
	// in whole GiB, or MiB for small volumes
	unit, suffix := int64(1)<<30, "Gi"
	if capacity < 4*unit {
		unit, suffix = 1<<20, "Mi"
	}
	return fmt.Sprintf("%d%% of %d%s", used*100/capacity, (capacity+unit/2)/unit, suffix)
}

// gcLines bounds the rules as the API does.
func gcLines(rules []string) []string {
	out := slices.Clone(rules[:min(len(rules), 16)])
	for i := range out {
		out[i] = status.Clip(out[i], 512)
	}
	return out
}

// gcStatus describes the garbage collection of a daemon that was observed, nil while there is none. before is what an
// earlier agent of the daemon has written.
func gcStatus(d *board.Daemon, before *v1alpha1.GCStatus) *v1alpha1.GCStatus {
	if d.Budget == (gc.Budget{}) {
		return nil
	}
	b, mounts := d.Budget, d.Seen.AllMountBytes()
	out := &v1alpha1.GCStatus{
		CapacityBytes: b.CapacityBytes, MountsBudgetBytes: b.MountsBytes, LayersBudgetBytes: b.LayersBytes,
		FreeBytes: b.FreeBytes, MountsBytes: mounts, LayersBytes: d.Seen.Bytes - mounts, LastPrune: d.LastPrune,
		NextEviction: d.NextEviction,
	}
	if out.LastPrune == nil && before != nil {
		out.LastPrune = before.LastPrune
	}
	return out
}

// prefetchStatus lists the ends of requests that the spec still has, in its order.
func prefetchStatus(
	ends []v1alpha1.PrefetchStatus, requests []v1alpha1.PrefetchRequest,
) (out []v1alpha1.PrefetchStatus) {
	for i := range requests {
		r := &requests[i]
		at := slices.IndexFunc(ends, func(e v1alpha1.PrefetchStatus) bool {
			return e.ID == r.ID && e.RequestedAt.Equal(&r.RequestedAt)
		})
		if at >= 0 {
			out = append(out, ends[at])
		}
	}
	return out
}

// seconds truncates a time to what the API keeps.
func seconds(t time.Time) metav1.Time { return metav1.NewTime(t.Truncate(time.Second)) }
