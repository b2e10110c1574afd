// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/platforms"
	"github.com/moby/patternmatcher/ignorefile"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/openllb/hlb-operator/hlb/fromdockerfile"
	"github.com/openllb/hlb-operator/hlb/registry"
)

// defaultDockerfile is the file that is converted if none is named.
const defaultDockerfile = "Dockerfile"

func fromDockerfileCommand(s *streams) *cobra.Command {
	var opts fromdockerfile.Options
	var output string
	var offline bool
	cmd := &cobra.Command{
		Use:   "from-dockerfile [FILE]",
		Short: "Write an HLB program of a Dockerfile",
		Long: "Write a program whose LLB is that of the Dockerfile. Its place is beside the Dockerfile: the build\n" +
			"context is the directory of the program, without what .dockerignore names.\n\n" +
			"What HLB has no words for is listed on standard error, and the exit code is then 1.",
		Example: "  hlb from-dockerfile > build.hlb\n" +
			"  hlb from-dockerfile --target test --build-arg VERSION=2 -o test.hlb app.Dockerfile",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			file := defaultDockerfile
			if len(files) > 0 {
				file = files[0]
			}
			if !offline {
				opts.Config = imageConfig
			}
			return s.fromDockerfile(cmd.Context(), file, output, opts)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", standardOutput, "`FILE` for the program")
	cmd.Flags().StringVar(&opts.Target, "target", "", "the `STAGE` that is the target, by default the last")
	cmd.Flags().StringToStringVar(&opts.BuildArgs, "build-arg", nil, "values of ARGs, as name=value")
	cmd.Flags().BoolVar(&offline, "offline", false,
		"don't look at base images, whose environment, user and shell are then not known")
	cmd.Flags().Func("platform", "`PLATFORM` that TARGETPLATFORM and the like stand for", func(text string) error {
		p, err := platforms.Parse(text)
		opts.Platform = &p
		return err
	})
	return cmd
}

// fromDockerfile converts a Dockerfile and writes the program.
func (s *streams) fromDockerfile(ctx context.Context, file, output string, opts fromdockerfile.Options) error {
	_, dockerfile, err := s.read(file)
	if err != nil {
		return err
	}
	if opts.Ignore, err = ignored(file); err != nil {
		return err
	}
	res, err := fromdockerfile.Convert(ctx, dockerfile, opts)
	if err != nil {
		return &buildError{fmt.Errorf("%s: %w", file, err)}
	}
	if output == standardOutput {
		_, err = s.out.Write(res.Program)
	} else {
		err = os.WriteFile(output, res.Program, 0o644)
	}
	if err != nil || len(res.Problems) == 0 {
		return err
	}
	for _, p := range res.Problems {
		fmt.Fprintf(s.err, "%s: %s\n", file, p)
	}
	return errRefused
}

// ignored are the patterns of the ignore file of a Dockerfile: its own, else that of its directory, if there is one.
func ignored(file string) ([]string, error) {
	for _, name := range []string{file + ".dockerignore", filepath.Join(filepath.Dir(file), ".dockerignore")} {
		text, err := os.ReadFile(name)
		switch {
		case err == nil:
			return ignorefile.ReadAll(bytes.NewReader(text))
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	return nil, nil
}

// imageConfig asks the registry of an image for its config.
func imageConfig(ctx context.Context, ref string, platform ocispecs.Platform) ([]byte, error) {
	m, err := registry.User{}.Manifest(ctx, ref, platform)
	return []byte(m.Config), err
}
