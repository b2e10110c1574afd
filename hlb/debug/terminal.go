// SPDX-License-Identifier: Apache-2.0

package debug

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// ErrQuit ends a session that the user left.
var ErrQuit = errors.New("the debugger was left before the end")

// Terminal is a debugger of commands and answers.
type Terminal struct {
	In  *Input
	Out io.Writer
	// Source is the text of a file of the program, nil if there is none.
	Source func(file string) []byte
	// Shell runs a process that has the terminal, with this input; nil where there is none.
	Shell func(ctx context.Context, s *Session, args []string, in io.ReadCloser) error
}

// verb is a command of the terminal. It reports whether the place is to be shown again.
type verb struct {
	names string // all of them, the first one first
	help  string
	do    func(*Terminal, context.Context, *Session, []string) (moved bool, err error)
}

var verbs []verb

func init() { // help refers to all of them
	verbs = []verb{
		{"continue c", "go on to the next breakpoint", moving(Continue)},
		{"next n", "go on to the next statement of this function", moving(StepOver)},
		{"step s", "go on to the next statement, into functions and arguments", moving(StepIn)},
		{"out o", "go on to where this function was called", moving(StepOut)},
		{"back", "go back by a statement; nothing is undone", moving(Back)},
		{"rewind", "go back to the breakpoint before", moving(ReverseContinue)},
		{"break b", "[FILE:]LINE  set a breakpoint; without LINE, list them", (*Terminal).breakAt},
		{"clear", "[FILE:]LINE  remove a breakpoint", (*Terminal).clear},
		{"where w", "show the statement and the calls around it", (*Terminal).where},
		{"info i", "show what the statement does, its directory, user and mounts", (*Terminal).info},
		{"env", "show the environment", (*Terminal).env},
		{"ls", "[DIR]  list a directory, as the statement sees it", (*Terminal).ls},
		{"cat", "FILE  show a file, as the statement sees it", (*Terminal).cat},
		{"exec", "COMMAND  run a command in a shell, where the statement would run", (*Terminal).exec},
		{"shell sh", "[PROGRAM]  a shell there, by default /bin/sh", (*Terminal).shell},
		{"quit q", "leave; nothing is exported", (*Terminal).quit},
		{"help h", "show this", (*Terminal).help},
	}
}

// Run reads commands until the end of the program. The error is that of the statement that failed last, ErrQuit, or one
// of the daemon.
func (t *Terminal) Run(ctx context.Context, s *Session) error {
	if s.Stop() == nil {
		return nil
	}
	t.show(s)
	last := ""
	for {
		fmt.Fprint(t.Out, "(hlb) ")
		line, err := t.In.Line(ctx)
		if errors.Is(err, io.EOF) {
			fmt.Fprintln(t.Out)
			return ErrQuit
		}
		if err != nil {
			return err
		}
		if strings.TrimSpace(line) == "" {
			line = last // an empty line is the last command again
		}
		last = line
		moved, err := t.command(ctx, s, line)
		switch {
		case errors.Is(err, ErrQuit) || ctx.Err() != nil || moved && err != nil:
			return err
		case err != nil:
			fmt.Fprintf(t.Out, "%v\n", err)
		case moved && s.Stop() == nil:
			return s.Failure()
		case moved:
			t.show(s)
		}
	}
}

func (t *Terminal) command(ctx context.Context, s *Session, line string) (moved bool, err error) {
	name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	if name == "" {
		return false, nil
	}
	for _, v := range verbs {
		for _, n := range strings.Fields(v.names) {
			if n != name {
				continue
			}
			args := strings.Fields(rest)
			if n == "exec" {
				args = []string{strings.TrimSpace(rest)} // the shell splits it
			}
			return v.do(t, ctx, s, args)
		}
	}
	return false, fmt.Errorf("there is no command %q, see help", name)
}

func moving(cmd Command) func(*Terminal, context.Context, *Session, []string) (bool, error) {
	return func(_ *Terminal, ctx context.Context, s *Session, _ []string) (bool, error) {
		return true, s.Do(ctx, cmd)
	}
}

// show shows the statement.
func (t *Terminal) show(s *Session) {
	stop := s.Stop()
	_, reason := s.At()
	fmt.Fprintf(t.Out, "%s:%d:%d: %s in %s\n", stop.Span.File, stop.Span.Start.Line, stop.Span.Start.Column, reason,
		stop.Function)
	if lines := bytes.Split(t.Source(stop.Span.File), []byte("\n")); stop.Span.Start.Line <= len(lines) {
		fmt.Fprintf(t.Out, "%5d | %s\n", stop.Span.Start.Line, lines[stop.Span.Start.Line-1])
	}
	if err := s.Failure(); err != nil {
		fmt.Fprintf(t.Out, "%v\n", err)
	}
}

