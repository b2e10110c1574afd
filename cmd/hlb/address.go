// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"os"

	_ "github.com/moby/buildkit/client/connhelper/dockercontainer"  // docker-container://
	_ "github.com/moby/buildkit/client/connhelper/kubepod"          // kube-pod://
	_ "github.com/moby/buildkit/client/connhelper/nerdctlcontainer" // nerdctl-container://
	_ "github.com/moby/buildkit/client/connhelper/npipe"            // npipe://
	_ "github.com/moby/buildkit/client/connhelper/podmancontainer"  // podman-container://
	_ "github.com/moby/buildkit/client/connhelper/ssh"              // ssh://
	"github.com/spf13/cobra"
)

// defaultAddr is where a buildkitd listens by default.
const defaultAddr = "unix:///run/buildkit/buildkitd.sock"

// addAddr adds the flag for the address of the daemon, which BuildKit's own client takes from the environment too.
func addAddr(cmd *cobra.Command, addr *string) {
	cmd.Flags().StringVar(addr, "addr", cmp.Or(os.Getenv("BUILDKIT_HOST"), defaultAddr),
		"`ADDRESS` of the buildkitd: unix://, tcp://, docker-container://, podman-container://,\n"+
			"nerdctl-container://, kube-pod:// or ssh://; $BUILDKIT_HOST is the default")
}
