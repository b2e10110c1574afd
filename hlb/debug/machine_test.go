// SPDX-License-Identifier: Apache-2.0

package debug

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// program is the trace of
//
//	1 fs default() {
//	2 	image "a"
//	3 	f                      # 11 run, 12 breakpoint
//	4 	copy fs { image "b" } "/" "/"
//	5 	run "c"
//	6 }
func program() []Position {
	at := func(line, depth, end int) Position { return Position{File: "x", Line: line, Depth: depth, End: end} }
	out := []Position{at(2, 0, 1), at(3, 0, 4), at(11, 1, 3), at(12, 1, 4), at(4, 0, 6), at(4, 1, 6), at(5, 0, 7)}
	out[3].Breakpoint = true
	return out
}

func TestPlan(t *testing.T) {
	for name, tc := range map[string]struct {
		from  int
		cmd   Command
		lines []int
		want  Move
	}{
		"a step builds the statement":            {0, StepIn, nil, Move{1, AtStep, []int{0}}},
		"a step into a call builds nothing":      {1, StepIn, nil, Move{2, AtStep, nil}},
		"a step over a call":                     {1, StepOver, nil, Move{3, AtBreakpoint, []int{2}}},
		"the last statement ends its call":       {3, StepIn, nil, Move{4, AtStep, []int{3, 1}}},
		"arguments come before what has them":    {4, StepOver, nil, Move{6, AtStep, []int{5, 4}}},
		"a step into arguments":                  {4, StepIn, nil, Move{5, AtStep, nil}},
		"out of a call":                          {2, StepOut, nil, Move{3, AtBreakpoint, []int{2}}},
		"out of the target is the end":           {6, StepOut, nil, Move{7, AtEnd, []int{6}}},
		"to a breakpoint of the program":         {0, Continue, nil, Move{3, AtBreakpoint, []int{0, 2}}},
		"to one of the user":                     {0, Continue, []int{11}, Move{2, AtBreakpoint, []int{0}}},
		"one stop a line":                        {4, Continue, []int{4}, Move{7, AtEnd, []int{5, 4, 6}}},
		"a line without a statement is the next": {3, Continue, []int{5}, Move{6, AtBreakpoint, []int{3, 1, 5, 4}}},
		"back":                                   {4, Back, nil, Move{3, AtBreakpoint, nil}},
		"back to a breakpoint":                   {6, ReverseContinue, nil, Move{3, AtBreakpoint, nil}},
		"back to the beginning":                  {2, ReverseContinue, nil, Move{0, AtEntry, nil}},
	} {
		t.Run(name, func(t *testing.T) {
			m := NewMachine(program())
			m.SetBreakpoints("x", tc.lines)
			m.Arrive(Move{To: tc.from, Reason: AtStep})
			if diff := cmp.Diff(tc.want, m.Plan(tc.cmd)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBreakpointsAreWhereStatementsBegin(t *testing.T) {
	m := NewMachine(program())
	if diff := cmp.Diff([]int{2, 11, 11, 0}, m.SetBreakpoints("x", []int{1, 6, 11, 13})); diff != "" {
		t.Error(diff)
	}
	if got := m.SetBreakpoints("y", []int{1}); got[0] != 0 {
		t.Errorf("a breakpoint in a file that is not built: %v", got)
	}
	if diff := cmp.Diff([]int{2, 11}, m.Breakpoints("x")); diff != "" {
		t.Error(diff)
	}
	m.SetBreakpoints("x", nil)
	if got := m.Breakpoints("x"); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
}

func TestBehindAFailureIsTheEnd(t *testing.T) {
	m := NewMachine(program())
	m.Fail(4)
	if got := m.Plan(StepIn); got.Reason != AtEnd || len(got.Run) > 0 {
		t.Errorf("%+v", got)
	}
	if got := m.Plan(Back); got.To != 3 {
		t.Errorf("%+v", got)
	}
	if _, reason := NewMachine(nil).At(); reason != AtEnd {
		t.Errorf("an empty program is at its %s", reason)
	}
}

// trees draws traces: statements with others that are evaluated for them.
func trees(t *rapid.T) []Position {
	var out []Position
	var add func(depth int)
	add = func(depth int) {
		i := len(out)
		out = append(out, Position{File: "x", Line: rapid.IntRange(1, 9).Draw(t, "line"), Depth: depth})
		for n := rapid.IntRange(0, 3-min(depth, 3)).Draw(t, "children"); n > 0; n-- {
			add(depth + 1)
		}
		out[i].End = len(out)
	}
	for n := rapid.IntRange(1, 4).Draw(t, "statements"); n > 0; n-- {
		add(0)
	}
	return out
}

// TestEveryStatementIsBuiltOnce: whatever the commands forward, each statement is built once, after those that are
// evaluated for it and after those before it.
func TestEveryStatementIsBuiltOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		positions := trees(t)
		m := NewMachine(positions)
		m.SetBreakpoints("x", rapid.SliceOfN(rapid.IntRange(1, 9), 0, 3).Draw(t, "breakpoints"))
		var built []int
		for {
			at, reason := m.At()
			if reason == AtEnd {
				break
			}
			move := m.Plan(rapid.SampledFrom([]Command{Continue, StepIn, StepOver, StepOut}).Draw(t, "command"))
			if move.To <= at {
				t.Fatalf("from %d to %d", at, move.To)
			}
			built = append(built, move.Run...)
			m.Arrive(move)
		}
		want := NewMachine(positions).completed(len(positions))
		if diff := cmp.Diff(want, built); diff != "" {
			t.Errorf("(-in one go +in steps):\n%s", diff)
		}
		if slices.Sort(built); len(built) != len(positions) || built[0] != 0 {
			t.Errorf("built %v of %d", built, len(positions))
		}
	})
}
