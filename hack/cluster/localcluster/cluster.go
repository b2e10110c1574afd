// SPDX-License-Identifier: Apache-2.0

// Package localcluster runs a real Kubernetes of three nodes on one Linux machine: no virtual machine, no container
// engine, no image pull. Control plane and registries are ordinary processes on a bridge of their own; each node is a
// set of namespaces whose first process takes everything of the node with it when it is killed.
//
// All state lives in bin/cluster of the checkout. Every method may be called from a test as well as from the command
// (`go run ./hack/cluster`), and in any order; nothing here is safe for concurrent use within one process, and a file
// lock keeps two processes apart where they would meet (Up, Down).
package localcluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/openllb/hlb-operator/hack/toolchain"
)

// The cluster's plan. One machine carries one cluster, so these are constants; claimBridge keeps two checkouts from
// sharing it.
const (
	bridge        = "hlbbr0"
	hostIP        = "10.99.0.254" // the bridge's own address: control plane, registries, tests' servers
	networkBits   = "/24"
	apiPort       = "16443"
	apiURL        = "https://" + hostIP + ":" + apiPort
	etcdAddress   = "127.0.0.1:12379"
	etcdPeer      = "127.0.0.1:12380"
	serviceRange  = "10.96.0.0/16"
	serviceIP     = "10.96.0.1" // the API server's, first of serviceRange
	podRange      = "10.244.0.0/16"
	cgroupPrefix  = "hlb-"
	driverName    = "local.csi.openllb.dev"
	pauseImage    = "local.openllb.dev/pause:1"
	readyDeadline = 2 * time.Minute // generous: a loaded CI machine with two cores
)

// Nodes are the names of the cluster's nodes.
var Nodes = []string{"n1", "n2", "n3"}

// Cluster is the local cluster of one checkout, running or not.
type Cluster struct {
	// Root is the checkout, Dir the cluster's folder in it (bin/cluster).
	Root, Dir string
	// Log receives progress, one line a step; nil means silence.
	Log io.Writer

	chain toolchain.Chain
	tools tools
}

// tools are the folders of the programs the cluster runs.
type tools struct {
	kube, containerd, runc, cni, registry, pause, nodeinit, storage string
}

// Open returns the cluster of the checkout around the working directory; it starts nothing.
func Open(log io.Writer) (*Cluster, error) {
	root, err := toolchain.Root()
	if err != nil {
		return nil, err
	}
	return &Cluster{
		Root: root, Dir: filepath.Join(root, "bin", "cluster"), Log: log,
		chain: toolchain.Chain{Root: root, Log: log},
	}, nil
}

// Kubeconfig is the path of the administrator's kubeconfig.
func (c *Cluster) Kubeconfig() string { return c.path("kubeconfig") }

// Info is what tests need to know of a running cluster, as saved in bin/cluster/cluster.json.
type Info struct {
	// Kubeconfig and Kubectl are absolute paths.
	Kubeconfig string `json:"kubeconfig"`
	Kubectl    string `json:"kubectl"`
	// HostIP is the address on which nodes and pods reach servers of the host.
	HostIP string `json:"hostIP"`
	// Registry is open to all (plain http); RegistryAuth asks for User and Password.
	Registry     string `json:"registry"`
	RegistryAuth string `json:"registryAuth"`
	User         string `json:"user"`
	Password     string `json:"password"`
	// StorageClass is the default class: local, expandable volumes.
	StorageClass string   `json:"storageClass"`
	Nodes        []string `json:"nodes"`
}

// Info returns the addresses of the cluster; they hold once Up has returned.
func (c *Cluster) Info() Info {
	return Info{
		Kubeconfig: c.Kubeconfig(), Kubectl: filepath.Join(c.tools.kube, "kubectl"), HostIP: hostIP,
		Registry: registries[0].address, RegistryAuth: registries[1].address, User: registryUser,
		Password:     registryPassword,
		StorageClass: storageClass, Nodes: Nodes,
	}
}

func (c *Cluster) writeInfo() error {
	text, err := json.MarshalIndent(c.Info(), "", "  ")
	if err != nil {
		return err
	}
	return writeFile(c.path("cluster.json"), append(text, '\n'))
}

// buildTools builds what is missing of the programs the cluster runs.
func (c *Cluster) buildTools(ctx context.Context) error {
	for _, t := range []struct {
		set toolchain.Set
		dir *string
	}{
		{toolchain.Kubernetes, &c.tools.kube},
		{toolchain.Containerd, &c.tools.containerd},
		{toolchain.Runc, &c.tools.runc},
		{toolchain.CNI, &c.tools.cni},
		{toolchain.Registry, &c.tools.registry},
		{toolchain.Pause, &c.tools.pause},
		{toolchain.NodeInit, &c.tools.nodeinit},
		{toolchain.Storage, &c.tools.storage},
	} {
		dir, err := c.chain.Dir(ctx, t.set)
		if err != nil {
			return err
		}
		*t.dir = dir
	}
	return nil
}

// path joins names below the cluster's folder.
func (c *Cluster) path(names ...string) string {
	return filepath.Join(append([]string{c.Dir}, names...)...)
}

func (c *Cluster) logf(format string, args ...any) {
	if c.Log != nil {
		fmt.Fprintf(c.Log, format+"\n", args...)
	}
}

// writeFile writes text to path, making the folder; readers see the old or the new file, never half of one.
func writeFile(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// poll calls probe until it returns nil, or returns its last error when ctx or the deadline ends.
func poll(ctx context.Context, what string, probe func() error) error {
	ctx, cancel := context.WithTimeout(ctx, readyDeadline)
	defer cancel()
	for {
		err := probe()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, err)
		case <-time.After(30 * time.Millisecond):
		}
	}
}
