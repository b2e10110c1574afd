// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/openllb/hlb-operator/hlb/debug"
	"github.com/openllb/hlb-operator/hlb/debug/dap"
	"github.com/openllb/hlb-operator/hlb/diag"
)

func dapCommand(s *streams) *cobra.Command {
	var daemon daemonFlags
	cmd := &cobra.Command{
		Use:   "dap",
		Short: "Serve an editor by the Debug Adapter Protocol",
		Long: "Serve one editor on standard input and output, which debugs a build. The launch configuration has\n" +
			"program, the path of the HLB file, and if wanted targets, args, addr and stopOnEntry.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return dap.Serve(cmd.Context(), s.in, s.out, s.debugged(daemon))
		},
	}
	daemon.add(cmd)
	return cmd
}

// debugged builds what an editor launches. Standard output is the editor's, so nothing is written there.
func (s *streams) debugged(daemon daemonFlags) dap.Build {
	type walking = func(context.Context, *debug.Session) error
	return func(ctx context.Context, launch dap.Launch, logs func([]byte), walk walking) error {
		return s.debugLaunched(ctx, daemon, launch, logs, walk)
	}
}

func (s *streams) debugLaunched(
	ctx context.Context, daemon daemonFlags, launch dap.Launch, logs func([]byte),
	walk func(context.Context, *debug.Session) error,
) error {
	prog, err := s.program(launch.Program)
	if err != nil {
		return err
	}
	daemon.addr = cmp.Or(launch.Addr, daemon.addr)
	c, err := daemon.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	flags := &runFlags{}
	flags.options.Targets, flags.options.Args = launch.Targets, launch.Args
	b := &build{client: c, prog: prog, flags: flags}
	err = s.walk(ctx, b, logs, func(ctx context.Context, session *debug.Session, _ sources) error {
		return walk(ctx, session)
	})
	if !errors.Is(err, errRefused) {
		return err
	}
	texts := sources{prog.Filename: prog.Source}
	texts.addFiles(b.found)
	var text bytes.Buffer
	if err := (diag.Renderer{Source: texts.text}).Render(&text, b.found); err != nil {
		return err
	}
	return errors.New(strings.TrimSpace(text.String()))
}
