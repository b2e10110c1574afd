// SPDX-License-Identifier: Apache-2.0

// Package nodespec is the configuration of a node's first process: one JSON file for each node.
package nodespec

// Config describes one node. The parent writes it; all paths are absolute.
type Config struct {
	// Hostname of the node.
	Hostname string `json:"hostname"`
	// Scratch is an empty folder of the node, used while mounting.
	Scratch string `json:"scratch"`
	// Address is eth0's address with its prefix length, Gateway the bridge's address.
	Address string `json:"address"`
	Gateway string `json:"gateway"`
	// Routes maps the pod subnets of the other nodes to those nodes' addresses.
	Routes map[string]string `json:"routes"`
	// Binds maps folders every node sees at the same place (/var/lib/kubelet) to the folder that holds this node's.
	Binds map[string]string `json:"binds"`
	// Path is the daemons' PATH.
	Path string `json:"path"`
	// Daemons are started in this order and started again whenever they end.
	Daemons []Daemon `json:"daemons"`
}

// Daemon is one long-running program of a node.
type Daemon struct {
	// Args are the program's absolute path and its arguments.
	Args []string `json:"args"`
	// Log is the file that gets its output, appended.
	Log string `json:"log"`
	// After is a unix socket that must answer before the daemon is started; "" means at once.
	After string `json:"after,omitempty"`
	// Prepare are commands to run to their end before the first start.
	Prepare [][]string `json:"prepare,omitempty"`
}
