// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/buildstatus"
	"github.com/openllb/hlb-operator/scheduler"
)

// sweepEvery is how often keys are counted that are hot enough for another copy.
const sweepEvery = time.Minute

// keptCandidates bounds the remembered orders of daemons, each of about 300 bytes.
const keptCandidates = 20_000

// memory is what the loop of one BuildCache learns from one round to the next. All of it makes placement better and none of it makes it right: a
// new memory is filled from the API, and what can't be read there is learned again. It is used by one goroutine at a time.
type memory struct {
	params     *scheduler.Params
	estimates  *scheduler.Estimates
	hot        *scheduler.HotKeys
	candidates *scheduler.Candidates
	shares     *scheduler.Shares
	builds     map[types.UID]seenBuild
	freshness  map[scheduler.KeyID]*freshness
	made       []madeCopy
	sweptAt    time.Time
	filled     bool
}

// seenBuild is what was learned of a build's run.
type seenBuild struct {
	run     string
	charged float64 // slot-seconds that its queue was charged with, 0 before it was bound
	ended   bool
}

// freshness counts the successful builds of a key, and says which of them each daemon's copy has seen and which cache mounts the latest had.
type freshness struct {
	version uint32
	seen    map[string]uint32 // by daemon's name
	mounts  []v1alpha1.BuildMount
}

// madeCopy is a copy that a build has just made or used, which its daemon may not have reported yet.
type madeCopy struct {
	key    scheduler.KeyID
	daemon string
	epoch  string
	at     time.Time
}

// reportWithin is how long a daemon may take to report a key after a build of it has ended.
const reportWithin = time.Minute

func newMemory(p *scheduler.Params) *memory {
	return &memory{
		params: p, estimates: scheduler.NewEstimates(), hot: scheduler.NewHotKeys(), candidates: scheduler.NewCandidates(), shares: scheduler.NewShares(),
		builds: map[types.UID]seenBuild{}, freshness: map[scheduler.KeyID]*freshness{},
	}
}

// scopes are the wider circles whose lengths are priors for a build's.
func scopes(queue string) []string { return []string{"queue " + queue, "fleet"} }

// learn takes in what has happened since the last round.
func (m *memory) learn(f *fleet) {
	first := !m.filled
	if first {
		m.fill(f)
	}
	now := map[types.UID]seenBuild{}
	for i := range f.builds {
		b := &f.builds[i]
		seen := m.builds[b.UID]
		if b.Status.Run == nil {
			continue
		}
		if seen.run != b.Status.Run.ID {
			seen = seenBuild{run: b.Status.Run.ID}
			m.arrived(f, b)
		}
		if buildstatus.IsFinal(b) && len(b.Status.Mounts) > 0 {
			m.freshnessOf(f.keyOf(b.Status.Run.Key)).mounts = b.Status.Mounts
		}
		if buildstatus.IsFinal(b) && !seen.ended {
			seen.ended = true
			if !first { // what ended before is in the daemons' ledgers
				m.ended(f, b, seen)
			}
		} else if buildstatus.IsBound(b) && seen.charged == 0 {
			seen.charged = m.expected(f, b)
			m.shares.Begin(b.Spec.Queue, seen.charged)
		}
		now[b.UID] = seen
	}
	m.builds = now
	if f.now.Sub(m.sweptAt) >= sweepEvery {
		m.sweep(f)
	}
}

// fill begins with what the daemons report of their keys.
func (m *memory) fill(f *fleet) {
	m.filled = true
	type use struct {
		daemon string
		v1alpha1.KeyUse
	}
	uses := map[string][]use{}
	for i := range f.daemons {
		for _, u := range f.daemons[i].Status.Keys {
			uses[u.Key] = append(uses[u.Key], use{f.daemons[i].Name, u})
		}
	}
	for key, list := range uses {
		slices.SortFunc(list, func(a, b use) int { return a.LastUsed.Compare(b.LastUsed.Time) })
		id := f.keyOf(key)
		fresh := m.freshnessOf(id)
		for _, u := range list { // a copy has missed at least the builds that newer copies have seen
			fresh.version++
			fresh.seen[u.daemon] = fresh.version
			m.estimates.Observe(id, scopes(""), scheduler.Warm, float64(u.WarmSeconds), m.params)
			m.estimates.Observe(id, scopes(""), scheduler.Cold, float64(u.ColdSeconds), m.params)
		}
	}
}

func (m *memory) freshnessOf(key scheduler.KeyID) *freshness {
	fresh := m.freshness[key]
	if fresh == nil {
		fresh = &freshness{seen: map[string]uint32{}}
		m.freshness[key] = fresh
	}
	return fresh
}

// arrived counts a run towards its key's demand.
func (m *memory) arrived(f *fleet, b *v1alpha1.HLBBuild) {
	key := f.keyOf(b.Status.Run.Key)
	warm, _ := m.estimates.Expect(key, scopes(b.Spec.Queue), m.params)
	m.hot.Observe(key, seconds(b.Status.Run.QueuedAt.Time), warm)
}

