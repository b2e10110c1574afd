// SPDX-License-Identifier: Apache-2.0

package gc

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/heap"
	"github.com/openllb/hlb-operator/internal/mountpolicy"
)

// Class orders records that are not cache mounts: lower classes are pruned first.
type Class int

// The classes.
const (
	// Source is a local source or a git checkout, which is cheap to fetch again.
	Source Class = iota
	// Layer is part of an image or a step's result.
	Layer
	// Internal is a record for BuildKit's own use, such as a front end or a git repository.
	Internal
)

// Record is one record of BuildKit's cache.
type Record struct {
	// ID of the record.
	ID string
	// Mount is the id of a cache mount as BuildKit knows it; empty for all other records, which have a Class.
	Mount string
	Class Class
	// Bytes of disk usage; 0 while a cache mount is in use.
	Bytes int64
	// LastUsed as BuildKit reports it.
	LastUsed time.Time
	// InUse and Shared records can't be pruned; Shared ones take no space of their own.
	InUse, Shared bool
	// Parents are the ids of the records below it. A record is pruned after its children.
	Parents []string
}

// Input is everything that a plan depends on.
type Input struct {
	Records []Record
	Volume  Volume
	Budget  Budget
	// Namespace of the mounts' ids, and Policies of the BuildCache.
	Namespace string
	Policies  []v1alpha1.MountPolicy
	// MountUsed is the last use of mounts by builds, by id without base state; mounts may be missing. BuildKit's own
	// LastUsed also moves without a build.
	MountUsed map[string]time.Time
	// ReplicaLastUsed is the last use of mounts' copies on other ready daemons of the fleet, by id without base state:
	// the latest of each mount; mounts without such a copy are missing.
	ReplicaLastUsed map[string]time.Time
	// LostSeconds is the cost to the next build of a mount if the mount is missing, by id without base state; mounts
	// may be missing.
	LostSeconds map[string]float64
	Now         time.Time
}

// Victim is one record to prune.
type Victim struct {
	Record
	Reason v1alpha1.PruneReason
	// Redundant is set for a cache mount that is pruned before others because another daemon has a copy with a later
	// use.
	Redundant bool
}

// Plan returns the records to prune, in order:
//
//  1. mounts over the age, then over the size of their own policy,
//  2. mounts, then layers over their budget,
//  3. sources, layers, then mounts until enough bytes, then inodes are free.
//
// Redundant mounts are pruned before all others: a mount is redundant if another daemon has a copy with a later use, so
// the latest copy of a fleet never is. Within redundant and within unique mounts, the order is that of package
// eviction. Layers are pruned by class, then least recently used first. Ties: id. Pinned mounts and records in use
// stay.
func Plan(in Input) []Victim {
	p := newPlanner(in)
	p.ownPolicies()
	p.redundantFirst()
	p.fitMounts(in.Budget.MountsBytes)
	p.fitLayers(in.Budget.LayersBytes)
	p.freeSpace(v1alpha1.PruneLowSpace, in.Budget.FreeBytes-in.Volume.FreeBytes)
	p.freeSpace(v1alpha1.PruneLowInodes, bytesOfInodes(in.Volume, in.Budget.FreeInodes-in.Volume.FreeInodes))
	return p.victims
}

// ChoosesMounts reports whether a plan prunes mounts to make room, so that their order matters.
func ChoosesMounts(plan []Victim) bool {
	return slices.ContainsFunc(plan, func(v Victim) bool {
		return v.Mount != "" && v.Reason != v1alpha1.PruneTooOld && v.Reason != v1alpha1.PruneTooLarge
	})
}

// bytesOfInodes estimates the bytes that hold so many inodes from the volume's mean: records have no inode counts. The
// next observation corrects it.
func bytesOfInodes(v Volume, inodes int64) int64 {
	if v.CapacityInodes <= 0 || inodes <= 0 || v.UsedInodes() <= 0 {
		return 0
	}
	return int64(float64(v.UsedBytes()) / float64(v.UsedInodes()) * float64(inodes))
}

