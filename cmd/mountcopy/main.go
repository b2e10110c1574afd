// SPDX-License-Identifier: Apache-2.0

// Command mountcopy copies a cache mount's content into an image and back. The agent puts it into build steps that have nothing else in them.
//
//	mountcopy [flags] snapshot MOUNT IMAGE
//	mountcopy [flags] prime IMAGE MOUNT
//	mountcopy [flags] digest MOUNT
//
// It prints what it did as JSON, or writes that to a file. It exits with 1 and says why on standard error when it could not, with 2 when it was called
// wrongly, and with 3 when its time was over.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/openllb/hlb-operator/agent/mountcopy"
)

func main() {
	limit := flag.Int64("max-bytes", 0, "snapshot nothing when the mount holds more; 0 for no limit")
	timeout := flag.Duration("timeout", 0, "give up and leave nothing behind after this time; 0 for never")
	result := flag.String("result", "/dev/stdout", "the file to write what was done to")
	flag.Parse()
	err := run(flag.Args(), *limit, *timeout, *result)
	switch {
	case err == nil:
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "mountcopy:", err)
		os.Exit(2)
	case errors.Is(err, context.DeadlineExceeded):
		fmt.Fprintf(os.Stderr, "mountcopy: not done after %v\n", *timeout)
		os.Exit(3)
	default:
		fmt.Fprintln(os.Stderr, "mountcopy:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("use it as: mountcopy [flags] snapshot MOUNT IMAGE | prime IMAGE MOUNT | digest MOUNT")

func run(args []string, limit int64, timeout time.Duration, result string) error {
	ctx := context.Background()
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	var did mountcopy.Result
	var err error
	switch {
	case len(args) == 3 && args[0] == "snapshot":
		did, err = mountcopy.Snapshot(ctx, args[1], args[2], limit)
	case len(args) == 3 && args[0] == "prime":
		did, err = mountcopy.Prime(ctx, args[1], args[2])
	case len(args) == 2 && args[0] == "digest":
		did, err = mountcopy.Digest(ctx, args[1])
	default:
		return errUsage
	}
	if err != nil {
		return err
	}
	text, err := json.Marshal(did)
	if err != nil {
		return err
	}
	return os.WriteFile(result, append(text, '\n'), 0o644)
}
