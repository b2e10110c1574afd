// SPDX-License-Identifier: Apache-2.0

package scheduler

import "math"

// evictionHorizonSeconds is how far ahead a reuse counts as lost by an eviction now: a working day.
const evictionHorizonSeconds = 8 * 3600

// redundantShare is the part of a copy's worth that is lost where another daemon has it too: builds go to that one, and
// miss this one only when all slots are taken there.
const redundantShare = 0.25

// Roomy reports whether so much of a volume is free that its next eviction is of no interest.
func Roomy(freeBytes, volumeBytes int64) bool { return freeBytes > volumeBytes/4 }

// NextEviction is the copy that a daemon evicts next, as its agent publishes it.
type NextEviction struct {
	Bytes       int64
	LostSeconds float64 // lost by the next build without it; 0: unknown
	Redundant   bool    // another serving daemon has a copy with a later use
}

// EvictionPrice returns what evicting a GB (1e9 bytes) is expected to cost later builds, for Daemon.EvictSecondsPerGB:
//
//	P(reuse within a working day) × lost seconds / GB
//
// perSecond is the rate of builds that use the key, and copies the number of copies they are spread over; 0 counts
// as 1. Unknown sizes and unknown lost seconds cost nothing.
func EvictionPrice(next NextEviction, perSecond float64, copies int) float64 {
	if next.Bytes <= 0 {
		return 0
	}
	builds := perSecond / float64(max(copies, 1)) * evictionHorizonSeconds
	price := (1 - math.Exp(-builds)) * next.LostSeconds * 1e9 / float64(next.Bytes)
	if next.Redundant {
		price *= redundantShare
	}
	return price
}
