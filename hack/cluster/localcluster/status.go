// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// Status writes a line for each process of the cluster, and for each node what the API server thinks of it.
// It returns an error when anything that should run does not.
func (c *Cluster) Status(ctx context.Context, w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var down []string
	for _, name := range c.processNames() {
		state, pid := "running", "-"
		if p, alive := c.find(name); alive {
			pid = fmt.Sprint(p.Pid)
		} else {
			state = "stopped"
			down = append(down, name)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", name, state, pid, c.remark(ctx, name))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(down) > 0 {
		return fmt.Errorf("not running: %s", strings.Join(down, ", "))
	}
	return nil
}

// processNames are all names that spawn was called with in a complete cluster.
func (c *Cluster) processNames() []string {
	names := slices.Clone(controlPlane)
	for _, r := range registries {
		names = append(names, r.name)
	}
	for _, n := range Nodes {
		names = append(names, "node-"+n)
	}
	return names
}

// remark is what one wants to know of a process beside its state: an address, or the node's readiness.
func (c *Cluster) remark(ctx context.Context, name string) string {
	if address, err := registryAddress(name); err == nil {
		return address
	}
	node, isNode := strings.CutPrefix(name, "node-")
	if !isNode {
		return ""
	}
	a, err := c.api()
	if err != nil {
		return "no credentials yet"
	}
	var n nodeObject
	if err := a.get(ctx, "/api/v1/nodes/"+node, &n); err != nil {
		return "the API server does not answer for it"
	}
	born, err := os.Stat(c.path("pids", name))
	if err != nil {
		return ""
	}
	if err := n.readySince(born.ModTime()); err != nil {
		return err.Error()
	}
	return "Ready"
}
