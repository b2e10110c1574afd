// SPDX-License-Identifier: Apache-2.0

// Package gc plans a daemon's garbage collection: which records of BuildKit's cache go, and why. It is pure; package
// daemon prunes.
//
// BuildKit compares a rule's bound with its whole cache, not with what the rule's filter selects, so its own rules
// can't give cache mounts and layers a budget each. Here they have one each, next to the policies of single mounts
// and room that is kept free. BuildKit's own rules remain as a backstop that never touches a cache mount; see package
// gcrules.
package gc

import (
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// Volume is a file system. Inodes are 0 where it does not count them.
type Volume struct {
	CapacityBytes, FreeBytes   int64
	CapacityInodes, FreeInodes int64
}

// UsedBytes is what is not free; that includes what the file system keeps back for root.
func (v Volume) UsedBytes() int64 { return v.CapacityBytes - v.FreeBytes }

// UsedInodes is what is not free.
func (v Volume) UsedInodes() int64 { return v.CapacityInodes - v.FreeInodes }

// Budget is how a volume is divided, in bytes and inodes.
type Budget struct {
	// CapacityBytes is what is divided.
	CapacityBytes int64
	// MountsBytes and LayersBytes bound cache mounts and everything else.
	MountsBytes, LayersBytes int64
	// FreeBytes and FreeInodes are kept free.
	FreeBytes, FreeInodes int64
}

// BudgetOf divides a volume. askedBytes is the size that was asked for; where the file system is larger than that, as
// on classes that give every claim a folder of one disk, it is what is divided. 0 or less means that nobody knows.
func BudgetOf(v Volume, askedBytes int64, spec v1alpha1.GCSpec) Budget {
	capacity := v.CapacityBytes
	if askedBytes > 0 {
		capacity = min(capacity, askedBytes)
	}
	share := func(whole int64, percent int32) int64 { return whole / 100 * int64(percent) }
	return Budget{
		CapacityBytes: capacity,
		MountsBytes:   share(capacity, spec.MountsPercent),
		LayersBytes:   share(capacity, spec.LayersPercent),
		FreeBytes:     share(capacity, spec.FreePercent),
		FreeInodes:    share(v.CapacityInodes, spec.FreePercent),
	}
}

// pressurePercent: pressure begins where this share of what is divided is left, of bytes or of inodes. The agent
// keeps twice as much free by default, so a volume gets here only when pruning can't keep up or has nothing left to
// prune.
const pressurePercent = 10

// HasBytePressure says whether a daemon must take no builds until there is more space.
func (v Volume) HasBytePressure(b Budget) bool {
	return b.CapacityBytes > 0 && v.FreeBytes <= b.CapacityBytes/100*pressurePercent
}

// HasInodePressure says whether a daemon must take no builds until there are more inodes.
func (v Volume) HasInodePressure() bool {
	return v.CapacityInodes > 0 && v.FreeInodes <= v.CapacityInodes/100*pressurePercent
}
