// SPDX-License-Identifier: Apache-2.0

// Command mountcopy is the half of a copy of a cache mount that runs where the mount is. The agent puts it into build
// steps that have nothing else in them; it connects to the agent's socket and moves the content over that connection.
//
//	mountcopy -agent SOCKET [flags] snapshot|prime|digest|root|survey MOUNT
//
// The environment variable MOUNTCOPY_TOKEN holds what the agent knows the step by. It exits with 1 and says why on
// standard error when it could not do it, with 2 when it was called wrongly, and with 3 when its time was over.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"runtime/debug"

	"github.com/openllb/hlb-operator/agent/mountcopy"
)

// heapGrowth is by how much the heap grows from one garbage collection to the next, in percent. Most of it are a few
// large buffers that are used again and again.
const heapGrowth = 400

func main() {
	debug.SetGCPercent(heapGrowth)
	var step mountcopy.Step
	agent := flag.String("agent", "", "the agent's socket; @NAME is one of the network namespace")
	flag.Int64Var(&step.MaxBytes, "max-bytes", 0, "snapshot nothing when the mount holds more; 0 for no limit")
	flag.BoolVar(&step.Whole, "whole", false, "snapshot everything, not only what differs from the base")
	flag.BoolVar(&step.Replace, "replace", false, "prime a mount that holds something, too")
	const usage = "the owner and mode of the mount's own directory, as UID:GID:MODE"
	flag.Func("root", usage, func(text string) (err error) {
		step.Root, err = mountcopy.ParseRoot(text)
		return err
	})
	timeout := flag.Duration("timeout", 0, "give up and leave nothing behind after this time; 0 for never")
	flag.Parse()
	step.Token = os.Getenv("MOUNTCOPY_TOKEN")
	if flag.NArg() != 2 || *agent == "" {
		fmt.Fprintln(os.Stderr,
			"mountcopy: use it as: mountcopy -agent SOCKET [flags] snapshot|prime|digest|root|survey MOUNT")
		os.Exit(2)
	}
	step.Mode, step.Mount = mountcopy.Mode(flag.Arg(0)), flag.Arg(1)
	ctx := context.Background()
	if *timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *timeout)
		defer cancel()
	}
	dial := func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", *agent)
	}
	switch err := step.Run(ctx, dial); {
	case err == nil:
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		fmt.Fprintf(os.Stderr, "mountcopy: not done after %v\n", *timeout)
		os.Exit(3)
	default:
		fmt.Fprintln(os.Stderr, "mountcopy:", err)
		os.Exit(1)
	}
}
