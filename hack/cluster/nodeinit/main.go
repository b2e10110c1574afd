// SPDX-License-Identifier: Apache-2.0

// Command nodeinit is the first process of a node of the local cluster. It is started in fresh pid, mount, network
// and UTS namespaces, sets them up as a machine of its own, and then keeps the node's daemons running. When it is
// killed the kernel ends every process, mount and interface of the node with it, which is what a node failure looks
// like.
//
// Usage: nodeinit CONFIG.json, with a pipe on file descriptor 3 by which the parent signals that eth0 is in place.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/openllb/hlb-operator/hack/cluster/nodespec"
)

func main() {
	fmt.Fprintln(os.Stderr, "nodeinit:", run())
	os.Exit(1)
}

// run is the node's whole life: it returns only with the reason why it can't go on.
func run() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: nodeinit CONFIG.json")
	}
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		return err
	}
	var config nodespec.Config
	if err := json.Unmarshal(text, &config); err != nil {
		return fmt.Errorf("%s: %w", os.Args[1], err)
	}
	if err := awaitParent(); err != nil {
		return err
	}
	if err := setup(config); err != nil {
		return err
	}
	return supervise(config)
}

// awaitParent blocks until the parent has moved eth0 in; a parent that died first ends the node.
func awaitParent() error {
	pipe := os.NewFile(3, "parent")
	defer pipe.Close()
	if n, err := pipe.Read(make([]byte, 1)); n != 1 {
		return fmt.Errorf("the parent left before the network was there: %w", err)
	}
	return nil
}
