// SPDX-License-Identifier: Apache-2.0

// Package scheduler decides which daemon of a BuildCache runs which build. It is arithmetic over a snapshot: it reads
// no clock, API, logger or random source, and equal inputs give equal answers on every replica and in every replay.
//
// The idea in five sentences. Where a key's caches really lie (the Ledger) matters more than where a hash would put
// them, so rendezvous hashing only chooses the home of a key that nobody holds. Every way of running a build has a
// cost in seconds: waiting for a slot, moving caches in, running with what is there, the slot-seconds taken from
// others, and what is evicted; the cheapest way wins. A build therefore waits for a warm daemon exactly when waiting
// is cheaper than running elsewhere, and no timer is needed. Nothing waits in a daemon's own queue: a Round
// re-decides the whole queue whenever something ends. Builds that waited long come first in that order and stay with
// the daemons that hold their caches, because running old builds cold takes the very slots that would have kept the
// others warm.
//
// Shapes. A View is the fleet at one instant with its Ledger. Place decides one Request; Round decides a queue,
// assuming its earlier decisions while it makes the later ones. Estimates, Shares and HotKeys learn on-line from what
// happened and are asked before a round; Rebalance plans copies ahead of need. Durations and instants are float64
// seconds; instants count from any origin the caller keeps to. Nothing here is safe for concurrent use: one loop owns
// one BuildCache.
package scheduler
