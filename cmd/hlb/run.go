// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
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

func runCommand(s *streams) *cobra.Command {
	var flags programFlags
	var progress string
	cmd := &cobra.Command{
		Use:   "run FILE",
		Short: "Compile targets and build them",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			prog, err := s.program(files[0])
			if err != nil {
				return err
			}
			c, err := client.New(cmd.Context(), flags.addr)
			if err != nil {
				return err
			}
			defer c.Close()
			display, err := progressui.NewDisplay(s.err, progressui.DisplayMode(progress))
			if err != nil {
				return err
			}
			return s.build(cmd.Context(), c, prog, flags, display)
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&progress, "progress", "auto", "how to show progress: auto, plain, tty, quiet or rawjson")
	return cmd
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

// build compiles and runs a program while display shows both.
func (s *streams) build(
	ctx context.Context,
	c *client.Client,
	prog hlb.Program,
	flags programFlags,
	display progressui.Display,
) error {
	status := make(chan *client.SolveStatus)
	opts := solve.Options{Session: sessions(), Status: func(st *client.SolveStatus) {
		select {
		case status <- st:
		case <-ctx.Done():
		}
	}}
	var req *hlb.Request
	var found hlb.List
	var result *solve.Result
	var group errgroup.Group
	group.Go(func() error {
		// The display ends when the channel is closed, not with the context: it has to show how the build ended.
		_, err := display.UpdateFrom(context.WithoutCancel(ctx), status)
		for range status { // a display that failed must not stop the build
		}
		return err
	})
	group.Go(func() (err error) {
		defer close(status)
		if req, found, err = solve.Compile(ctx, c, prog, flags.online(), opts); err != nil || req == nil {
			return err
		}
		result, err = solve.Run(ctx, c, req, opts)
		return err
	})
	err := group.Wait()
	if shown := s.compiled(prog, req, found); err == nil && shown != nil {
		return shown
	}
	if err != nil {
		return &buildError{err} // a failed step says where in the program it is
	}
	for _, o := range result.Outputs {
		fmt.Fprintf(s.out, "%s %s\n", o.Ref, o.Digest)
	}
	fmt.Fprintf(s.err, "%d of %d steps cached\n", result.Steps.Cached, result.Steps.Total)
	return nil
}
