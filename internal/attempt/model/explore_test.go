// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"fmt"
	"strings"
	"unsafe"

	"github.com/cespare/xxhash/v2"
)

// hash stands for a state. All of a state is bytes, so its memory is its value.
func hash(s *state) uint64 {
	return xxhash.Sum64(unsafe.Slice((*byte)(unsafe.Pointer(s)), unsafe.Sizeof(*s)))
}

// bounds limit an exploration.
type bounds struct {
	depth  int
	states int // explored at most; the level that exceeds it is the last
	// settle is how many states there are for each that must also settle; a power of two.
	settle uint64
}

// found is what an exploration has come to.
type found struct {
	states int
	depth  int
	broken fault
	trace  []string // the steps to what is broken
}

// node is a state that was reached: from which, and by which of its steps.
type node struct {
	from int32
	step uint16
}

// explore visits the states that follow from a first one, breadth first, until something is broken.
func (w *world) explore(first state, b bounds) found {
	seen := map[uint64]struct{}{hash(&first): {}}
	nodes, level, at := []node{{from: -1}}, []state{first}, []int32{0}
	out := found{states: 1}
	for out.depth = 0; out.depth < b.depth && len(level) > 0 && len(nodes) < b.states; out.depth++ {
		var next []state
		var nextAt []int32
		for i := range level {
			step := uint16(0)
			w.emit = func(_ label, n state) {
				step++
				if out.broken != sound {
					return
				}
				w.normalize(&n)
				id := hash(&n)
				if _, known := seen[id]; known {
					return
				}
				seen[id] = struct{}{}
				nodes = append(nodes, node{at[i], step})
				out.broken = w.check(&n)
				next, nextAt = append(next, n), append(nextAt, int32(len(nodes)-1))
			}
			w.expand(&level[i])
			if out.broken != sound {
				out.depth++
				out.states, out.trace = len(nodes), w.trace(first, nodes, int32(len(nodes)-1))
				return out
			}
		}
		for i := range next {
			if hash(&next[i])%b.settle != 0 {
				continue
			}
			if steps, ok := w.settles(next[i]); !ok {
				out.depth++
				out.states, out.broken = len(nodes), stuck
				out.trace = append(w.trace(first, nodes, nextAt[i]), "then nothing fails any more:")
				out.trace = append(out.trace, steps...)
				return out
			}
		}
		level, at = next, nextAt
	}
	out.states = len(nodes)
	return out
}

// trace lists the steps that lead to a node.
func (w *world) trace(first state, nodes []node, last int32) []string {
	var path []uint16
	for n := last; nodes[n].from >= 0; n = nodes[n].from {
		path = append(path, nodes[n].step)
	}
	var out []string
	s := first
	for i := len(path) - 1; i >= 0; i-- {
		step, next := uint16(0), s
		w.emit = func(l label, n state) {
			if step++; step == path[i] {
				w.normalize(&n)
				out, next = append(out, l.String()), n
			}
		}
		w.expand(&s)
		s = next
	}
	return append(out, s.String())
}

func (s state) String() string {
	var out strings.Builder
	fmt.Fprintf(&out, "build %+v, Leases %v", s.build, s.holder)
	for i, a := range s.a {
		fmt.Fprintf(&out, "\n    %s: session %d, age %d, stage %d on %+v, pause %d",
			agentNames[i], a.session, a.age, a.at, a.on, a.pause)
	}
	return out.String()
}

// settleSteps bounds how many steps a run may take to its end when nothing fails.
const settleSteps = 250

// ranks is the order in which settles takes steps.
var ranks = []string{
	"goes on", "observes the build", "reads its Lease", "observes the Lease of", "has ended the attempt",
	"drops a report that is void", "renews its Lease", "acquires its Lease", "reports the end",
	"reports an earlier session's attempt", "acknowledges the release", "goes on with its claim",
	"cancels the attempt", "opens a run", "decides about the next attempt", "looks for what was missing",
	"finds the session over:", "declares the attempt lost", "ends the release", "takes the Lease of",
	"withdraws the placement", "claims the attempt", "places the run on cache-0", "places the run on cache-1",
	"ends the attempt:", "passes",
}

var rankOf = func() map[string]int {
	out := map[string]int{}
	for i, what := range ranks {
		out[what] = i
	}
	return out
}()

// settles runs on from a state without faults, each time by the step of the lowest rank, and reports whether the run
// that users asked for last comes to its end, and no daemon is taken for dead but that of the attempt at hand. If not,
// it returns the steps.
func (w *world) settles(s state) (steps []string, ok bool) {
	s.faults, s.asks, s.isLate, s.late = 0, 0, false, write{}
	first := s.build
	for range settleSteps {
		b := s.build
		if b.run != first.run {
			first = build{run: b.run}
		}
		if b.run > 0 && b.final && b.asked == b.runAsked && b.releasing.by == nobody && b.deaths <= first.deaths+1 {
			return nil, true
		}
		best, next, chosen := len(ranks), s, label{}
		w.emit = func(l label, n state) {
			rank, known := rankOf[l.what]
			if known && rank < best && n != s && w.isUseful(&s, &n, l) {
				best, next, chosen = rank, n, l
			}
		}
		w.expand(&s)
		if best == len(ranks) {
			break
		}
		s = next
		steps = append(steps, chosen.String())
	}
	return append(steps, s.String()), false
}

// isUseful reports whether a fault-free schedule takes a step: renewals only when time has passed, placements only
// where an agent serves, and their withdrawal only where none does.
func (w *world) isUseful(s, n *state, l label) bool {
	switch l.what {
	case "renews its Lease":
		return n.a[0].age != s.a[0].age || n.a[1].age != s.a[1].age
	case "places the run on cache-0", "places the run on cache-1":
		return w.serves(s, n.build.daemon)
	case "withdraws the placement":
		return !w.serves(s, s.build.daemon)
	case "ends the attempt:":
		return l.which == endNames[succeeded]
	}
	return true
}

// serves reports whether an agent holds the daemon's Lease.
func (w *world) serves(s *state, d uint8) bool {
	for i := range s.a {
		if a := s.a[i]; w.daemonOf[i] == d && a.session != nobody && s.holder[d] == a.session {
			return true
		}
	}
	return false
}
