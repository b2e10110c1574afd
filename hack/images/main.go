// SPDX-License-Identifier: Apache-2.0

// Command images builds the project's container images without a container engine and pushes them to a registry, by
// default the local cluster's; hack/README.md has the details.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/openllb/hlb-operator/hack/cluster/localcluster"
	"github.com/openllb/hlb-operator/hack/images/localimages"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		stop()
		os.Exit(1)
	}
}

// run builds the images named as arguments (none means all), pushes each and prints their references as a JSON object.
func run(ctx context.Context) error {
	registry := flag.String(
		"registry",
		"",
		"registry `HOST:PORT[/PATH]` to push to (default: the running local cluster's)",
	)
	tag := flag.String("tag", "dev", "tag to push")
	flag.Usage = func() {
		fmt.Fprintf(os.Stderr, "usage: go run ./hack/images [FLAG…] [IMAGE…]\nimages: %v\n", localimages.Names)
		flag.PrintDefaults()
	}
	flag.Parse()
	if *registry == "" {
		c, err := localcluster.Open(os.Stderr)
		if err != nil {
			return err
		}
		info, err := c.Running()
		if err != nil {
			return err
		}
		*registry = info.Registry
	}
	names := flag.Args()
	if len(names) == 0 {
		names = localimages.Names
	}
	b, err := localimages.New(os.Stderr)
	if err != nil {
		return err
	}
	refs := map[string]string{}
	for _, name := range names {
		image, err := b.Image(ctx, name)
		if err != nil {
			return err
		}
		if refs[name], err = localimages.Push(ctx, image, *registry+"/"+localimages.Repositories[name]+":"+
			*tag); err != nil {
			return err
		}
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	return out.Encode(refs)
}
