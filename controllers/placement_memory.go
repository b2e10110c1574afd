// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/scheduler"
)

// sweepEvery is how often keys are counted that are hot enough for another copy.
const sweepEvery = time.Minute

// memory is what the loop of one BuildCache learns from one round to the next. All of it makes placement better and
// none of it makes it right: a new memory is filled from the API, and what can't be read there is learned again. It
// is used by one goroutine at a time.
type memory struct {
	table
	params     *scheduler.Params
	estimates  *scheduler.Estimates
	hot        *scheduler.HotKeys
	candidates *scheduler.RankCache
	shares     *scheduler.Shares
	usage      *scheduler.Usage
	freshness  map[scheduler.KeyID]*freshness
	mounts     map[string]*mountFacts // by id as BuildKit knows it
	pull       pullRate               // of the whole fleet
	made       []madeCopy             // of all daemons, oldest first
	sweptAt    time.Time
	filled     bool
	tells      *rate.Limiter // of news for builds that wait
	restUntil  time.Time     // when the next round may begin
	lookedAt   time.Time     // when every waiting build was last looked at
	prefetch   *prefetching  // nil while the BuildCache has no spec.prefetch
}

// freshness counts the successful builds of a key, and says which of them each daemon's copy has seen, and which
// cache mounts and platform the latest had.
type freshness struct {
	version  uint32
	seen     map[string]uint32 // by daemon's name
	mounts   []v1alpha1.BuildMount
	platform string
	mountsAt time.Time
	// exported says that the registry has the key's cache, written by the build of this version.
	exported   bool
	exportedAt uint32
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
		params: p, estimates: scheduler.NewEstimates(), hot: scheduler.NewHotKeys(), candidates: scheduler.NewRankCache(), shares: scheduler.NewShares(),
		usage: scheduler.NewUsage(), tells: rate.NewLimiter(tellsPerSecond, tellsAtOnce),
		freshness: map[scheduler.KeyID]*freshness{}, mounts: map[string]*mountFacts{},
	}
}

// scopes are the wider circles whose lengths are priors for a build's.
func scopes(queue string) []string { return []string{"queue " + queue, "fleet"} }

// learn takes in what has happened since the last round, and returns the builds that wait.
func (m *memory) learn(f *fleet) []inLine {
	m.begin(f)
	m.shares.SetWeights(queueWeights(f.cache))
	first := !m.filled
	if first {
		m.fill(f)
	}
	for i := range f.daemons {
		if d := &f.daemons[i]; m.daemons[d.Name].dirty {
			m.snapshots(d)
		}
	}
	var line []inLine
	for i := range f.builds {
		b := &f.builds[i]
		k := m.builds[b.UID]
		if k == nil {
			k = &knownBuild{}
			m.builds[b.UID] = k
		}
		k.round = m.round
		if k.version == "" || k.version != b.ResourceVersion {
			k.version = b.ResourceVersion
			m.takeIn(f, b, k, first)
		}
		if k.waits {
			line = append(line, inLine{b, k})
		}
	}
	if len(m.builds) > len(f.builds) {
		m.forgetBuilds()
	}
	m.forgetReported(f.now)
	if f.now.Sub(m.sweptAt) >= sweepEvery {
		m.sweep(f)
	}
	return line
}

// queueWeights returns the weights that the BuildCache gives its queues.
func queueWeights(cache *v1alpha1.BuildCache) map[string]float64 {
	weights := make(map[string]float64, len(cache.Spec.Queues))
	for _, q := range cache.Spec.Queues {
		weights[q.Name] = float64(q.Weight)
	}
	return weights
}

// takeIn learns from a build that is new or has changed, and notes where it stands.
func (m *memory) takeIn(f *fleet, b *v1alpha1.HLBBuild, k *knownBuild, first bool) {
	run := b.Status.Run
	if run == nil {
		m.stand(f, b, k)
		return
	}
	if k.run != run.ID {
		k.run, k.charged, k.ended = run.ID, 0, false
		m.arrived(f, b)
	}
	if status.IsFinal(b) && !k.ended {
		k.ended = true
		m.used(f, b)
		if !first { // how long it took is in the daemons' ledgers
			m.ended(f, b, k)
		}
	}
	m.stand(f, b, k)
}

// forgetBuilds drops builds that were deleted.
func (m *memory) forgetBuilds() {
	for uid, k := range m.builds {
		if k.round == m.round {
			continue
		}
		if k.daemon != "" {
			m.release(uid, k)
		}
		delete(m.builds, uid)
	}
}

