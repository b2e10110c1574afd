// SPDX-License-Identifier: Apache-2.0

// Package model checks the protocol of package attempt by explicit states. Its tests explore every interleaving of a
// manager, two agents and an API server up to a depth, breadth first, with the functions that manager and agents use.
//
// Modelled are: caches that lag by any time, conflicts, writes that are refused, writes whose answer is lost, writes
// that arrive late, crashes of the manager and of agents, processes that stand still while time goes on, machines whose
// clock stands still with them, and users who ask for another run. Time goes in ticks, and everybody only measures
// how much of it has passed: a clock that is set to another time changes nothing in any function.
package model
