// SPDX-License-Identifier: Apache-2.0

// Package gcrules has the rules that buildkitd is configured with for its own garbage collection: the manager writes
// them, the agent compares them with the rules that buildkitd reports.
package gcrules

import "slices"

// Rule is a rule of BuildKit's own garbage collection.
type Rule struct {
	// Filters of a rule are alternatives; a comma inside one means "and".
	Filters []string
	// MinFreeBytes of the volume: below, the selected records are evicted, least recently used first.
	MinFreeBytes int64
	// Others is true for a rule with a setting that the operator never configures.
	Others bool
}

// Backstop is the whole list of rules that buildkitd is configured with for a volume of sizeBytes. They act when the
// agent has not pruned in time, at half of the free space that DiskPressure begins at. No rule selects cache mounts:
// these belong to the agent, which alone knows the pinned ones. No rule bounds the cache itself, so that a volume
// that grew is used without a restart of the daemon.
func Backstop(sizeBytes int64) []Rule {
	return []Rule{
		{Filters: []string{"type==source.local", "type==source.git.checkout"}, MinFreeBytes: sizeBytes / 100 * 8},
		{Filters: []string{"type!=exec.cachemount"}, MinFreeBytes: sizeBytes / 100 * 5},
	}
}

// Honours reports whether the rules that buildkitd reports are the backstop of a volume of sizeBytes, or of a smaller
// one: those in force are of the size when the daemon started, and volumes only grow.
func Honours(inForce []Rule, sizeBytes int64) bool {
	return slices.EqualFunc(inForce, Backstop(sizeBytes), func(got, want Rule) bool {
		return !got.Others && slices.Equal(got.Filters, want.Filters) && got.MinFreeBytes > 0 &&
			got.MinFreeBytes <= want.MinFreeBytes
	})
}
