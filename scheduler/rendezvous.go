// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"cmp"
	"math"
	"slices"
)

// maxRanks is how many rendezvous ranks of a key are remembered: enough for every replica set and a few daemons that
// are away.
const maxRanks = 8

// weighedRanks is how many of them a placement weighs. Beyond these only a free slot counts, and the whole fleet is
// searched in the same order; four instead of eight change no decision on a fleet of like daemons and halve the time
// of a placement without remembered candidates.
const scoredRanks = 4

// unitWeight is the weight of an ordinary daemon, so that weights read as thousandths.
const unitWeight = 1000

// ranking orders daemons for a key by weighted rendezvous hashing: daemon d of weight w scores -w/ln(u), u the pair's
// affinity scaled to (0,1), and the highest score is the key's home. Removing a daemon moves only its own keys, and a
// key goes to the next daemon of its order. Within one weight the order of scores is the order of affinities, so a
// scan compares integers and takes logarithms only for the few best of each weight: exact, and several times faster.
type ranking struct {
	classes []weightClass // by falling weight
}

// weightClass holds the daemons of one weight; ids[i] is the identity of the daemon at position at[i] of the view.
type weightClass struct {
	weight uint32
	ids    []DaemonID
	at     []int32
}

// newRanking groups daemons by weight. Positions in the results are positions in daemons.
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
	at [maxRanks]int32 // of's, side by side: placements need no more
	of [maxRanks]ranked
}

// settle brings at up to date with of.
func (r *ranks) syncPositions() {
	for i := range r.n {
		r.at[i] = r.of[i].at
	}
}

// before is the total order of rendezvous: score, then affinity, then the smaller identity.
func (a *ranked) before(b *ranked) bool {
	if a.score != b.score {
		return a.score > b.score
	}
	if a.affinity != b.affinity {
		return a.affinity > b.affinity
	}
	return a.id < b.id
}

// top fills out with the k best daemons for key, or all of them if they are fewer. k lies in 1..maxRanks.
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

// top is ranking.top within one weight, where integers suffice: affinity is a bijection of the identity, so no two
// are equal for one key. The few best are kept in two small arrays, because this loop is most of what a placement
// costs in a large fleet.
func (c *weightClass) top(key KeyID, k int, out *ranks) {
	var best [maxRanks]uint64
	var place [maxRanks]int32
	n := 0
	bar := uint64(0) // the affinity to beat, once k are found
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

// insert puts x in its place among the k best.
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

// score is -w/ln(u). The half keeps u inside (0,1).
func weightedScore(affinity uint64, weight uint32) float64 {
	u := (float64(affinity>>11) + 0.5) * (1.0 / (1 << 53))
	return -float64(weight) / math.Log(u)
}

// Ranks returns the positions in v.Daemons of the k daemons that come first for key, home first, whatever their
// phase. k is capped at 8 and at the number of daemons.
func Ranks(v *View, key KeyID, k int) []int {
	var r ranks
	v.ranking.top(key, min(max(k, 1), maxRanks), &r)
	out := make([]int, r.n)
	for i := range out {
		out[i] = int(r.of[i].at)
	}
	return out
}
