// SPDX-License-Identifier: Apache-2.0

// Package gc plans a daemon's garbage collection: which records of BuildKit's cache are pruned, and why. It is pure;
// package daemon prunes.
//
// BuildKit compares a rule's bound with its whole cache and not with what the rule's filter selects, so its own rules
// cannot give cache mounts and layers a budget each. Here each has a budget, next to policies of single mounts and
// space that is kept free. BuildKit's own rules remain as a backstop that never touches a cache mount; see package
// gcrules.
package gc

import (
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// Volume is a file system. Inodes are 0 if it does not count them.
type Volume struct {
	CapacityBytes, FreeBytes   int64
	CapacityInodes, FreeInodes int64
}

// UsedBytes returns capacity - free; that includes what the file system reserves for root.
func (v Volume) UsedBytes() int64 { return v.CapacityBytes - v.FreeBytes }

// UsedInodes returns capacity - free.
func (v Volume) UsedInodes() int64 { return v.CapacityInodes - v.FreeInodes }

// Budget is the division of a volume, in bytes and inodes.
type Budget struct {
	// CapacityBytes is what is divided.
	CapacityBytes int64
	// MountsBytes and LayersBytes bound cache mounts and everything else.
	MountsBytes, LayersBytes int64
	// FreeBytes and FreeInodes are kept free.
	FreeBytes, FreeInodes int64
}

// BudgetOf divides a volume. requestedBytes is the size of the claim, 0 or less if unknown. A file system may be larger
// than the claim, for example on classes that give every claim a folder of one disk; then the size of the claim is
// divided.
func BudgetOf(v Volume, requestedBytes int64, spec v1alpha1.GCSpec) Budget {
	capacity := v.CapacityBytes
	if requestedBytes > 0 {
		capacity = min(capacity, requestedBytes)
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

// pressurePercent is the free share of the divided capacity, in bytes or inodes, at which a daemon is under disk
// pressure. By default the agent keeps twice as much free, so pressure means that pruning cannot keep up or has nothing
// left to prune.
const pressurePercent = 10

// HasBytePressure reports whether a daemon must take no builds until more bytes are free.
func (v Volume) HasBytePressure(b Budget) bool {
	return b.CapacityBytes > 0 && v.FreeBytes <= b.CapacityBytes/100*pressurePercent
}

// HasInodePressure reports whether a daemon must take no builds until more inodes are free.
func (v Volume) HasInodePressure() bool {
	return v.CapacityInodes > 0 && v.FreeInodes <= v.CapacityInodes/100*pressurePercent
}