// ended learns from a run that is over.
func (m *memory) ended(f *fleet, b *v1alpha1.HLBBuild, seen seenBuild) {
	run := b.Status.Run
	if run.StartedAt == nil || run.FinishedAt == nil {
		return
	}
	took := run.FinishedAt.Sub(run.StartedAt.Time).Seconds()
	if seen.charged > 0 {
		m.shares.End(b.Spec.Queue, seen.charged, took)
	}
	if b.Status.Failure != nil || b.Status.Placement == nil || b.Status.Cache == nil {
		return // it says nothing about how long a whole build takes
	}
	key := f.keyOf(run.Key)
	mode := scheduler.Warm
	if b.Status.Cache.Fresh {
		mode = scheduler.Cold
		if imported(b) {
			mode = scheduler.Primed
		}
	}
	fresh := m.freshnessOf(key)
	if behind := fresh.version - fresh.seen[b.Status.Placement.Daemon]; mode == scheduler.Warm && behind > 0 {
		warm, cold := m.estimates.Expect(key, scopes(b.Spec.Queue), m.params)
		m.estimates.ObserveStale(behind, took, warm, cold)
	} else {
		m.estimates.Observe(key, scopes(b.Spec.Queue), mode, took, m.params)
	}
	fresh.version++
	fresh.seen[b.Status.Placement.Daemon] = fresh.version
	for i := range f.daemons {
		if d := &f.daemons[i]; d.Name == b.Status.Placement.Daemon {
			m.made = append(m.made, madeCopy{key, d.Name, d.Status.VolumeEpoch, run.FinishedAt.Time})
		}
	}
}

// mountsOf are the cache mounts that the latest build of a key had.
func (m *memory) mountsOf(key scheduler.KeyID) []v1alpha1.BuildMount {
	if fresh := m.freshness[key]; fresh != nil {
		return fresh.mounts
	}
	return nil
}

// unreported are the copies on a daemon that builds have made lately.
func (m *memory) unreported(d *v1alpha1.BuildDaemon, now time.Time) []madeCopy {
	m.made = slices.DeleteFunc(m.made, func(c madeCopy) bool { return now.Sub(c.at) > reportWithin })
	var out []madeCopy
	for _, c := range m.made {
		if c.daemon == d.Name && c.epoch == d.Status.VolumeEpoch {
			out = append(out, c)
		}
	}
	return out
}

// imported says whether a build on a fresh daemon had caches brought in.
func imported(b *v1alpha1.HLBBuild) bool {
	for _, c := range b.Status.Conditions {
		if c.Type == v1alpha1.ConditionCacheImported {
			return c.Reason == v1alpha1.ReasonImported
		}
	}
	return false
}

// expected is how long a bound build should hold its slot.
func (m *memory) expected(f *fleet, b *v1alpha1.HLBBuild) float64 {
	warm, cold := m.estimates.Expect(f.keyOf(b.Status.Run.Key), scopes(b.Spec.Queue), m.params)
	if b.Status.Placement != nil && b.Status.Placement.Warm {
		return warm
	}
	return cold
}

// sweep does the minute's housekeeping: it counts hot keys, and forgets keys that no daemon holds and no build asks for.
func (m *memory) sweep(f *fleet) {
	m.sweptAt = f.now
	m.hot.Sweep(scheduler.NewLedger(), seconds(f.now), f.cache.Spec.BuildKit.MaxConcurrentBuilds)
	m.shares.Trim()
	if m.candidates.Len() > keptCandidates {
		m.candidates = scheduler.NewCandidates()
	}
	wanted := map[scheduler.KeyID]bool{}
	for i := range f.daemons {
		for _, u := range f.daemons[i].Status.Keys {
			wanted[f.keyOf(u.Key)] = true
		}
	}
	for i := range f.builds {
		if run := f.builds[i].Status.Run; run != nil {
			wanted[f.keyOf(run.Key)] = true
		}
	}
	for key := range m.freshness {
		if !wanted[key] {
			delete(m.freshness, key)
			m.estimates.Forget(key)
			m.candidates.Forget(key)
		}
	}
}

// versionOf is how many builds of the key the daemon's copy has seen.
func (m *memory) versionOf(key scheduler.KeyID, daemon string) uint32 {
	if fresh := m.freshness[key]; fresh != nil {
		return fresh.seen[daemon]
	}
	return 0
}

// attach lends the view what is remembered. The keys of the queue have their orders remembered from now on.
func (m *memory) attach(v *scheduler.View, queue []scheduler.Request) {
	v.Shares = m.shares
	m.hot.Want(v.Ledger)
	m.candidates.Follow(v)
	for i := range queue {
		if len(queue[i].Keys) > 0 {
			m.candidates.Learn(v, queue[i].Keys[0].ID)
		}
	}
}

// memories holds a memory for each BuildCache. It is safe for concurrent use; one cache's memory is used by one round at a time.
type memories struct {
	mu sync.Mutex
	of map[types.NamespacedName]*memory
}

// get returns the memory of a cache, a new one at first.
func (m *memories) get(cache types.NamespacedName, p *scheduler.Params) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of == nil {
		m.of = map[types.NamespacedName]*memory{}
	}
	if m.of[cache] == nil {
		m.of[cache] = newMemory(p)
	}
	return m.of[cache]
}

// drop forgets a cache that is gone.
func (m *memories) drop(cache types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.of, cache)
}
