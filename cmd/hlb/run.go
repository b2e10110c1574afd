// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/docker/cli/cli/config"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth/authprovider"
	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/openllb/hlb-operator/hlb"
	"github.com/openllb/hlb-operator/hlb/registry"
	"github.com/openllb/hlb-operator/hlb/solve"
)

// defaultProgram is the file that is built if none is named.
const defaultProgram = "build.hlb"

// runFlags are the flags of a build.
type runFlags struct {
	programFlags
	progress     string
	outputs      []solve.Output
	print, debug bool
	metadataFile string
}

func runCommand(s *streams) *cobra.Command {
	var flags runFlags
	cmd := &cobra.Command{
		Use:   "run [FILE]",
		Short: "Compile targets and build them",
		Long: "Compile targets of a program, by default of " + defaultProgram +
			", and build them. Progress goes to standard\nerror. Images that were pushed are listed on standard output " +
			"with their digests.\n\n" +
			"If the command of a step fails, its exit code is that of hlb.",
		Example: "  hlb run\n" +
			"  hlb run --target test,lint ci/build.hlb\n" +
			"  hlb run --push registry.example/app:1\n" +
			"  hlb run --output out --platform linux/arm64\n" +
			"  hlb run --output type=oci,dest=app.tar,name=app:1",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completePrograms,
		RunE: func(cmd *cobra.Command, files []string) error {
			file := defaultProgram
			if len(files) > 0 {
				file = files[0]
			}
			return s.run(cmd.Context(), file, &flags)
		},
	}
	flags.add(cmd)
	completeFlag(cmd, "target", s.completeTargets)
	cmd.Flags().StringVar(&flags.progress, "progress", string(progressui.AutoMode),
		"`HOW` to show progress: auto, plain, tty, rawjson or quiet")
	completeFlag(cmd, "progress", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var modes []string
		for _, m := range progressModes {
			modes = append(modes, string(m))
		}
		return modes, cobra.ShellCompDirectiveNoFileComp
	})
	cmd.Flags().FuncP("output", "o", "`OUTPUT` of the target: a directory, or type=local|tar|oci|docker|image with dest=\n"+
		"and name=, attributes of BuildKit's exporters, and target= where there are several", func(text string) error {
		o, err := parseOutput(text)
		flags.outputs = append(flags.outputs, o)
		return err
	})
	cmd.Flags().Func("push", "`IMAGE` to push the target as: --output type=image,name=IMAGE,push=true",
		func(image string) error {
			flags.outputs = append(flags.outputs, pushOutput(image))
			return nil
		})
	cmd.Flags().BoolVar(&flags.print, "print", false,
		"print what would be solved, with its cache contexts, and solve nothing")
	cmd.Flags().BoolVar(&flags.debug, "debug", false,
		"stop at breakpoint statements, at failures and where commands on standard input say")
	cmd.MarkFlagsMutuallyExclusive("print", "debug")
	cmd.Flags().StringVar(&flags.metadataFile, "metadata-file", "", "`FILE` for what was built, as JSON")
	return cmd
}

// run builds a program, or prints what would be built.
func (s *streams) run(ctx context.Context, file string, flags *runFlags) error {
	outputs, err := bindOutputs(flags.outputs, flags.options.Targets)
	if err != nil {
		return err
	}
	if toStdout(outputs) && isCharDevice(s.out) {
		return errors.New("an archive is not for a terminal: name a file as dest, or redirect standard output")
	}
	if flags.print {
		return s.print(ctx, file, flags, outputs)
	}
	prog, err := s.program(file)
	if err != nil {
		return err
	}
	c, err := flags.daemon.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if flags.debug {
		return s.debug(ctx, &build{client: c, prog: prog, flags: flags, outputs: outputs})
	}
	display, err := progressui.NewDisplay(s.err, progressui.DisplayMode(flags.progress))
	if err != nil {
		return err
	}
	b := &build{client: c, prog: prog, flags: flags, outputs: outputs, display: display}
	return s.build(ctx, b)
}

// print shows the tree of solves and exports, then the definition and the cache contexts of each.
func (s *streams) print(ctx context.Context, file string, flags *runFlags, outputs []solve.Output) error {
	req, err := s.compile(ctx, file, flags.programFlags, false, false)
	if err != nil {
		return err
	}
	root, err := solve.Plan(req, outputs)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "# %s\n", root)
	writeText(s.out, root.Leaves())
	return nil
}

// sessions is what the daemon may ask of this process: the registry credentials of its user.
func sessions() []session.Attachable {
	cfg := config.LoadDefaultConfigFile(nil)
	return []session.Attachable{authprovider.NewDockerAuthProvider(authprovider.DockerAuthProviderConfig{
		AuthConfigProvider: authprovider.LoadAuthConfig(cfg),
	})}
}

// online are the options of a compile that may use the network: it looks manifests up as this process's user. Vendored
// modules go before those of the network.
func (f *programFlags) online() hlb.Options {
	opts := f.options
	opts.Registry = registry.User{}
	opts.Vendor = vendored()
	return opts
}

// build is one build and how it is shown.
type build struct {
	client  *client.Client
	prog    hlb.Program
	flags   *runFlags
	outputs []solve.Output
	display progressui.Display

	// what came of it
	req    *hlb.Request
	found  hlb.List
	result *solve.Result
}

// build compiles and runs a program while the display shows both.
func (s *streams) build(ctx context.Context, b *build) error {
	status := make(chan *client.SolveStatus)
	opts := solve.Options{
		Session: sessions(), Outputs: b.outputs, Stdout: s.out,
		Status: func(st *client.SolveStatus) {
			select {
			case status <- st:
			case <-ctx.Done():
			}
		},
	}
	var group errgroup.Group
	group.Go(func() error {
		// The display ends when the channel is closed, not with the context: it has to show how the build ended.
		_, err := b.display.UpdateFrom(context.WithoutCancel(ctx), status)
		for range status { // a display that failed must not stop the build
		}
		return err
	})
	group.Go(func() (err error) {
		defer close(status)
		b.req, b.found, err = solve.Compile(ctx, b.client, b.prog, b.flags.online(), opts)
		if err != nil || b.req == nil {
			return err
		}
		b.result, err = solve.Run(ctx, b.client, b.req, opts)
		return err
	})
	err := group.Wait()
	if shown := s.compiled(b.prog, b.req, b.found); err == nil && shown != nil {
		return shown
	}
	if err != nil {
		s.hiddenLog(b, err)
		return &buildError{err} // a failed step says where in the program it is
	}
	return s.built(b)
}

// hiddenLog shows the end of the output of the step that failed, if the display shows no output.
func (s *streams) hiddenLog(b *build, err error) {
	var step *solve.StepError
	if progressui.DisplayMode(b.flags.progress) == progressui.QuietMode && errors.As(err, &step) {
		fmt.Fprint(s.err, step.LogTail)
	}
}

// built tells what a build did. Standard output is left alone if an output of the build has gone there.
func (s *streams) built(b *build) error {
	list := s.out
	if toStdout(b.outputs) {
		list = s.err
	}
	for _, o := range b.result.Outputs {
		if o.Digest != "" {
			fmt.Fprintf(list, "%s %s\n", o.Ref, o.Digest)
		} else {
			fmt.Fprintln(list, o.Ref)
		}
	}
	if progressui.DisplayMode(b.flags.progress) != progressui.QuietMode {
		fmt.Fprintf(s.err, "%d of %d steps cached\n", b.result.Steps.Cached, b.result.Steps.Total)
	}
	if b.flags.metadataFile == "" {
		return nil
	}
	return writeMetadata(b.flags.metadataFile, b.result)
}
