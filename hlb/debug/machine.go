// SPDX-License-Identifier: Apache-2.0

// Package debug walks through the statements of a program while a daemon builds them.
//
// A program is evaluated first, which builds nothing; its trace has the statements in order. Machine is where in the
// trace a user is and where a command leads, as pure arithmetic. Session builds what Machine says on the way, and looks
// at filesystems and steps. Terminal and package dap put both before users.
package debug

import "slices"

// Position is one statement of the trace.
type Position struct {
	File string
	Line int // where the statement begins, from 1
	// Depth is how many statements it is evaluated for; End is the index behind the last one evaluated for it.
	Depth, End int
	Breakpoint bool // of the program
}

// Command moves through the trace.
type Command int

// The commands. All but Back and ReverseContinue also stop at breakpoints on the way.
const (
	Continue        Command = iota // to the next breakpoint
	StepIn                         // to the next statement
	StepOver                       // to the next statement that is not evaluated for this one
	StepOut                        // to the statement that goes on where the one around this one ends
	Back                           // to the statement before; nothing is undone or built
	ReverseContinue                // to the breakpoint before
)

// Reason is why the machine is where it is.
type Reason string

// The reasons.
const (
	AtEntry      Reason = "entry"
	AtStep       Reason = "step"
	AtBreakpoint Reason = "breakpoint"
	AtFailure    Reason = "failure" // the statement failed
	AtEnd        Reason = "end"     // behind the last statement
)

// Machine is a place in a trace. Statements before it are done, but for those that it is evaluated for.
type Machine struct {
	positions []Position
	lines     map[place]bool // breakpoints of the user
	at        int            // len(positions) at the end
	reason    Reason
}

type place struct {
	file string
	line int
}

// NewMachine is before the first statement.
func NewMachine(positions []Position) *Machine {
	m := &Machine{positions: positions, lines: map[place]bool{}, reason: AtEntry}
	if len(positions) == 0 {
		m.reason = AtEnd
	}
	return m
}

// At is the index of the statement, and why the machine stands there. At the end the index is that behind the last.
func (m *Machine) At() (int, Reason) { return m.at, m.reason }

// Move is a way to another statement.
type Move struct {
	To     int
	Reason Reason
	// Run are the statements that are complete there and were not before, in the order to run them.
	Run []int
}

// Plan is the way that a command takes, without taking it.
func (m *Machine) Plan(cmd Command) Move {
	switch cmd {
	case Back:
		return m.back(func(int) bool { return true })
	case ReverseContinue:
		return m.back(m.breaks)
	}
	if m.reason == AtFailure || m.at == len(m.positions) {
		return Move{To: len(m.positions), Reason: AtEnd} // what comes behind a failure can't be built
	}
	here := m.positions[m.at]
	arrived := map[Command]func(Position) bool{
		StepIn:   func(Position) bool { return true },
		StepOver: func(p Position) bool { return p.Depth <= here.Depth },
		StepOut:  func(p Position) bool { return p.Depth < here.Depth },
		Continue: func(Position) bool { return false },
	}[cmd]
	move := Move{To: len(m.positions), Reason: AtEnd}
	for i := m.at + 1; i < len(m.positions); i++ {
		if m.breaks(i) {
			move.To, move.Reason = i, AtBreakpoint
			break
		}
		if arrived(m.positions[i]) {
			move.To, move.Reason = i, AtStep
			break
		}
	}
	move.Run = m.completed(move.To)
	return move
}

// back is the way to the last statement before this one that ok accepts, else to the first.
func (m *Machine) back(ok func(int) bool) Move {
	for i := m.at - 1; i > 0; i-- {
		if ok(i) {
			reason := AtStep
			if m.breaks(i) {
				reason = AtBreakpoint
			}
			return Move{To: i, Reason: reason}
		}
	}
	return Move{Reason: AtEntry}
}

// completed are the statements that end on the way from here to the statement to: inner ones before those they are
// evaluated for.
func (m *Machine) completed(to int) []int {
	var run []int
	for i, p := range m.positions[:to] {
		if p.End > m.at && p.End <= to {
			run = append(run, i)
		}
	}
	slices.SortFunc(run, func(a, b int) int {
		if d := m.positions[a].End - m.positions[b].End; d != 0 {
			return d
		}
		return b - a
	})
	return run
}

// Arrive takes a way whose statements were run.
func (m *Machine) Arrive(move Move) { m.at, m.reason = move.To, move.Reason }

// Fail stops at a statement that failed.
func (m *Machine) Fail(at int) { m.at, m.reason = at, AtFailure }

// breaks reports whether the machine stops at a statement whatever it is on the way to.
func (m *Machine) breaks(i int) bool {
	p := m.positions[i]
	if p.Breakpoint {
		return true
	}
	if !m.lines[place{p.File, p.Line}] {
		return false
	}
	// Of statements within one on the same line, the outer one has stopped already.
	for j := i - 1; j >= 0; j-- {
		if outer := m.positions[j]; outer.End > i {
			return outer.File != p.File || outer.Line != p.Line
		}
	}
	return true
}

// SetBreakpoints replaces the breakpoints of a file. Each is set on the first line from there on where a statement of
// the trace begins; the results are these lines, 0 where there is none.
func (m *Machine) SetBreakpoints(file string, lines []int) []int {
	for p := range m.lines {
		if p.file == file {
			delete(m.lines, p)
		}
	}
	set := make([]int, len(lines))
	for n, line := range lines {
		for _, p := range m.positions {
			if p.File == file && p.Line >= line && (set[n] == 0 || p.Line < set[n]) {
				set[n] = p.Line
			}
		}
		if set[n] > 0 {
			m.lines[place{file, set[n]}] = true
		}
	}
	return set
}

// Breakpoints are the lines of a file with a breakpoint of the user, in order.
func (m *Machine) Breakpoints(file string) []int {
	var lines []int
	for p := range m.lines {
		if p.file == file {
			lines = append(lines, p.line)
		}
	}
	slices.Sort(lines)
	return lines
}

// Files are those with statements, in the order of the trace.
func (m *Machine) Files() []string {
	var files []string
	for _, p := range m.positions {
		if !slices.Contains(files, p.File) {
			files = append(files, p.File)
		}
	}
	return files
}
