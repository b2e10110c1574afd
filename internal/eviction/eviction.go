// SPDX-License-Identifier: Apache-2.0

// Package eviction is the arithmetic of evicting cache mounts from a full volume: what a mount saves, what is lost
// without it, and which copy is evicted first. Agents evict by it, and the simulator's agents do the same.
package eviction

import (
	"cmp"
	"math"
	"slices"
)

// PrimeFixedSeconds and PrimeBytesPerSecond are what priming takes until it is measured: pulling a manifest and
// mounting, and zstd extraction on one core.
const (
	PrimeFixedSeconds   = 5
	PrimeBytesPerSecond = 2e8
)

// PriorColdRatio is the length of a cold build over that of a warm one until both are measured: the middle of the
// published 2 to 40, on the careful side.
const PriorColdRatio = 4

// leastSaved is the smallest part of a cold build that its mounts save. A cold build that was shorter than a warm one
// did less work.
const leastSaved = 0.1

// SavedSeconds returns what each of a key's mounts saves: the difference between a cold and a warm build, at least a
// tenth of the cold one, in equal parts. A length of 0 is unknown and follows from the other by PriorColdRatio. The
// result is 0, unknown, without lengths or mounts.
func SavedSeconds(coldSeconds, warmSeconds float64, mounts int) float64 {
	if mounts <= 0 {
		return 0
	}
	if coldSeconds <= 0 {
		coldSeconds = PriorColdRatio * warmSeconds
	}
	if warmSeconds <= 0 {
		warmSeconds = coldSeconds / PriorColdRatio
	}
	return max(coldSeconds-warmSeconds, leastSaved*coldSeconds) / float64(mounts)
}

// LostSeconds returns what the next build loses without a mount that saves savedSeconds: with a snapshot, at most the
// time of priming. snapshotBytes is 0 without a snapshot.
func LostSeconds(savedSeconds float64, snapshotBytes int64) float64 {
	if snapshotBytes <= 0 {
		return savedSeconds
	}
	return min(savedSeconds, PrimeFixedSeconds+float64(snapshotBytes)/PrimeBytesPerSecond)
}

// Copy is one daemon's copy of a cache mount that may be evicted. Times are on one clock and not negative.
type Copy[ID cmp.Ordered] struct {
	ID    ID
	Bytes int64 // 0: unknown
	// UsedAtSeconds is the last use by a build. ReplicaUsedAtSeconds is the latest last use of the copies on other
	// daemons that serve; 0: there is none.
	UsedAtSeconds, ReplicaUsedAtSeconds float64
	// LostSeconds is what the next build of the mount loses without this copy; 0: unknown.
	LostSeconds float64
}

// IsRedundant reports whether another serving daemon has a copy with a later use. The latest copy of a fleet never is
// redundant, nor are copies with the same last use.
func (c *Copy[ID]) IsRedundant() bool { return c.ReplicaUsedAtSeconds > c.UsedAtSeconds }

// Order sorts copies into the order of eviction: redundant ones first, and within redundant and within unique ones by
// falling score
//
//	idle time × √(bytes / lost seconds)
//
// Idle time, at least a second, approximates the probability of no reuse. The root dampens the worth of a copy, its
// lost seconds for each byte, which is a rough estimate. Copies of unknown worth get the mean of the others; if none is
// known, the least recently used is first. Ties: last use, then id. The given order has no influence.
func Order[ID cmp.Ordered](copies []Copy[ID], nowSeconds float64) {
	mean := meanWorth(copies)
	slices.SortFunc(copies, func(a, b Copy[ID]) int {
		if r := a.IsRedundant(); r != b.IsRedundant() {
			if r {
				return -1
			}
			return 1
		}
		return cmp.Or(
			cmp.Compare(b.score(nowSeconds, mean), a.score(nowSeconds, mean)),
			cmp.Compare(a.UsedAtSeconds, b.UsedAtSeconds),
			cmp.Compare(a.ID, b.ID),
		)
	})
}

// score is the place of c within redundant or within unique copies: the highest is evicted first.
func (c *Copy[ID]) score(nowSeconds, meanWorth float64) float64 {
	worth := meanWorth
	if c.hasWorth() {
		worth = c.LostSeconds / float64(c.Bytes)
	}
	return max(nowSeconds-c.UsedAtSeconds, 1) / math.Sqrt(worth)
}

// hasWorth reports whether the worth of c is known.
func (c *Copy[ID]) hasWorth() bool { return c.LostSeconds > 0 && c.Bytes > 0 }

// meanWorth returns the lost seconds for each byte over all copies of known worth, 1 if there is none.
func meanWorth[ID cmp.Ordered](copies []Copy[ID]) float64 {
	var lostNanoseconds, bytes int64 // integers, because a sum of floats depends on the order
	for i := range copies {
		if c := &copies[i]; c.hasWorth() {
			lostNanoseconds += int64(c.LostSeconds * 1e9)
			bytes += c.Bytes
		}
	}
	if bytes == 0 || lostNanoseconds == 0 {
		return 1
	}
	return float64(lostNanoseconds) / 1e9 / float64(bytes)
}
