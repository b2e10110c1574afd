// SPDX-License-Identifier: Apache-2.0

package gc

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/eviction"
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
	// Namespaces of the mounts' ids, and Policies of the BuildCache.
	Namespaces []string
	Policies   []v1alpha1.MountPolicy
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
// The order of mounts is that of eviction.Order, but least recently used first under their own policies. Layers are
// pruned by class, then least recently used first. Ties: id. Pinned mounts and records in use stay.
func Plan(in Input) []Victim { return plan(in).victims }

// NextEviction returns the mount that is evicted next for want of room once the plan for in is carried out; nil if no
// mount may be evicted. An id that is too long for the API is not reported. Lost seconds are rounded up, so that only
// unknown ones are 0.
func NextEviction(in Input) *v1alpha1.NextEviction {
	p := plan(in)
	at := p.nextMount()
	if at < 0 {
		return nil
	}
	r := p.mounts[at]
	id := mountpolicy.Unbased(r.Mount)
	if len(id) > maxIDLength {
		return nil
	}
	return &v1alpha1.NextEviction{
		ID:          id,
		Bytes:       r.Bytes,
		LostSeconds: int32(min(math.Ceil(in.LostSeconds[id]), math.MaxInt32)),
		Redundant:   p.isRedundant(r),
	}
}

// maxIDLength is the API's limit of a mount's id in a BuildDaemon's status.
const maxIDLength = 512

func plan(in Input) *planner {
	p := newPlanner(in)
	p.ownPolicies()
	p.sortMounts()
	p.fitMounts(in.Budget.MountsBytes)
	p.fitLayers(in.Budget.LayersBytes)
	p.freeSpace(v1alpha1.PruneLowSpace, in.Budget.FreeBytes-in.Volume.FreeBytes)
	p.freeSpace(v1alpha1.PruneLowInodes, bytesOfInodes(in.Volume, in.Budget.FreeInodes-in.Volume.FreeInodes))
	return p
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
	mounts                  []Record           // prunable mounts: least recently used first, then see sortMounts
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
	slices.SortFunc(p.mounts, func(a, b Record) int {
		return cmp.Or(p.lastUsed(a).Compare(p.lastUsed(b)), cmp.Compare(a.ID, b.ID))
	})
	return p
}

// sortMounts puts the mounts into the order of eviction.
func (p *planner) sortMounts() {
	copies := make([]eviction.Copy[string], len(p.mounts))
	for i, r := range p.mounts {
		copies[i] = p.copyOf(r)
	}
	eviction.Order(copies, unixSeconds(p.in.Now))
	for i := range copies {
		p.mounts[i] = p.byID[copies[i].ID]
	}
}

// copyOf describes a mount for eviction. Several mounts have one id if they began with different base states.
func (p *planner) copyOf(r Record) eviction.Copy[string] {
	id := mountpolicy.Unbased(r.Mount)
	return eviction.Copy[string]{
		ID:                   r.ID,
		Bytes:                r.Bytes,
		UsedAtSeconds:        unixSeconds(p.lastUsed(r)),
		ReplicaUsedAtSeconds: unixSeconds(p.in.ReplicaLastUsed[id]),
		LostSeconds:          p.in.LostSeconds[id],
	}
}

// unixSeconds returns t on the clock of eviction.Copy; 0 for the zero time.
func unixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}

// enqueueLayer adds a record to layers if it is a prunable layer without children.
func (p *planner) enqueueLayer(r Record) {
	if r.Mount == "" && !r.InUse && !r.Shared && p.blocked[r.ID] == 0 {
		p.layers.Push(r)
	}
}

func (p *planner) policy(r Record) *v1alpha1.MountPolicy {
	return mountpolicy.Of(p.in.Namespaces, p.in.Policies, r.Mount)
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
	c := p.copyOf(r)
	return c.IsRedundant()
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

// nextMount returns the index of the mount that is evicted next: the first with bytes; -1 if there is none.
func (p *planner) nextMount() int {
	return slices.IndexFunc(p.mounts, func(r Record) bool { return r.Bytes > 0 })
}

// pruneMount prunes the next mount, and reports whether there was one.
func (p *planner) pruneMount(reason v1alpha1.PruneReason) bool {
	at := p.nextMount()
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
