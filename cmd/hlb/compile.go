// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/containerd/platforms"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/openllb/hlb-operator/hlb"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/request"
	"github.com/openllb/hlb-operator/hlb/solve"
)

// programFlags are the flags of commands that compile.
type programFlags struct {
	daemon  daemonFlags
	options hlb.Options
}

func (f *programFlags) add(cmd *cobra.Command) {
	f.daemon.add(cmd)
	cmd.Flags().StringSliceVar(&f.options.Targets, "target", nil, "the targets, default \"default\"")
	cmd.Flags().StringToStringVar(&f.options.Args, "arg", nil, "values for parameters of targets, as name=value")
	cmd.Flags().
		StringVar(&f.options.CacheMountNamespace, "cache-mount-namespace", "", "prefix of the ids of cache mounts")
	cmd.Flags().BoolVar(&f.options.DisableProgramCaches, "no-cache-contexts", false, "ignore cacheContext")
	cmd.Flags().Func("platform", "`PLATFORM` to build for, as linux/arm64, unless the program says otherwise",
		func(text string) error {
			p, err := platforms.Parse(text)
			f.options.Platform = &p
			return err
		})
}

// program reads a program for the compiler.
func (s *streams) program(file string) (hlb.Program, error) {
	name, src, err := s.read(file)
	return hlb.Program{Filename: name, Source: src}, err
}

func compileCommand(s *streams) *cobra.Command {
	var flags programFlags
	var offline, asJSON, asPB bool
	var solveIndex int
	cmd := &cobra.Command{
		Use:   "compile FILE",
		Short: "Print the LLB of targets",
		Long: "Compile targets and print what a daemon would be asked to solve, one definition after the other,\n" +
			"in the order of the request, each with its cache contexts. With --json each op and each cache\n" +
			"context is one line; if the program is refused, the output is the findings as `check --json`\n" +
			"prints them. With --pb the definition that --solve selects is printed as protobuf, equal\n" +
			"definitions as equal bytes.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completePrograms,
		RunE: func(cmd *cobra.Command, files []string) error {
			req, err := s.compile(cmd.Context(), files[0], flags, offline, asJSON)
			if err != nil {
				return err
			}
			leaves := req.Root.Leaves()
			switch {
			case asPB:
				return writePB(s.out, leaves, solveIndex)
			case asJSON:
				return writeOps(s.out, leaves)
			}
			writeText(s.out, leaves)
			return nil
		},
	}
	flags.add(cmd)
	completeFlag(cmd, "target", s.completeTargets)
	cmd.Flags().BoolVar(&offline, "offline", false, "don't contact a daemon; images keep empty configs")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one op a line as JSON")
	cmd.Flags().BoolVar(&asPB, "pb", false, "print a definition as protobuf")
	cmd.Flags().
		IntVar(&solveIndex, "solve", 0,
			"number of the definition for --pb, from 1; may be left out if there is only one")
	cmd.MarkFlagsMutuallyExclusive("json", "pb")
	return cmd
}

// compile compiles a program, in a session of the daemon unless offline, and shows what was found. Tools get the
// findings that refuse a program too.
func (s *streams) compile(
	ctx context.Context,
	file string,
	flags programFlags,
	offline, asJSON bool,
) (*hlb.Request, error) {
	prog, err := s.program(file)
	if err != nil {
		return nil, err
	}
	var req *hlb.Request
	var found diag.List
	if offline {
		flags.options.Vendor = vendored()
		req, found = hlb.Compile(ctx, prog, flags.options)
	} else {
		c, err := flags.daemon.connect(ctx)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		req, found, err = solve.Compile(ctx, c, prog, flags.online(), solve.Options{Session: sessions()})
		if err != nil {
			return nil, fmt.Errorf("compile with the daemon at %s: %w", flags.daemon.addr, err)
		}
	}
	if req == nil && asJSON {
		refusals := slices.DeleteFunc(
			slices.Clone(found),
			func(d *diag.Diagnostic) bool { return d.Severity != diag.Error },
		)
		if err := diag.WriteJSON(s.out, refusals); err != nil {
			return nil, err
		}
	}
	return req, s.compiled(prog, req, found)
}

// compiled shows the findings of a compile. It returns errRefused if there is no request.
func (s *streams) compiled(prog hlb.Program, req *hlb.Request, found diag.List) error {
	texts := sources{prog.Filename: prog.Source}
	if req != nil {
		maps.Copy(texts, req.Sources)
		found = req.Warnings
	}
	texts.addFiles(found)
	return s.report(found, texts, false, req == nil)
}

// writeText prints definitions for people, each with its cache contexts.
func writeText(w io.Writer, leaves []*request.Node) {
	for i, n := range leaves {
		fmt.Fprintf(w, "# %d: %s\n%s%s", i+1, n, request.Text(n.Solve.Definition), n.Solve.ScopesText())
	}
}

// writePB prints definition n, from 1; 0 is the only one.
func writePB(w io.Writer, leaves []*request.Node, n int) error {
	if n == 0 && len(leaves) == 1 {
		n = 1
	}
	if n < 1 || n > len(leaves) {
		return fmt.Errorf("there are %d definitions, choose one with --solve", len(leaves))
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(leaves[n-1].Solve.Definition.ToPB())
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}
