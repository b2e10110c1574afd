// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/containerd/console"
	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"

	"github.com/openllb/hlb-operator/hlb/debug"
	"github.com/openllb/hlb-operator/hlb/lower"
	"github.com/openllb/hlb-operator/hlb/solve"
)

// errStdin is what keeps a program from being debugged whose text was standard input.
var errStdin = errors.New("the debugger reads commands from standard input: name a file for the program")

// debug compiles a program, walks through it as commands say, and then runs it as a whole.
func (s *streams) debug(ctx context.Context, b *build) error {
	if b.prog.Filename != "" && b.prog.Filename[0] == '<' {
		return errStdin
	}
	opts := solve.Options{
		Session: sessions(), Outputs: b.outputs, Stdout: s.out, Status: func(st *client.SolveStatus) { s.logs(st) },
	}
	compile := b.flags.online()
	compile.Trace = &lower.Trace{}
	var err error
	b.req, b.found, err = solve.Compile(ctx, b.client, b.prog, compile, opts)
	if shown := s.compiled(b.prog, b.req, b.found); err == nil && shown != nil {
		return shown
	}
	if err != nil {
		return &buildError{err}
	}
	texts := sources{b.prog.Filename: b.prog.Source}
	for name, text := range b.req.Sources {
		texts[name] = text
	}
	t := &debug.Terminal{In: debug.NewInput(s.in), Out: s.err, Source: texts.text, Shell: s.shell()}
	err = solve.Interact(ctx, b.client, b.req, debug.Solves(compile.Trace), opts,
		func(ctx context.Context, i *solve.Interaction) error {
			return t.Run(ctx, debug.NewSession(compile.Trace, i))
		})
	if err == nil {
		b.result, err = solve.Run(ctx, b.client, b.req, opts)
	}
	if err != nil {
		return &buildError{err}
	}
	return s.built(b)
}

// logs shows what steps write.
func (s *streams) logs(st *client.SolveStatus) {
	for _, l := range st.Logs {
		_, _ = s.err.Write(l.Data)
	}
}

// shell gives processes the terminal of this one, nil if there is none.
func (s *streams) shell() func(context.Context, *debug.Session, []string, io.ReadCloser) error {
	in, ok := s.in.(*os.File)
	if !ok || !isCharDevice(in) || !isCharDevice(s.err) {
		return nil
	}
	return func(ctx context.Context, session *debug.Session, args []string, stdin io.ReadCloser) error {
		screen, err := console.ConsoleFromFile(in)
		if err != nil {
			return err
		}
		if err := screen.SetRaw(); err != nil {
			return err
		}
		defer screen.Reset()
		out := keptOpen{s.err}
		return session.Exec(ctx, debug.Process{
			Args: args, Tty: true, Stdin: stdin, Stdout: out, Stderr: out,
			Started: func(p gateway.ContainerProcess) {
				if size, err := screen.Size(); err == nil {
					//nolint:errcheck // a shell of another size is a shell
					p.Resize(ctx, gateway.WinSize{Rows: uint32(size.Height), Cols: uint32(size.Width)})
				}
			},
		})
	}
}

// keptOpen is a stream that a process can't close.
type keptOpen struct{ io.Writer }

// Close implements io.Closer.
func (keptOpen) Close() error { return nil }
