// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"maps"
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

// debug walks through a program as commands on standard input say, and then runs it as a whole.
func (s *streams) debug(ctx context.Context, b *build) error {
	if b.prog.Filename != "" && b.prog.Filename[0] == '<' {
		return errStdin
	}
	t := &debug.Terminal{In: debug.NewInput(s.in), Out: s.err, Shell: s.shell()}
	show := func(text []byte) { _, _ = s.err.Write(text) }
	err := s.walk(ctx, b, show, func(ctx context.Context, session *debug.Session, texts sources) error {
		if err := s.compiled(b.prog, b.req, b.found); err != nil {
			return err
		}
		t.Source = texts.text
		return t.Run(ctx, session)
	})
	switch {
	case err == nil:
		return s.built(b)
	case b.req == nil && len(b.found) > 0:
		return s.compiled(b.prog, nil, b.found)
	}
	return &buildError{err}
}

// walk compiles a program, calls do to walk through it, and runs it as a whole if do returns nil. Without a request
// there is nothing to walk through, and the findings of the build may say why.
func (s *streams) walk(
	ctx context.Context, b *build, logs func([]byte), do func(context.Context, *debug.Session, sources) error,
) error {
	opts := solve.Options{Session: sessions(), Outputs: b.outputs, Stdout: s.out, Status: func(st *client.SolveStatus) {
		for _, l := range st.Logs {
			logs(l.Data)
		}
	}}
	compile := b.flags.online()
	compile.Trace = &lower.Trace{}
	var err error
	b.req, b.found, err = solve.Compile(ctx, b.client, b.prog, compile, opts)
	if err != nil {
		return err
	}
	if b.req == nil {
		return errRefused
	}
	texts := sources{b.prog.Filename: b.prog.Source}
	maps.Copy(texts, b.req.Sources)
	err = solve.Interact(ctx, b.client, b.req, debug.Solves(compile.Trace), opts,
		func(ctx context.Context, i *solve.Interaction) error {
			return do(ctx, debug.NewSession(compile.Trace, i), texts)
		})
	if err != nil {
		return err
	}
	b.result, err = solve.Run(ctx, b.client, b.req, opts)
	return err
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
		defer func() { _ = screen.Reset() }() // a terminal that is gone needs none
		return session.Exec(ctx, debug.Process{
			Args: args, Tty: true, Stdin: stdin, Stdout: s.err, Stderr: s.err,
			Started: func(p gateway.ContainerProcess) {
				if size, err := screen.Size(); err == nil {
					//nolint:errcheck // a shell of another size is a shell
					p.Resize(ctx, gateway.WinSize{Rows: uint32(size.Height), Cols: uint32(size.Width)})
				}
			},
		})
	}
}
