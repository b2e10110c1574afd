// SPDX-License-Identifier: Apache-2.0

// Package scheduler decides which daemon of a BuildCache runs which build. It is arithmetic over a snapshot: it reads
// no clock, API, logger or random source, and equal inputs give equal answers on every replica and in every replay.
//
// The idea. The Ledger records which daemons hold the caches of a key; that matters more than a hash, so rendezvous
// hashing only chooses the home of a key that no daemon holds. Every way of running a build has a cost in seconds:
// waiting for a slot, restoring caches, the build with the caches it finds, the slot-seconds taken from other builds,
// and evictions. The cheapest way wins. A build therefore waits for a warm daemon exactly when waiting is cheaper than
// running elsewhere, and no timer is needed. Builds do not wait in a daemon's own queue: a Cycle decides the whole
// queue again whenever a build ends. Overdue builds are decided first, and on a loaded fleet they stay with the daemons
// that hold their caches: running old builds cold takes the slots that would keep the others warm.
//
// Shapes. A View is the fleet at one instant with its Ledger. Place decides one Request; Cycle decides a queue, and
// each decision assumes the earlier ones. Estimates, Shares and HotKeys learn from what happened and are read before a
// cycle; Rebalance plans copies ahead of need. Durations and instants are float64 seconds; instants count from any
// origin that the caller keeps to. Nothing here is safe for concurrent use: one loop owns one BuildCache.
package scheduler
