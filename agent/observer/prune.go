// SPDX-License-Identifier: Apache-2.0

package observer

import (
	"context"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/gc"
	"github.com/openllb/hlb-operator/agent/volume"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/eviction"
	"github.com/openllb/hlb-operator/internal/mountpolicy"
	"github.com/openllb/hlb-operator/internal/sizing"
	"github.com/openllb/hlb-operator/internal/write"
)

// prunedLimit is the API's limit of the mounts in a BuildDaemon's status.gc.lastPrune, idLimit that of a mount's id in
// bytes.
const prunedLimit, idLimit = 16, 512

// evict prunes what the BuildCache's policies and the volume demand, given an observation, and observes again when
// something was pruned. o.observing is held.
func (o *Observer) evict(ctx context.Context, seen *daemon.Observation) {
	cache, err := o.Self.BuildCache(ctx, o.Client)
	if err != nil || cache.Spec.Storage.GC == (v1alpha1.GCSpec{}) {
		return // nothing is pruned without a policy
	}
	plan, err := o.plan(ctx, cache, seen)
	if err != nil {
		o.Log.Error(err, "Failed to measure the volume")
		return
	}
	if len(plan) == 0 {
		return
	}
	ids := make([]string, 0, len(plan))
	for _, v := range plan {
		ids = append(ids, v.ID)
	}
	freed, err := o.Daemon.Prune(ctx, ids)
	if err != nil {
		o.Log.Error(err, "Failed to prune")
	}
	o.report(ctx, plan, freed)
	if len(freed) == 0 {
		return
	}
	began := o.Now()
	seen, err = o.Daemon.Observe(ctx)
	o.take(seen, began, err)
}

// plan lists what to prune, and publishes the budget of the volume and what would be evicted next after that.
func (o *Observer) plan(
	ctx context.Context, cache *v1alpha1.BuildCache, seen *daemon.Observation,
) ([]gc.Victim, error) {
	vol, err := volume.Measure(o.StateDir)
	if err != nil {
		return nil, err
	}
	size := sizing.VolumeSize(cache)
	in := gc.Input{
		Records: seen.Cache, Volume: vol, Budget: gc.BudgetOf(vol, size.Value(), cache.Spec.Storage.GC),
		Namespaces: cache.ServedNamespaces(), Policies: cache.Spec.Mounts, MountUsed: o.Usage.LastUses(),
		LostSeconds: o.lostSeconds(cache), Now: o.agesNow(),
	}
	plan := gc.Plan(in)
	if age := replicasAge(&in, plan, seen.AllMountBytes()); age > 0 {
		if in.ReplicaLastUsed, err = o.Replicas.LastUses(ctx, age); err != nil {
			o.Log.Error(err, "Failed to read the other daemons' mounts")
		}
		plan = gc.Plan(in)
	}
	next := gc.NextEviction(in)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.facts.Budget, o.facts.NextEviction = in.Budget, next
	o.Board.SetDaemon(o.facts)
	return plan, nil
}

// Copies on other daemons come and go over hours. pruneAge is how old their list may be for a plan that evicts mounts,
// publishAge for one that only publishes the next eviction. scarcePart is the part of the volume below which room is
// scarce; placement prices evictions from there on.
const (
	pruneAge   = 5 * time.Minute
	publishAge = 30 * time.Minute
	scarcePart = 4
)

// agesNow is the moment that ages are counted to: the earlier one, where the machine's clock has jumped ahead.
func (o *Observer) agesNow() time.Time {
	now := o.Now()
	if o.Clock != nil {
		if clock := o.Clock(); clock.Before(now) {
			return clock
		}
	}
	return now
}

// replicasAge returns how old the list of copies on other daemons may be, 0 when it does not matter which there are.
func replicasAge(in *gc.Input, plan []gc.Victim, mountBytes int64) time.Duration {
	room := min(in.Volume.FreeBytes-in.Budget.FreeBytes, in.Budget.MountsBytes-mountBytes)
	switch {
	case gc.ChoosesMounts(plan):
		return pruneAge
	case room <= in.Volume.CapacityBytes/scarcePart:
		return publishAge
	}
	return 0
}

// lostSeconds returns what the next build of each mount is expected to lose when it does not find it, by id, where that
// is known: what the mount saves, and with a snapshot to fill it from no more than that takes.
func (o *Observer) lostSeconds(cache *v1alpha1.BuildCache) map[string]float64 {
	lost, namespaces := o.Usage.SavedSeconds(), cache.ServedNamespaces()
	for id, saved := range lost {
		e, _ := o.Snapshots.Entry(id)
		if e.Ref != "" && mountpolicy.Primes(mountpolicy.Of(namespaces, cache.Spec.Mounts, id)) {
			lost[id] = eviction.LostSeconds(saved, e.Bytes)
		}
	}
	return lost
}

// report publishes what was pruned of a plan and sends an event about each mount.
func (o *Observer) report(ctx context.Context, plan []gc.Victim, freed map[string]int64) {
	pruned := slices.DeleteFunc(plan, func(v gc.Victim) bool {
		_, gone := freed[v.ID]
		return !gone
	})
	if len(pruned) == 0 {
		return
	}
	summary := sumUp(pruned, freed, o.Now())
	o.mu.Lock()
	o.facts.LastPrune = summary
	o.Board.SetDaemon(o.facts)
	o.mu.Unlock()
	o.Log.Info("Pruned", "records", summary.Records, "bytes", summary.Bytes, "reasons", summary.Reasons,
		"mounts", summary.Mounts)
	if len(summary.Mounts) == 0 {
		return
	}
	bd, err := o.Self.BuildDaemon(ctx, o.Client)
	if err != nil {
		return
	}
	for _, v := range pruned {
		if v.Mount != "" {
			write.Send(o.Events, write.MountPruned(bd, v.Mount, v.Reason, v.Bytes, v.Redundant))
		}
	}
}

// sumUp describes the records that were pruned.
func sumUp(pruned []gc.Victim, freed map[string]int64, now time.Time) *v1alpha1.PruneStatus {
	out := &v1alpha1.PruneStatus{Time: metav1.NewTime(now.Truncate(time.Second)), Records: int32(len(pruned))}
	for _, v := range pruned {
		out.Bytes += max(freed[v.ID], v.Bytes) // the daemon does not always know what it freed
		if !slices.Contains(out.Reasons, v.Reason) {
			out.Reasons = append(out.Reasons, v.Reason)
		}
		if v.Mount != "" && len(v.Mount) <= idLimit && len(out.Mounts) < prunedLimit {
			out.Mounts = append(out.Mounts, v.Mount)
		}
	}
	return out
}

// isShort reports whether the volume has less free than it should.
func (o *Observer) isShort() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.facts.Volume.FreeBytes < o.facts.Budget.FreeBytes || o.facts.Volume.FreeInodes < o.facts.Budget.FreeInodes
}
