// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// buildkitModule is the module whose version decides what daemons are spoken to.
const buildkitModule = "github.com/moby/buildkit"

func versionCommand(s *streams) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions of this command and of the BuildKit client in it",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			info, ok := debug.ReadBuildInfo()
			if !ok {
				info = &debug.BuildInfo{}
			}
			_, err := fmt.Fprint(s.out, versionText(info))
			return err
		},
	}
}

// versionText is what is known of a build: its own version is that of the module, (devel) for one of a checkout.
func versionText(info *debug.BuildInfo) string {
	own, buildkit := info.Main.Version, "unknown"
	if own == "" {
		own = "(devel)"
	}
	for _, m := range info.Deps {
		if m.Path == buildkitModule {
			buildkit = m.Version
		}
	}
	return fmt.Sprintf("hlb %s\nBuildKit client %s\n%s %s/%s\n", own, buildkit, runtime.Version(), runtime.GOOS,
		runtime.GOARCH)
}
