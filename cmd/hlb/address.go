// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/moby/buildkit/client"
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

// daemonFlags say where a buildkitd is and how to speak to it, as those of BuildKit's own client do.
type daemonFlags struct {
	addr                string
	caCert, cert, key   string
	serverName, certDir string
}

func (f *daemonFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.addr, "addr", cmp.Or(os.Getenv("BUILDKIT_HOST"), defaultAddr),
		"`ADDRESS` of the buildkitd: unix://, tcp://, docker-container://, podman-container://,\n"+
			"nerdctl-container://, kube-pod:// or ssh://; $BUILDKIT_HOST is the default")
	flags.StringVar(&f.caCert, "tlscacert", "", "`FILE` of the authority that the daemon's certificate is of")
	flags.StringVar(&f.cert, "tlscert", "", "`FILE` of the certificate to show to the daemon")
	flags.StringVar(&f.key, "tlskey", "", "`FILE` of the key of that certificate")
	flags.StringVar(&f.serverName, "tlsservername", "", "`NAME` in the daemon's certificate, if not its host")
	flags.StringVar(&f.certDir, "tlsdir", "", "`FOLDER` with ca.pem, cert.pem and key.pem, for those not given")
}

// connect connects to the daemon.
func (f daemonFlags) connect(ctx context.Context) (*client.Client, error) {
	if f.certDir != "" {
		for file, flag := range map[string]*string{"ca.pem": &f.caCert, "cert.pem": &f.cert, "key.pem": &f.key} {
			path := filepath.Join(f.certDir, file)
			if _, err := os.Stat(path); *flag == "" && err == nil {
				*flag = path
			}
		}
	}
	if (f.cert == "") != (f.key == "") {
		return nil, errors.New("a certificate needs its key: give --tlscert and --tlskey")
	}
	var opts []client.ClientOpt
	if f.caCert != "" || f.serverName != "" {
		opts = append(opts, client.WithServerConfig(f.serverName, f.caCert))
	}
	if f.cert != "" {
		opts = append(opts, client.WithCredentials(f.cert, f.key))
	}
	return client.New(ctx, f.addr, opts...)
}
