// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"cmp"
	"math"
	"slices"
)

// maxRanks is how many rendezvous ranks of a key are kept: enough for every replica set and a few unavailable daemons.
const maxRanks = 8

// scoredRanks is how many of them a placement scores. Beyond these only a free slot counts, and the whole fleet is
// searched in the same order. Four instead of eight change no decision on a fleet of equal daemons and halve the time
// of a placement without a RankCache.
const scoredRanks = 4

// unitWeight is the weight of an ordinary daemon: weights are in thousandths.
const unitWeight = 1000

// ranking orders daemons for a key by weighted rendezvous hashing: daemon d of weight w scores -w/ln(u), u being the
// pair's affinity scaled to (0,1), and the highest score is the key's home. Removing a daemon moves only its own keys,
// each to the next daemon of its order. Within one weight the order of scores is the order of affinities, so a scan
// compares integers and computes logarithms only for the few best of each weight: exact, and several times faster.
type ranking struct {
	classes []weightClass // by falling weight
}

// weightClass holds the daemons of one weight; ids[i] is the daemon at position at[i] of the view.
type weightClass struct {
	weight uint32
	ids    []DaemonID
	at     []int32
}

// newRanking groups daemons by weight. Positions in the results are indexes into daemons.
func newRanking(daemons []Daemon) ranking {
	var r ranking
	byWeight := map[uint32]int{}
	for i := range daemons {
		w := daemons[i].Weight
		c, known := byWeight[w]
		if !known {
			c = len(r.classes)
			byWeight[w] = c
			r.classes = append(r.classes, weightClass{weight: w})
		}
		r.classes[c].ids = append(r.classes[c].ids, daemons[i].ID)
		r.classes[c].at = append(r.classes[c].at, int32(i))
	}
	slices.SortFunc(r.classes, func(a, b weightClass) int { return cmp.Compare(b.weight, a.weight) })
	return r
}

// ranked is one place in a key's order.
type ranked struct {
	affinity uint64
	score    float64 // set only when weights differ
	id       DaemonID
	at       int32
}

// ranks is the head of a key's order, best first; only the first n entries count.
type ranks struct {
	n  int
	at [maxRanks]int32 // positions of of's entries: all that a placement reads
	of [maxRanks]ranked
}

// syncPositions updates at from of.
func (r *ranks) syncPositions() {
	for i := range r.n {
		r.at[i] = r.of[i].at
	}
}

// before reports whether a comes before b: by score, then affinity, then smaller identity.
func (a *ranked) before(b *ranked) bool {
	if a.score != b.score {
		return a.score > b.score
	}
	if a.affinity != b.affinity {
		return a.affinity > b.affinity
	}
	return a.id < b.id
}

// top fills out with the k best daemons for key, or with all of them if there are fewer. k is in 1..maxRanks.
func (r *ranking) top(key KeyID, k int, out *ranks) {
	out.n = 0
	if len(r.classes) == 1 {
		r.classes[0].top(key, k, out)
		out.syncPositions()
		return
	}
	for c := range r.classes {
		var own ranks
		r.classes[c].top(key, k, &own)
		for i := range own.n {
			own.of[i].score = weightedScore(own.of[i].affinity, r.classes[c].weight)
			out.insert(own.of[i], k)
		}
	}
	out.syncPositions()
}

// top is ranking.top within one weight, where integers suffice: affinity is a bijection of the identity, so no two are
// equal for one key. The best are kept in two small arrays, because this loop dominates a placement in a large fleet.
func (c *weightClass) top(key KeyID, k int, out *ranks) {
	var best [maxRanks]uint64
	var place [maxRanks]int32
	n := 0
	bar := uint64(0) // the least affinity among the best, once there are k
	for i, id := range c.ids {
		h := affinity(key, id)
		if h < bar {
			continue
		}
		j := n
		if n == k {
			j--
		} else {
			n++
		}
		for ; j > 0 && best[(j-1)&(maxRanks-1)] < h; j-- {
			best[j&(maxRanks-1)], place[j&(maxRanks-1)] = best[(j-1)&(maxRanks-1)], place[(j-1)&(maxRanks-1)]
		}
		best[j&(maxRanks-1)], place[j&(maxRanks-1)] = h, int32(i)
		if n == k {
			bar = best[(k-1)&(maxRanks-1)]
		}
	}
	out.n = n
	for i := range n {
		out.of[i] = ranked{affinity: best[i], id: c.ids[place[i]], at: c.at[place[i]]}
	}
}

// insert adds x in its place if it is among the k best.
func (r *ranks) insert(x ranked, k int) {
	i := r.n
	if i == k {
		if !x.before(&r.of[k-1]) {
			return
		}
		i--
	} else {
		r.n++
	}
	for ; i > 0 && x.before(&r.of[i-1]); i-- {
		r.of[i] = r.of[i-1]
	}
	r.of[i] = x
}

// weightedScore returns -w/ln(u). The half keeps u inside (0,1).
func weightedScore(affinity uint64, weight uint32) float64 {
	u := (float64(affinity>>11) + 0.5) * (1.0 / (1 << 53))
	return -float64(weight) / math.Log(u)
}

// Ranks returns the positions in v.Daemons of the first k daemons for key, home first, whatever their phase. k is
// capped at 8 and at the number of daemons.
func Ranks(v *View, key KeyID, k int) []int {
	var r ranks
	v.ranking.top(key, min(max(k, 1), maxRanks), &r)
	out := make([]int, r.n)
	for i := range out {
		out[i] = int(r.of[i].at)
	}
	return out
}
