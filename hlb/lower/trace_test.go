// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTrace: statements stand in the order in which they begin, with what they are evaluated for around them; a call is
// traced once, however often it is made.
func TestTrace(t *testing.T) {
	const src = `fs default() {
	image "a"
	made "x"
	copy fs { image "b"; dir "/d"; } "/" "/"
	run "r" with option { mount made("x") "/m" as out; breakpoint; }
	user "u"
	copy out "/" "/"
}
fs made(string name) {
	breakpoint
	run "mk ${name}"
}
pipeline all() { stage default made("x"); }
`
	trace := &Trace{}
	mustCompile(t, src, Options{Targets: []string{"default", "all"}, Trace: trace})
	var got []string
	for i, s := range trace.Stops {
		text := fmt.Sprintf("%d-%d %d:%d depth %d in %s", i, s.End, s.Span.Start.Line, s.Span.Start.Column, s.Depth,
			s.Function)
		for _, c := range s.Callers {
			text += fmt.Sprintf(" from %s:%d", c.Function, c.Span.Start.Line)
		}
		if s.Breakpoint {
			text += " breakpoint"
		}
		if s.Before != nil && !s.Before.Empty() {
			text += fmt.Sprintf(" %s%s", s.Dir, s.User)
		}
		got = append(got, text)
	}
	want := []string{
		"0-1 2:2 depth 0 in default",
		"1-4 3:2 depth 0 in default ",
		"2-3 10:2 depth 1 in made from default:3 breakpoint ",
		"3-4 11:2 depth 1 in made from default:3 ",
		"4-7 4:2 depth 0 in default ",
		"5-6 4:12 depth 1 in default",
		"6-7 4:23 depth 1 in default ",
		"7-10 5:2 depth 0 in default breakpoint ",
		"8-9 10:2 depth 1 in made from default:5 breakpoint",
		"9-10 11:2 depth 1 in made from default:5",
		"10-11 6:2 depth 0 in default ",
		"11-12 7:2 depth 0 in default u",
		"12-13 13:18 depth 0 in all",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestATraceChangesNothing: a program compiles to the same request with and without one.
func TestATraceChangesNothing(t *testing.T) {
	const src = "fs default() { image \"a\"; breakpoint; run \"b\" with mount(fs { image \"c\"; }, \"/m\"); }"
	with := mustCompile(t, src, Options{Trace: &Trace{}}).Targets[0].Final
	without := mustCompile(t, src, Options{}).Targets[0].Final
	if with.Head() != without.Head() {
		t.Error("the definitions differ")
	}
}
