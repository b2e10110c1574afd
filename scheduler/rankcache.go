// SPDX-License-Identifier: Apache-2.0

package scheduler

// RankCache keeps the rendezvous order of keys across placements and updates it when the membership changes: a daemon
// that joins is inserted into each order, and only orders that lose a daemon are computed again.
type RankCache struct {
	ranks   keyMap[ranks]
	members map[DaemonID]uint32 // weight by daemon, as of the last Follow
}

// NewRankCache returns an empty cache.
func NewRankCache() *RankCache {
	return &RankCache{}
}

// Learn adds the order of key in v, which must be the view of the last Follow.
func (c *RankCache) Learn(v *View, key KeyID) {
	if c.ranks.get(key) == nil {
		r := new(ranks)
		v.ranking.top(key, maxRanks, r)
		c.ranks.put(key, r)
	}
}

// Forget drops a key that is no longer built.
func (c *RankCache) Forget(key KeyID) { c.ranks.remove(key) }

// Len returns the number of keys.
func (c *RankCache) Len() int { return c.ranks.n }

// Follow updates every order to the membership of v and sets v.RankCache.
func (c *RankCache) Follow(v *View) {
	joined, lost := c.changes(v)
	weighted := len(v.ranking.classes) > 1
	for key, r := range c.ranks.all() {
		if c.isStale(r, lost, v, weighted) {
			v.ranking.top(key, maxRanks, r)
			continue
		}
		for _, at := range joined {
			x := ranked{affinity: affinity(key, v.Daemons[at].ID), id: v.Daemons[at].ID, at: at}
			if weighted {
				x.score = weightedScore(x.affinity, v.Daemons[at].Weight)
			}
			r.insert(x, maxRanks)
		}
		for i := range r.n {
			r.of[i].at = v.knownPosition(r.of[i].id)
		}
		r.syncPositions()
	}
	c.members = make(map[DaemonID]uint32, len(v.Daemons))
	for i := range v.Daemons {
		c.members[v.Daemons[i].ID] = v.Daemons[i].Weight
	}
	v.RankCache = c
}

// changes returns the positions of daemons that joined since the last Follow, and the identities of those that left. A
// daemon whose weight changed is in both.
func (c *RankCache) changes(v *View) (joined []int32, lost map[DaemonID]bool) {
	lost = map[DaemonID]bool{}
	for id, weight := range c.members {
		if at, still := v.position(id); !still || v.Daemons[at].Weight != weight {
			lost[id] = true
		}
	}
	for i := range v.Daemons {
		if weight, known := c.members[v.Daemons[i].ID]; !known || weight != v.Daemons[i].Weight {
			joined = append(joined, int32(i))
		}
	}
	return joined, lost
}

// isStale reports whether an order must be computed again: it lost a daemon, or the membership changed between equal
// and different weights.
func (c *RankCache) isStale(r *ranks, lost map[DaemonID]bool, v *View, weighted bool) bool {
	if r.n == 0 || (r.of[0].score != 0) != weighted {
		return true
	}
	if len(lost) == 0 {
		return false
	}
	for i := range r.n {
		if lost[r.of[i].id] {
			return true
		}
	}
	return r.n < min(maxRanks, len(v.Daemons)) && len(lost) > 0
}
