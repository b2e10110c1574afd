// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/gc"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/eviction"
	"github.com/openllb/hlb-operator/internal/mountpolicy"
	"github.com/openllb/hlb-operator/internal/sizing"
	"github.com/openllb/hlb-operator/internal/write"
)

// prunedShown is the API's limit of the mounts in a BuildDaemon's status.gc.lastPrune.
const prunedShown = 16

// volumeBytes is the size of the volume that the BuildCache gives each daemon.
func volumeBytes(cache *v1alpha1.BuildCache) int64 {
	size := sizing.VolumeSize(cache)
	return size.Value()
}

// collect prunes what the BuildCache's policies and the volume ask for, given a look at the daemon, and looks again
// when something was pruned.
func (i *inventory) collect(ctx context.Context, seen *daemon.Observation) {
	cache := i.buildCache(ctx)
	vol, err := volumeAt(i.opts.StateDir)
	if cache == nil || err != nil || cache.Spec.Storage.GC == (v1alpha1.GCSpec{}) {
		return // nothing is pruned by a policy that nobody has stated
	}
	budget := gc.BudgetOf(vol, volumeBytes(cache), cache.Spec.Storage.GC)
	i.mu.Lock()
	i.budget = budget
	i.mu.Unlock()
	world := gc.Input{
		Records: seen.Cache, Volume: vol, Budget: budget, Namespace: i.opts.Namespace, Policies: cache.Spec.Mounts,
		MountUsed: i.ledger.MountsUsed(), Now: i.now(),
	}
	plan := gc.Plan(world)
	if gc.ChoosesMounts(plan) {
		world.LostSeconds = i.lostSeconds(cache)
		if world.ReplicaLastUsed, err = i.peers.lastUses(ctx, ptr.Deref(cache.Spec.Replicas, 1)); err != nil {
			i.log.Info("Not all other daemons are known", "reason", err.Error())
		}
		plan = gc.Plan(world)
	}
	if len(plan) == 0 {
		return
	}
	ids := make([]string, 0, len(plan))
	for _, v := range plan {
		ids = append(ids, v.ID)
	}
	freed, err := i.daemon.Prune(ctx, ids)
	if err != nil {
		i.log.Info("Pruning did not end", "reason", err.Error())
	}
	i.notePrune(ctx, plan, freed)
	if len(freed) == 0 {
		return
	}
	began := i.now()
	seen, err = i.daemon.Observe(ctx)
	i.note(seen, err)
	if err == nil {
		i.correctLedger(seen, began)
	}
}

// lostSeconds is what the next build of a mount is expected to lose when it does not find it, by id, where that is
// known: what it saves, and with a snapshot to fill it from no more than that takes.
func (i *inventory) lostSeconds(cache *v1alpha1.BuildCache) map[string]float64 {
	lost := i.ledger.MountsSaved()
	for id, saved := range lost {
		e, _ := i.snapshots.Entry(id)
		if e.Ref != "" && mountpolicy.Primes(mountpolicy.Of(i.opts.Namespace, cache.Spec.Mounts, id)) {
			lost[id] = eviction.LostSeconds(saved, e.Bytes)
		}
	}
	return lost
}

// notePrune keeps what was pruned for the status and tells of mounts.
func (i *inventory) notePrune(ctx context.Context, plan []gc.Victim, freed map[string]int64) {
	pruned := slices.DeleteFunc(plan, func(v gc.Victim) bool {
		_, gone := freed[v.ID]
		return !gone
	})
	if len(pruned) == 0 {
		return
	}
	summary := sumUp(pruned, freed, i.now())
	i.mu.Lock()
	i.lastPrune = summary
	i.mu.Unlock()
	i.log.Info(
		"Pruned",
		"records",
		summary.Records,
		"bytes",
		summary.Bytes,
		"reasons",
		summary.Reasons,
		"mounts",
		summary.Mounts,
	)
	bd := &v1alpha1.BuildDaemon{}
	if len(summary.Mounts) == 0 || i.client.Get(ctx, i.name(), bd) != nil {
		return
	}
	for _, v := range pruned {
		if v.Mount != "" {
			write.Send(i.events, write.MountPruned(bd, v.Mount, v.Reason, v.Bytes, v.Redundant))
		}
	}
}

// sumUp describes records that are gone.
func sumUp(pruned []gc.Victim, freed map[string]int64, now time.Time) *v1alpha1.PruneStatus {
	out := &v1alpha1.PruneStatus{Time: metav1.NewTime(now.Truncate(time.Second)), Records: int32(len(pruned))}
	for _, v := range pruned {
		out.Bytes += max(freed[v.ID], v.Bytes) // the daemon does not always know what it freed
		if !slices.Contains(out.Reasons, v.Reason) {
			out.Reasons = append(out.Reasons, v.Reason)
		}
		if v.Mount != "" && len(v.Mount) <= idLimit && len(out.Mounts) < prunedShown {
			out.Mounts = append(out.Mounts, v.Mount)
		}
	}
	return out
}

// correctLedger tells the ledger what a look that began at a moment has found.
func (i *inventory) correctLedger(seen *daemon.Observation, began time.Time) {
	i.mu.Lock()
	i.looked = began
	i.mu.Unlock()
	evicted, err := i.ledger.Look(seen.MountBytes, began)
	if err != nil {
		i.log.Info("The ledger was not written", "reason", err.Error())
	}
	if len(evicted) > 0 {
		i.log.Info("Cache mounts are gone, so their keys are fresh again", "mounts", evicted)
	}
}

// isShort says whether the volume has less free than it should.
func (i *inventory) isShort() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.volume.FreeBytes < i.budget.FreeBytes || i.volume.FreeInodes < i.budget.FreeInodes
}

// gcStatus describes the garbage collection, nil while there is none. i.mu is held.
func (i *inventory) gcStatus() *v1alpha1.GCStatus {
	if i.budget == (gc.Budget{}) || i.seen == nil {
		return nil
	}
	b := i.budget
	out := &v1alpha1.GCStatus{
		CapacityBytes: b.CapacityBytes, MountsBudgetBytes: b.MountsBytes, LayersBudgetBytes: b.LayersBytes, FreeBytes: b.FreeBytes,
		LastPrune: i.lastPrune,
	}
	out.MountsBytes = i.seen.AllMountBytes()
	out.LayersBytes = i.seen.Bytes - out.MountsBytes
	return out
}
