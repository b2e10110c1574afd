// SPDX-License-Identifier: Apache-2.0

// Command cluster runs the local Kubernetes cluster; hack/README.md has the details.
//
// Kubernetes is built from source, because the tests must run where no container registry can be reached: kind, k3d and
// minikube pull node images, and this one needs the Go module proxy and Debian's packages only.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/openllb/hlb-operator/hack/cluster/localcluster"
)

const usage = `usage: go run ./hack/cluster COMMAND

  up                      build what is missing, start what does not run, wait until all is Ready
  down                    end everything and remove every trace
  status                  show the processes and nodes
  build                   only build the programs
  load IMAGE…             put image tars or registry references into every node
  kill-node NODE          end a node at once, as a power failure would
  start-node NODE         start a killed node again
  pause-node NODE         freeze a node; resume-node NODE continues it
  partition NODE          cut a node's network; heal NODE joins it again
  registry start|stop [registry|registry-auth]
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("no command\n%s", usage)
	}
	c, err := localcluster.Open(os.Stderr)
	if err != nil {
		return err
	}
	plain := map[string]func() error{
		"up":     func() error { return c.Up(ctx) },
		"down":   c.Down,
		"status": func() error { return c.Status(ctx, os.Stdout) },
		"build":  func() error { return c.Build(ctx) },
	}
	onNode := map[string]func(string) error{
		"kill-node":   c.KillNode,
		"start-node":  func(node string) error { return c.StartNode(ctx, node) },
		"pause-node":  c.PauseNode,
		"resume-node": c.ResumeNode,
		"partition":   c.PartitionNode,
		"heal":        c.HealNode,
	}
	command, rest := args[0], args[1:]
	switch {
	case plain[command] != nil && len(rest) == 0:
		return plain[command]()
	case onNode[command] != nil && len(rest) == 1:
		return onNode[command](rest[0])
	case command == "load" && len(rest) > 0:
		return c.Load(ctx, rest...)
	case command == "registry" && (len(rest) == 1 || len(rest) == 2):
		return registry(ctx, c, append(rest, "registry"))
	}
	return fmt.Errorf("cannot %v\n%s", args, usage)
}

// registry starts or stops the registry named by args[1].
func registry(ctx context.Context, c *localcluster.Cluster, args []string) error {
	switch args[0] {
	case "start":
		return c.StartRegistry(ctx, args[1])
	case "stop":
		return c.StopRegistry(args[1])
	}
	return fmt.Errorf("registry %s: start or stop", args[0])
}
