// SPDX-License-Identifier: Apache-2.0

// Package benchcache measures, on real daemons with a real registry, what snapshots and priming of cache mounts cost
// and bring. Run it with make bench-cache, which writes out/bench-cache.json; plain test runs leave it out by its
// build tag.
package benchcache
