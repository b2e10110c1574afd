// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"math"
	"slices"
)

// maxDoublings bounds weights by volume to an eighth and to eight times that of an ordinary daemon.
const maxDoublings = 3

// volumeWeights returns a weight for each daemon by its volume: unitWeight times the power of two that is nearest to
// volume / median volume. A daemon with twice the volume can hold twice the keys. Powers of two make small differences
// of size irrelevant: a change of weight moves keys, and their caches with them. Unknown volumes have unitWeight.
func volumeWeights(daemons []Daemon) []uint32 {
	median := medianVolume(daemons)
	weights := make([]uint32, len(daemons))
	for i := range daemons {
		weights[i] = unitWeight
		if bytes := daemons[i].VolumeBytes; bytes > 0 {
			doublings := math.Round(math.Log2(float64(bytes) / float64(median)))
			doublings = min(max(doublings, -maxDoublings), maxDoublings)
			weights[i] = uint32(unitWeight * math.Exp2(doublings))
		}
	}
	return weights
}

// medianVolume returns the lower median of the known volumes, in bytes; 0 if none is known.
func medianVolume(daemons []Daemon) int64 {
	var known []int64
	for i := range daemons {
		if bytes := daemons[i].VolumeBytes; bytes > 0 {
			known = append(known, bytes)
		}
	}
	if len(known) == 0 {
		return 0
	}
	slices.Sort(known)
	return known[(len(known)-1)/2]
}

// volumeWeighting is what a view's weights by volume were derived from.
type volumeWeighting struct {
	bytes   []int64 // of each daemon's volume
	derived []bool  // the daemon had no weight of its own
}

// weigh sets the weights of daemons that have none.
func (v *View) weigh() {
	weights := volumeWeights(v.Daemons)
	v.weighting = volumeWeighting{make([]int64, len(weights)), make([]bool, len(weights))}
	for i := range v.Daemons {
		d := &v.Daemons[i]
		v.weighting.bytes[i], v.weighting.derived[i] = d.VolumeBytes, d.Weight == 0
		if d.Weight == 0 {
			d.Weight = weights[i]
		}
	}
}

// WeightsChanged reports whether a new view of the daemons would give one of them another weight, because volumes have
// other sizes than at NewView. Its owner then makes a new view, from daemons without the weights of this one.
func (v *View) WeightsChanged() bool {
	resized := false
	for i := range v.Daemons {
		resized = resized || v.Daemons[i].VolumeBytes != v.weighting.bytes[i]
	}
	if !resized {
		return false
	}
	for i, weight := range volumeWeights(v.Daemons) {
		if v.weighting.derived[i] && weight != v.Daemons[i].Weight {
			return true
		}
	}
	return false
}
