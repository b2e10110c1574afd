// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"crypto/tls"
	"fmt"
	"os/exec"
	"strings"
)

// redirectTable is the nftables table of a redirection, which only traffic of the cluster's pods reaches.
const redirectTable = "hlb_local_api"

// RedirectAPI sends what pods want from the API server to another port of the host, where a proxy may inject faults.
// Their open connections are broken off. Kubelets and clients outside of pods are not touched. RestoreAPI ends it.
func (c *Cluster) RedirectAPI(port int) error {
	rules := fmt.Sprintf(`table ip %s {
	chain prerouting {
		type nat hook prerouting priority dstnat
		ip saddr %s ip daddr %s tcp dport %s redirect to :%d
	}
}
`, redirectTable, podRange, hostIP, apiPort, port)
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("redirect the API server's port: %w: %s", err, text)
	}
	return c.forgetConnections()
}

// RestoreAPI ends RedirectAPI.
func (c *Cluster) RestoreAPI() error {
	if err := run("nft", "delete", "table", "ip", redirectTable); err != nil {
		return err
	}
	return c.forgetConnections()
}

// forgetConnections has the kernel look anew at which way each connection to the API server goes.
func (c *Cluster) forgetConnections() error {
	text, err := exec.Command("conntrack", "-D", "-p", "tcp", "--orig-dst", hostIP, "--dport", apiPort).
		CombinedOutput()
	if err != nil && !strings.Contains(string(text), " 0 flow entries") {
		return fmt.Errorf("forget the connections to the API server: %w: %s", err, text)
	}
	return nil
}

// APICertificate is the API server's serving certificate, for a proxy in its place.
func (c *Cluster) APICertificate() (tls.Certificate, error) {
	return tls.LoadX509KeyPair(c.path("pki", "apiserver.crt"), c.path("pki", "apiserver.key"))
}
