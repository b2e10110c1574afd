// SPDX-License-Identifier: Apache-2.0

// Command localcsi gives the local cluster real volumes: each is a file system in a sparse file, mounted through a
// loop device, so that it has the size that was asked for, can be full, and can grow while it is in use. What a
// folder of the host could not show (a full disk, the growth of a claim) is what this project's storage code is
// about.
//
// The file system is XFS, because growing a mounted ext4 needs CAP_SYS_RESOURCE, which sandboxes and containers often
// drop.
//
//	localcsi node --name NODE --volumes DIR --kubelet DIR       the CSI node service, one in every node
//	localcsi controller --kubeconfig FILE --nodes DIR           provisions, grows and deletes volumes, one a cluster
//
// A volume lives on the node where its first pod was scheduled (WaitForFirstConsumer), as NODES/NODE/volumes/ID.img.
// The file is made by the node when it is first mounted; the controller only keeps the books and deletes files.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// driver is the CSI driver's name, as in the StorageClass's provisioner.
const driver = "local.csi.openllb.dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "localcsi:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("usage: localcsi node|controller FLAG…")
	}
	flags := flag.NewFlagSet(args[0], flag.ExitOnError)
	switch args[0] {
	case "node":
		name := flags.String("name", "", "the node's name")
		volumes := flags.String("volumes", "", "folder of this node's volume files")
		kubelet := flags.String("kubelet", "/var/lib/kubelet", "kubelet's folder")
		flags.Parse(args[1:]) //nolint:errcheck // exits on error
		return serveNode(ctx, &node{name: *name, volumes: *volumes}, *kubelet)
	case "controller":
		kubeconfig := flags.String("kubeconfig", "", "how to reach the API server")
		nodes := flags.String("nodes", "", "folder with a folder a node")
		flags.Parse(args[1:]) //nolint:errcheck // exits on error
		return runController(ctx, *kubeconfig, *nodes)
	}
	return fmt.Errorf("unknown command %q: node or controller", args[0])
}