// planner chooses victims one by one.
type planner struct {
	in                      Input
	mounts                  []Record           // prunable mounts, in eviction order
	layers                  *heap.Heap[Record] // prunable layers
	blocked                 map[string]int     // number of children left, by id
	byID                    map[string]Record
	mountsBytes, layerBytes int64
	freed                   int64
	victims                 []Victim
}

func newPlanner(in Input) *planner {
	p := &planner{in: in, blocked: map[string]int{}, byID: map[string]Record{}, layers: heap.New(isPrunedBefore)}
	for _, r := range in.Records {
		p.byID[r.ID] = r
		for _, parent := range r.Parents {
			p.blocked[parent]++
		}
		if r.Mount != "" {
			p.mountsBytes += r.Bytes
			if !r.InUse && !p.isPinned(r) {
				p.mounts = append(p.mounts, r)
			}
		} else if !r.Shared {
			p.layerBytes += r.Bytes
		}
	}
	for _, r := range in.Records {
		p.enqueueLayer(r)
	}
	p.sortMounts()
	return p
}

// sortMounts puts those first that go first. The order of records plays no part, not even in how the mean is rounded.
func (p *planner) sortMounts() {
	slices.SortFunc(p.mounts, func(a, b Record) int {
		return cmp.Or(p.lastUsed(a).Compare(p.lastUsed(b)), cmp.Compare(a.Mount, b.Mount), cmp.Compare(a.ID, b.ID))
	})
	scores := p.scores()
	slices.SortStableFunc(p.mounts, func(a, b Record) int { return cmp.Compare(scores[b.ID], scores[a.ID]) })
}

// scores are what mounts go by, the highest first, by record. A mount's worth is the seconds that are lost for each
// byte that is gained by pruning it.
func (p *planner) scores() map[string]float64 {
	worth, lost, bytes := map[string]float64{}, 0.0, 0.0
	for _, r := range p.mounts {
		if l := p.in.LostSeconds[mountpolicy.Unbased(r.Mount)]; l > 0 && r.Bytes > 0 {
			worth[r.ID] = l / float64(r.Bytes)
			lost, bytes = lost+l, bytes+float64(r.Bytes)
		}
	}
	mean := 1.0
	if bytes > 0 {
		mean = lost / bytes
	}
	out := make(map[string]float64, len(p.mounts))
	for _, r := range p.mounts {
		w, known := worth[r.ID]
		if !known {
			w = mean
		}
		out[r.ID] = max(p.in.Now.Sub(p.lastUsed(r)).Seconds(), 1) / math.Sqrt(w)
	}
	return out
}

// enqueueLayer adds a record to layers if it is a prunable layer without children.
func (p *planner) enqueueLayer(r Record) {
	if r.Mount == "" && !r.InUse && !r.Shared && p.blocked[r.ID] == 0 {
		p.layers.Push(r)
	}
}

func (p *planner) policy(r Record) *v1alpha1.MountPolicy {
	return mountpolicy.Of(p.in.Namespace, p.in.Policies, r.Mount)
}

func (p *planner) isPinned(r Record) bool {
	policy := p.policy(r)
	return mountpolicy.IsPinned(policy)
}

// lastUsed returns when a build last used a mount.
func (p *planner) lastUsed(r Record) time.Time {
	if at, known := p.in.MountUsed[mountpolicy.Unbased(r.Mount)]; known {
		return at
	}
	return r.LastUsed
}

// isRedundant reports whether another daemon has a copy of a mount with a later use.
func (p *planner) isRedundant(r Record) bool {
	at, held := p.in.ReplicaLastUsed[mountpolicy.Unbased(r.Mount)]
	return held && at.After(p.lastUsed(r))
}

