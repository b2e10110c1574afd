// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/ledger"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/buildstatus"
)

// mountLimit is the API's limit of a BuildDaemon's status.mounts.
const mountLimit = 256

// usedStep is what usedBytes is rounded up to, so that the status does not change with every file.
const usedStep = 16 << 20

// describe puts what is known about the daemon into its status.
func (i *inventory) describe(ctx context.Context, bd *v1alpha1.BuildDaemon) {
	i.mu.Lock()
	seen, unreached, vol := i.seen, i.unreached, i.volume
	i.mu.Unlock()
	running, draining := i.load()
	s := &bd.Status
	s.ObservedGeneration = bd.Generation
	s.NodeName, s.AgentID, s.Isolation = i.opts.Node, i.me.agentID, i.isolation
	s.RunningBuilds = int32(running)
	if slots := i.slots(ctx); slots > 0 {
		s.Slots = slots
	}
	s.CapacityBytes, s.UsedBytes = vol.capacity, (vol.used+usedStep-1)/usedStep*usedStep
	s.VolumeEpoch, s.Keys = i.ledger.Epoch(), i.ledger.Keys()
	if seen != nil {
		s.Version, s.Platform, s.CacheBytes = buildstatus.Clip(seen.Version, 128), seen.Platform, seen.Bytes
		s.GCPolicy = gcLines(seen.GCPolicy)
		s.Mounts = mountUses(seen, i.ledger)
	}
	for _, c := range daemonConditions(unreached, draining, running, vol) {
		c.ObservedGeneration = bd.Generation
		buildstatus.Set(&s.Conditions, c, i.now())
	}
}

// daemonConditions are all conditions of a BuildDaemon whose agent lives.
func daemonConditions(unreached error, draining bool, running int, vol volume) []metav1.Condition {
	ready := metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonDaemonServing, Message: "buildkitd answers",
	}
	if unreached != nil {
		ready.Status, ready.Reason = metav1.ConditionFalse, v1alpha1.ReasonDaemonUnreachable
		ready.Message = "buildkitd does not answer: " + unreached.Error()
	}
	drain := metav1.Condition{
		Type: v1alpha1.ConditionDraining, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonInService, Message: "The daemon takes builds",
	}
	if draining {
		drain.Status, drain.Reason = metav1.ConditionTrue, v1alpha1.ReasonShuttingDown
		drain.Message = fmt.Sprintf("The daemon shuts down after %d running builds", running)
	}
	disk := metav1.Condition{
		Type: v1alpha1.ConditionDiskPressure, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonVolumeHasSpace,
		Message: fmt.Sprintf("The volume is below %d %%", pressurePercent),
	}
	if vol.hasPressure() {
		disk.Status, disk.Reason = metav1.ConditionTrue, v1alpha1.ReasonVolumeNearlyFull
		disk.Message = fmt.Sprintf("The volume is at %d %% or more of %d MiB", pressurePercent, vol.capacity>>20)
	}
	return []metav1.Condition{ready, drain, disk}
}

// gcLines bounds the rules as the API does.
func gcLines(rules []string) []string {
	out := slices.Clone(rules[:min(len(rules), 16)])
	for i := range out {
		out[i] = buildstatus.Clip(out[i], 512)
	}
	return out
}

// mountUses lists the cache mounts held, largest first, equal ones by id.
func mountUses(seen *daemon.Observation, uses *ledger.Ledger) []v1alpha1.MountUse {
	var out []v1alpha1.MountUse
	for id, bytes := range seen.MountBytes {
		if len(id) > idLimit {
			continue // can't be reported under its own name
		}
		use := v1alpha1.MountUse{ID: id, Bytes: bytes}
		if at, known := uses.MountUsed(id); known {
			t := metav1.NewTime(at.Truncate(time.Second))
			use.LastUsed = &t
		}
		out = append(out, use)
	}
	slices.SortFunc(out, func(a, b v1alpha1.MountUse) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.ID, b.ID))
	})
	return out[:min(len(out), mountLimit)]
}
