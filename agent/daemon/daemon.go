// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"fmt"

	"github.com/moby/buildkit/client"

	"github.com/openllb/hlb-operator/agent/compile"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/request"
)

// Compiler compiles programs. *compile.Compiler is one.
type Compiler interface {
	// Compile returns the request, or what is wrong with the program.
	Compile(ctx context.Context, p *compile.Program, s *compile.Services) (*request.Request, diag.List, error)
}

// Daemon is a connection to one buildkitd, which may come and go. It is safe for concurrent use.
type Daemon struct {
	client   *client.Client
	compiler Compiler
}

// Dial prepares a connection to addr, such as unix:///run/buildkit/buildkitd.sock; it is made when first used, and
// again when it was lost. The compiler compiles the programs of builds.
func Dial(ctx context.Context, addr string, compiler Compiler) (*Daemon, error) {
	c, err := client.New(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("connect to buildkitd at %s: %w", addr, err)
	}
	return &Daemon{client: c, compiler: compiler}, nil
}

// Close ends the connection.
func (d *Daemon) Close() error { return d.client.Close() }