// redundantFirst moves redundant mounts before unique ones.
func (p *planner) redundantFirst() {
	var others []Record
	p.mounts = slices.DeleteFunc(p.mounts, func(r Record) bool {
		if p.isRedundant(r) {
			return false
		}
		others = append(others, r)
		return true
	})
	p.mounts = append(p.mounts, others...)
}

// prune makes a record a victim, and its parents prunable.
func (p *planner) prune(v Victim) {
	r := v.Record
	p.victims = append(p.victims, v)
	p.freed += r.Bytes
	if r.Mount != "" {
		p.mountsBytes -= r.Bytes
	} else {
		p.layerBytes -= r.Bytes
	}
	for _, parent := range r.Parents {
		p.blocked[parent]--
		if below, ok := p.byID[parent]; ok {
			p.enqueueLayer(below)
		}
	}
}

// ownPolicies prunes the mounts that are over the bounds of their own policy.
func (p *planner) ownPolicies() {
	tooOld := func(r Record, policy *v1alpha1.MountPolicy) bool {
		used := p.lastUsed(r)
		age := mountpolicy.Bounds(policy).MaxAgeSeconds
		return age != nil && !used.IsZero() && p.in.Now.Sub(used) > time.Duration(*age)*time.Second
	}
	tooLarge := func(r Record, policy *v1alpha1.MountPolicy) bool {
		size := mountpolicy.Bounds(policy).MaxSize
		return size != nil && r.Bytes > size.Value()
	}
	for _, rule := range []struct {
		reason v1alpha1.PruneReason
		holds  func(Record, *v1alpha1.MountPolicy) bool
	}{{v1alpha1.PruneTooOld, tooOld}, {v1alpha1.PruneTooLarge, tooLarge}} {
		p.mounts = slices.DeleteFunc(p.mounts, func(r Record) bool {
			policy := p.policy(r)
			if policy == nil || !rule.holds(r, policy) {
				return false
			}
			p.prune(Victim{Record: r, Reason: rule.reason})
			return true
		})
	}
}

func (p *planner) fitMounts(budget int64) {
	for p.mountsBytes > budget && p.pruneMount(v1alpha1.PruneMountsOverBudget) {
	}
}

// fitLayers prunes layers until they fit their budget. Records without bytes are pruned too: they may be the children
// of records with bytes.
func (p *planner) fitLayers(budget int64) {
	for p.layerBytes > budget && p.pruneLayer(v1alpha1.PruneLayersOverBudget) {
	}
}

// freeSpace prunes layers, then mounts, until all victims together have so many bytes.
func (p *planner) freeSpace(reason v1alpha1.PruneReason, bytes int64) {
	for p.freed < bytes && (p.pruneLayer(reason) || p.pruneMount(reason)) {
	}
}

// pruneMount prunes the first mount with bytes, and reports whether there was one.
func (p *planner) pruneMount(reason v1alpha1.PruneReason) bool {
	at := slices.IndexFunc(p.mounts, func(r Record) bool { return r.Bytes > 0 })
	if at < 0 {
		return false
	}
	r := p.mounts[at]
	p.mounts = slices.Delete(p.mounts, at, at+1)
	p.prune(Victim{Record: r, Reason: reason, Redundant: p.isRedundant(r)})
	return true
}

// pruneLayer prunes the next layer, and reports whether there was one.
func (p *planner) pruneLayer(reason v1alpha1.PruneReason) bool {
	if p.layers.Len() == 0 {
		return false
	}
	p.prune(Victim{Record: p.layers.Pop(), Reason: reason})
	return true
}

// isPrunedBefore reports whether layer a is pruned before b: by class, then least recently used first, then by id.
func isPrunedBefore(a, b Record) bool {
	return cmp.Or(cmp.Compare(a.Class, b.Class), a.LastUsed.Compare(b.LastUsed), cmp.Compare(a.ID, b.ID)) < 0
}