// location reads [FILE:]LINE.
func (t *Terminal) location(s *Session, args []string) (file string, line int, err error) {
	if len(args) != 1 {
		return "", 0, errors.New("a line is wanted, as 12 or build.hlb:12")
	}
	file, text := s.Stop().Span.File, args[0]
	if i := strings.LastIndexByte(text, ':'); i >= 0 {
		file, text = text[:i], text[i+1:]
	}
	line, err = strconv.Atoi(text)
	if err != nil || line < 1 {
		return "", 0, fmt.Errorf("%q is not a line", text)
	}
	return file, line, nil
}

func (t *Terminal) breakAt(_ context.Context, s *Session, args []string) (bool, error) {
	if len(args) == 0 {
		for _, file := range s.Files() {
			for _, line := range s.Breakpoints(file) {
				fmt.Fprintf(t.Out, "%s:%d\n", file, line)
			}
		}
		return false, nil
	}
	file, line, err := t.location(s, args)
	if err != nil {
		return false, err
	}
	set := s.SetBreakpoints(file, append(s.Breakpoints(file), line))
	if at := set[len(set)-1]; at > 0 {
		fmt.Fprintf(t.Out, "breakpoint at %s:%d\n", file, at)
		return false, nil
	}
	return false, fmt.Errorf("no statement that is built begins at %s:%d or behind", file, line)
}

func (t *Terminal) clear(_ context.Context, s *Session, args []string) (bool, error) {
	file, line, err := t.location(s, args)
	if err != nil {
		return false, err
	}
	var kept []int
	for _, l := range s.Breakpoints(file) {
		if l != line {
			kept = append(kept, l)
		}
	}
	s.SetBreakpoints(file, kept)
	return false, nil
}

func (t *Terminal) where(_ context.Context, s *Session, _ []string) (bool, error) {
	t.show(s)
	for _, c := range s.Stop().Callers {
		fmt.Fprintf(t.Out, "  called in %s at %s:%d\n", c.Function, c.Span.File, c.Span.Start.Line)
	}
	return false, nil
}

func (t *Terminal) info(_ context.Context, s *Session, _ []string) (bool, error) {
	fmt.Fprintf(t.Out, "does:      %s\ndirectory: %s\nuser:      %s\n", s.Step().Summary(), s.Stop().Dir, s.Stop().User)
	for _, m := range s.Step().Mounts() {
		fmt.Fprintf(t.Out, "mount:     %s: %s\n", m.Dest, m.What)
	}
	return false, nil
}

func (t *Terminal) env(_ context.Context, s *Session, _ []string) (bool, error) {
	for _, kv := range s.Env() {
		fmt.Fprintln(t.Out, kv)
	}
	return false, nil
}

func (t *Terminal) ls(ctx context.Context, s *Session, args []string) (bool, error) {
	dir := "/"
	if len(args) > 0 {
		dir = args[0]
	}
	found, err := s.ReadDir(ctx, dir)
	for _, f := range found {
		fmt.Fprintf(t.Out, "%s %5d %5d %10d %s\n", os.FileMode(f.Mode), f.Uid, f.Gid, f.Size, f.Path)
	}
	return false, err
}

func (t *Terminal) cat(ctx context.Context, s *Session, args []string) (bool, error) {
	if len(args) != 1 {
		return false, errors.New("a file is wanted")
	}
	data, err := s.ReadFile(ctx, args[0])
	fmt.Fprintf(t.Out, "%s", data)
	return false, err
}

func (t *Terminal) exec(ctx context.Context, s *Session, args []string) (bool, error) {
	return false, s.Exec(ctx, Process{Args: []string{"/bin/sh", "-c", args[0]}, Stdout: t.Out, Stderr: t.Out})
}

func (t *Terminal) shell(ctx context.Context, s *Session, args []string) (bool, error) {
	if t.Shell == nil {
		return false, errors.New("a shell needs a terminal; exec runs single commands")
	}
	if len(args) == 0 {
		args = []string{"/bin/sh"}
	}
	in := t.In.Lend()
	defer in.Close()
	return false, t.Shell(ctx, s, args, in)
}

func (t *Terminal) quit(context.Context, *Session, []string) (bool, error) { return false, ErrQuit }

func (t *Terminal) help(context.Context, *Session, []string) (bool, error) {
	for _, v := range verbs {
		fmt.Fprintf(t.Out, "  %-12s %s\n", strings.ReplaceAll(v.names, " ", ", "), v.help)
	}
	return false, nil
}
