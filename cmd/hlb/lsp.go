// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"runtime/debug"

	"github.com/moby/buildkit/client"
	"github.com/spf13/cobra"

	"github.com/openllb/hlb-operator/hlb/lsp"
	"github.com/openllb/hlb-operator/hlb/solve"
)

func lspCommand(s *streams) *cobra.Command {
	var addr string
	cmd := &cobra.Command{
		Use:   "lsp",
		Short: "Serve an editor by the Language Server Protocol",
		Long: "Serve one editor on standard input and output. With --addr, lenses over targets tell what the\n" +
			"daemon there holds of their cache mounts.",
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
				opts.Usage = func(ctx context.Context) (map[string]int64, error) { return cacheMounts(ctx, c) }
			}
			err := lsp.Serve(cmd.Context(), stdio{s.in, s.out}, opts)
			if errors.Is(err, lsp.ErrNoShutdown) {
				return &buildError{err} // the exit code 1, as the protocol asks
			}
			return err
		},
	}
	cmd.Flags().StringVar(&addr, "addr", "", "`ADDRESS` of a buildkitd to ask for the sizes of cache mounts")
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

// cacheMounts returns the sizes in bytes of the cache mounts of a daemon by their ids. An id may have several
// directories.
func cacheMounts(ctx context.Context, c *client.Client) (map[string]int64, error) {
	records, err := c.DiskUsage(ctx, client.WithFilter([]string{"type==" + string(client.UsageRecordTypeCacheMount)}))
	if err != nil {
		return nil, err
	}
	sizes := map[string]int64{}
	for _, r := range records {
		if id, ok := solve.CacheMountID(r.Description); ok && id != "" {
			sizes[id] += r.Size
		}
	}
	return sizes, nil
}
