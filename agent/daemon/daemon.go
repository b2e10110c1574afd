// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"fmt"

	"github.com/moby/buildkit/client"
)

// Daemon is a connection to one buildkitd, which may come and go. It is safe for concurrent use.
type Daemon struct {
	client *client.Client
}

// Dial prepares a connection to addr, such as unix:///run/buildkit/buildkitd.sock; it is made when first used, and
// again when it was lost.
func Dial(ctx context.Context, addr string) (*Daemon, error) {
	c, err := client.New(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("connect to buildkitd at %s: %w", addr, err)
	}
	return &Daemon{client: c}, nil
}

// Close ends the connection.
func (d *Daemon) Close() error { return d.client.Close() }
