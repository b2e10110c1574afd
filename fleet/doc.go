// SPDX-License-Identifier: Apache-2.0

// Package fleet holds the manager's model of one BuildCache's daemons and builds, and its decisions about them:
// placements, wait reasons and prefetches.
//
// Its entry point is State: Cycle takes an Observation and returns Writes, Written takes back their outcome. Nothing
// here reads the API, a clock or a random source, so the same observations give the same writes, and a recording of
// observations can be replayed; see package record.
//
// A State has two parts. What was learned (lengths of builds, hot keys, shares of queues, snapshots) can't be read
// from the API; it makes placement better and never makes it right, and Save keeps it. The index is derived from the
// objects and from what was learned; a change of the BuildCache's spec, or a keyframe of a recording, builds it anew.
package fleet