// forgetReported drops copies that were made so long ago that their daemons have reported them or never will.
func (m *memory) forgetReported(now time.Time) {
	for len(m.made) > 0 && now.Sub(m.made[0].at) > reportWithin {
		if d := m.daemons[m.made[0].daemon]; d != nil && len(d.made) > 0 {
			d.made, d.dirty = d.made[1:], true
		}
		m.made = m.made[1:]
	}
}

// fill begins with what the daemons report of their keys, and with the builds in the order in which they ended.
func (m *memory) fill(f *fleet) {
	m.filled = true
	slices.SortStableFunc(f.builds, func(a, b v1alpha1.HLBBuild) int { return cmp.Compare(endOf(&a), endOf(&b)) })
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

// endOf is when a build's run ended, in Unix seconds, 0 for one that has not.
func endOf(b *v1alpha1.HLBBuild) float64 {
	if b.Status.Run == nil || b.Status.Run.FinishedAt == nil {
		return 0
	}
	return seconds(b.Status.Run.FinishedAt.Time)
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
func (m *memory) ended(f *fleet, b *v1alpha1.HLBBuild, k *knownBuild) {
	run := b.Status.Run
	if run.StartedAt == nil || run.FinishedAt == nil {
		return
	}
	took := run.FinishedAt.Sub(run.StartedAt.Time).Seconds()
	if k.charged > 0 {
		m.shares.End(b.Spec.Queue, k.charged, took)
	}
	if b.Status.Failure != nil || b.Status.Placement == nil || b.Status.Cache == nil {
		return // it says nothing about how long a whole build takes
	}
	key := f.keyOf(run.Key)
	mode := modeOf(b)
	daemon := b.Status.Placement.Daemon
	fresh := m.freshnessOf(key)
	if behind := fresh.version - fresh.seen[daemon]; mode == scheduler.Warm && behind > 0 {
		warm, cold := m.estimates.Expect(key, scopes(b.Spec.Queue), m.params)
		m.estimates.ObserveStale(behind, took, warm, cold)
	} else {
		m.estimates.Observe(key, scopes(b.Spec.Queue), mode, took, m.params)
	}
	fresh.version++
	fresh.seen[daemon] = fresh.version
	if d := m.daemons[daemon]; d != nil && d.at >= 0 {
		made := madeCopy{key, daemon, f.daemons[d.at].Status.VolumeEpoch, run.FinishedAt.Time}
		m.made, d.made, d.dirty = append(m.made, made), append(d.made, made), true
	}
}

// sweep does the minute's housekeeping: it counts hot keys, and forgets keys that no daemon holds and no build asks
// for.
func (m *memory) sweep(f *fleet) {
	m.sweptAt = f.now
	m.hot.Sweep(m.ledger, seconds(f.now), f.cache.Spec.BuildKit.MaxConcurrentBuilds)
	m.shares.Trim()
	m.ledger.Trim()
	m.priceEvictions(f)
	wanted, mounts := map[scheduler.KeyID]bool{}, map[string]bool{}
	for i := range f.daemons {
		for _, u := range f.daemons[i].Status.Keys {
			wanted[f.keyOf(u.Key)] = true
		}
		for _, u := range f.daemons[i].Status.Mounts {
			mounts[u.ID] = true
		}
	}
	for i := range f.builds {
		if run := f.builds[i].Status.Run; run != nil {
			wanted[f.keyOf(run.Key)] = true
		}
	}
	for key, fresh := range m.freshness {
		if !wanted[key] {
			delete(m.freshness, key)
			m.estimates.Forget(key)
			m.candidates.Forget(key)
			continue
		}
		for i := range fresh.mounts { // their snapshots stay when the last daemon that held them is gone
			mounts[fresh.mounts[i].ID] = true
		}
	}
	for id := range m.mounts {
		if !mounts[id] {
			delete(m.mounts, id)
		}
	}
	m.forgetDemands(f)
}

// versionOf is how many builds of the key the daemon's copy has seen.
func (m *memory) versionOf(key scheduler.KeyID, daemon string) uint32 {
	if fresh := m.freshness[key]; fresh != nil {
		return fresh.seen[daemon]
	}
	return 0
}

// modeOf is how a build that succeeded found its caches.
func modeOf(b *v1alpha1.HLBBuild) scheduler.Mode {
	switch {
	case !b.Status.Cache.Fresh:
		return scheduler.Warm
	case imported(b) || slices.ContainsFunc(b.Status.Prime, func(p v1alpha1.PrimeStatus) bool { return p.Outcome == v1alpha1.PrimeRefreshed }):
		return scheduler.Primed
	case b.Status.Placement.Refresh && b.Status.Placement.Warm:
		return scheduler.Warm
	}
	return scheduler.Cold
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

// memories holds a memory for each BuildCache. It is safe for concurrent use; one cache's memory is used by one round
// at a time.
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
