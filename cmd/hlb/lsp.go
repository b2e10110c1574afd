// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/moby/buildkit/client"
	"github.com/spf13/cobra"

	"github.com/openllb/hlb-operator/hlb/lsp"
	"github.com/openllb/hlb-operator/hlb/query"
	"github.com/openllb/hlb-operator/hlb/registry"
	"github.com/openllb/hlb-operator/hlb/solve"
)

func lspCommand(s *streams) *cobra.Command {
	var addr string
	var registries []string
	cmd := &cobra.Command{
		Use:   "lsp",
		Short: "Serve an editor by the Language Server Protocol",
		Long: "Serve one editor on standard input and output. With --addr, lenses over targets tell what the\n" +
			"daemon there holds of their cache mounts and images. With --registry, the tags of its images are " +
			"completed.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			lsp.Tune()
			opts := lsp.Options{}
			if info, ok := debug.ReadBuildInfo(); ok {
				opts.Version = info.Main.Version
			}
			if addr != "" {
				c, err := daemonFlags{addr: addr}.connect(cmd.Context())
				if err != nil {
					return err
				}
				defer c.Close()
				opts.Usage = func(ctx context.Context) (*query.Held, error) { return heldBy(ctx, c) }
			}
			if len(registries) > 0 {
				opts.Tags = func(ctx context.Context, repository string) ([]string, error) {
					return imageTags(ctx, registries, repository)
				}
			}
			err := lsp.Serve(cmd.Context(), stdio{s.in, s.out}, opts)
			if errors.Is(err, lsp.ErrNoShutdown) {
				return &buildError{err} // the exit code 1, as the protocol asks
			}
			return err
		},
	}
	cmd.Flags().StringVar(&addr, "addr", "", "`ADDRESS` of a buildkitd to ask what it holds of cache mounts and images")
	cmd.Flags().StringSliceVar(&registries, "registry", nil,
		"`HOST` of a registry to ask for tags of images, as docker.io, with the credentials of docker's config")
	return cmd
}

// stdio is standard input and output as one stream.
type stdio struct {
	io.Reader
	io.Writer
}

// Close ends reading, where that is possible.
func (s stdio) Close() error {
	if c, ok := s.Reader.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// maxTags bounds the tags of one repository that an editor is offered.
const maxTags = 1000

// imageTags lists the tags of a repository if it is of one of some registries.
func imageTags(ctx context.Context, registries []string, repository string) ([]string, error) {
	if host, ok := registry.Host(repository); !ok || !slices.Contains(registries, host) {
		return nil, nil
	}
	return registry.User{}.Tags(ctx, repository, maxTags)
}

// pulled is how the daemon describes a layer of an image.
const pulled = "pulled from "

// heldBy returns what a daemon holds. A cache mount may have several directories, and an image several layers; a layer
// is counted for one image only.
func heldBy(ctx context.Context, c *client.Client) (*query.Held, error) {
	records, err := c.DiskUsage(ctx)
	if err != nil {
		return nil, err
	}
	held := &query.Held{Mounts: map[string]int64{}, Images: map[string]int64{}}
	for _, r := range records {
		id, ok := solve.CacheMountID(r.Description)
		if ok && id != "" && r.RecordType == client.UsageRecordTypeCacheMount {
			held.Mounts[id] += r.Size
		}
		if ref, ok := strings.CutPrefix(r.Description, pulled); ok {
			held.Images[query.ImageName(ref)] += r.Size
		}
	}
	return held, nil
}
