// SPDX-License-Identifier: Apache-2.0

package gc

import (
	"cmp"
	"container/heap"
	"math"
	"slices"
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/mountpolicy"
)

// Class orders what is not a cache mount: a lower class goes first.
type Class int

// The classes.
const (
	// Source is a local source or a git checkout, cheap to fetch again.
	Source Class = iota
	// Layer is part of an image or a step's result.
	Layer
	// Internal is what BuildKit keeps for itself, such as a front end or a git repository.
	Internal
)

// Record is one record of BuildKit's cache.
type Record struct {
	// ID of the record.
	ID string
	// Mount is the id of the cache mount that it is, as BuildKit knows it; empty for all other records, which have a
	// Class.
	Mount string
	Class Class
	// Bytes it takes; 0 while a cache mount is in use.
	Bytes int64
	// LastUsed as BuildKit says.
	LastUsed time.Time
	// InUse records can't be pruned, nor can Shared ones; these take no space of their own.
	InUse, Shared bool
	// Parents are the records it stands on. A record is pruned after those that stand on it.
	Parents []string
}

// World is all that a plan is made from.
type World struct {
	Records []Record
	Volume  Volume
	Budget  Budget
	// Namespace that mounts are named in, and the Policies of its BuildCache.
	Namespace string
	Policies  []v1alpha1.MountPolicy
	// MountUsed is when builds last had the mounts, by id without base state, where that is known. BuildKit's own
	// LastUsed also moves without a build.
	MountUsed map[string]time.Time
	// Elsewhere is when builds last had copies of the mounts on other daemons of the fleet that serve builds, by id
	// without base state: the latest of each mount, and none where no such copy is known.
	Elsewhere map[string]time.Time
	// LostSeconds is what the next build of a mount loses when it does not find it, by id without base state, where
	// that is known.
	LostSeconds map[string]float64
	Now         time.Time
}

// Victim is one record to prune.
type Victim struct {
	Record
	Reason v1alpha1.PruneReason
	// Spare says that it is a cache mount that went before others because another daemon has a copy that was used
	// later.
	Spare bool
}

// Plan lists what to prune, in that order. Single mounts go for their own policy first: those too old, then those too
// large. Then both budgets are kept, then space and inodes freed: by sources, layers, and last by mounts. Of those
// the spare go before all others: a mount is spare when a build has had a copy elsewhere later than this one. So of
// several copies in a fleet the one used last is never spare, and a volume drops what no other daemon has only when
// it holds nothing that one has. In each group of mounts the one goes first with the longest time since its last use
// × √(bytes / seconds that are lost without it): that time stands for how unlikely another use is, and the root for
// how roughly the rest is known. Mounts of which it is not known what is lost are worth as much for each byte as the
// others are; if it is known of none, those unused for longest go first. So do layers. Equal ones go by id. Pinned
// mounts and records in use stay.
func Plan(w World) []Victim {
	p := newPlanner(w)
	p.ownPolicies()
	p.spareFirst()
	p.keepMounts(w.Budget.MountsBytes)
	p.keepLayers(w.Budget.LayersBytes)
	p.free(v1alpha1.PruneLowSpace, w.Budget.FreeBytes-w.Volume.FreeBytes)
	p.free(v1alpha1.PruneLowInodes, bytesOfInodes(w.Volume, w.Budget.FreeInodes-w.Volume.FreeInodes))
	return p.victims
}

// ChoosesMounts says whether a plan takes mounts for the sake of others, so that it matters which.
func ChoosesMounts(plan []Victim) bool {
	return slices.ContainsFunc(plan, func(v Victim) bool {
		return v.Mount != "" && v.Reason != v1alpha1.PruneTooOld && v.Reason != v1alpha1.PruneTooLarge
	})
}

// bytesOfInodes is about how many bytes hold that many inodes: nobody counts a record's, so the volume's mean is
// taken. The next look corrects it.
func bytesOfInodes(v Volume, inodes int64) int64 {
	if v.CapacityInodes <= 0 || inodes <= 0 || v.UsedInodes() <= 0 {
		return 0
	}
	return int64(float64(v.UsedBytes()) / float64(v.UsedInodes()) * float64(inodes))
}

// planner chooses victims step by step.
type planner struct {
	world                   World
	mounts                  []Record       // that may go, in that order
	layers                  layerHeap      // that may go now
	blocked                 map[string]int // how many records stand on a record
	byID                    map[string]Record
	mountsBytes, layerBytes int64
	freed                   int64
	victims                 []Victim
}

func newPlanner(w World) *planner {
	p := &planner{world: w, blocked: map[string]int{}, byID: map[string]Record{}}
	for _, r := range w.Records {
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
	for _, r := range w.Records {
		p.offer(r)
	}
	p.sortMounts()
	return p
}

// sortMounts puts those first that go first. The order of records plays no part, not even in how the mean is rounded.
func (p *planner) sortMounts() {
	slices.SortFunc(p.mounts, func(a, b Record) int {
		return cmp.Or(p.used(a).Compare(p.used(b)), cmp.Compare(a.Mount, b.Mount), cmp.Compare(a.ID, b.ID))
	})
	scores := p.scores()
	slices.SortStableFunc(p.mounts, func(a, b Record) int { return cmp.Compare(scores[b.ID], scores[a.ID]) })
}

// scores are what mounts go by, the highest first, by record. A mount's worth is the seconds that are lost for each
// byte that is gained by pruning it.
func (p *planner) scores() map[string]float64 {
	worth, lost, bytes := map[string]float64{}, 0.0, 0.0
	for _, r := range p.mounts {
		if l := p.world.LostSeconds[mountpolicy.Unbased(r.Mount)]; l > 0 && r.Bytes > 0 {
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
		out[r.ID] = max(p.world.Now.Sub(p.used(r)).Seconds(), 1) / math.Sqrt(w)
	}
	return out
}

// offer makes a layer a candidate when nothing stands on it.
func (p *planner) offer(r Record) {
	if r.Mount == "" && !r.InUse && !r.Shared && p.blocked[r.ID] == 0 {
		heap.Push(&p.layers, r)
	}
}

func (p *planner) policy(r Record) *v1alpha1.MountPolicy {
	return mountpolicy.Of(p.world.Namespace, p.world.Policies, r.Mount)
}

func (p *planner) isPinned(r Record) bool {
	policy := p.policy(r)
	return mountpolicy.IsPinned(policy)
}

// used is when a build last had a mount.
func (p *planner) used(r Record) time.Time {
	if at, known := p.world.MountUsed[mountpolicy.Unbased(r.Mount)]; known {
		return at
	}
	return r.LastUsed
}

// isSpare says whether a build has had a copy elsewhere later than this one.
func (p *planner) isSpare(r Record) bool {
	at, held := p.world.Elsewhere[mountpolicy.Unbased(r.Mount)]
	return held && at.After(p.used(r))
}

// spareFirst moves spare mounts before the others.
func (p *planner) spareFirst() {
	var others []Record
	p.mounts = slices.DeleteFunc(p.mounts, func(r Record) bool {
		if p.isSpare(r) {
			return false
		}
		others = append(others, r)
		return true
	})
	p.mounts = append(p.mounts, others...)
}

// take makes a record a victim, and what it stood on a candidate.
func (p *planner) take(v Victim) {
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
			p.offer(below)
		}
	}
}

// ownPolicies takes the mounts that their own policy says must go.
func (p *planner) ownPolicies() {
	tooOld := func(r Record, policy *v1alpha1.MountPolicy) bool {
		used := p.used(r)
		age := mountpolicy.Bounds(policy).MaxAgeSeconds
		return age != nil && !used.IsZero() && p.world.Now.Sub(used) > time.Duration(*age)*time.Second
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
			p.take(Victim{Record: r, Reason: rule.reason})
			return true
		})
	}
}

func (p *planner) keepMounts(budget int64) {
	for p.mountsBytes > budget && p.takeMount(v1alpha1.PruneMountsOverBudget) {
	}
}

// keepLayers passes over what frees nothing only where it stands on something that does.
func (p *planner) keepLayers(budget int64) {
	for p.layerBytes > budget && p.takeLayer(v1alpha1.PruneLayersOverBudget) {
	}
}

// free takes layers, then mounts, until all victims together have that many bytes.
func (p *planner) free(reason v1alpha1.PruneReason, bytes int64) {
	for p.freed < bytes && (p.takeLayer(reason) || p.takeMount(reason)) {
	}
}

// takeMount takes the first mount that has a size, false when there is none.
func (p *planner) takeMount(reason v1alpha1.PruneReason) bool {
	at := slices.IndexFunc(p.mounts, func(r Record) bool { return r.Bytes > 0 })
	if at < 0 {
		return false
	}
	r := p.mounts[at]
	p.mounts = slices.Delete(p.mounts, at, at+1)
	p.take(Victim{Record: r, Reason: reason, Spare: p.isSpare(r)})
	return true
}

// takeLayer takes the next layer, false when there is none.
func (p *planner) takeLayer(reason v1alpha1.PruneReason) bool {
	if p.layers.Len() == 0 {
		return false
	}
	p.take(Victim{Record: heap.Pop(&p.layers).(Record), Reason: reason})
	return true
}

// layerHeap has the record to prune next on top.
type layerHeap []Record

func (h layerHeap) Len() int      { return len(h) }
func (h layerHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h layerHeap) Less(i, j int) bool {
	a, b := h[i], h[j]
	return cmp.Or(cmp.Compare(a.Class, b.Class), a.LastUsed.Compare(b.LastUsed), cmp.Compare(a.ID, b.ID)) < 0
}

// Push implements heap.Interface.
func (h *layerHeap) Push(x any) { *h = append(*h, x.(Record)) }

// Pop implements heap.Interface.
func (h *layerHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
