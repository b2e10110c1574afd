// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
)

// checkedFile is the path of CheckSolve's one record in the cache.
const checkedFile = "/hlb-operator-health-check"

// checkDescription is how BuildKit describes that record.
const checkDescription = "mkfile " + checkedFile

// CheckSolve has buildkitd solve one file operation, which is in its cache after the first time: the solve goes through
// the solver and the cache's database, and makes no second record.
func (d *Daemon) CheckSolve(ctx context.Context) error {
	err := d.check(ctx, llb.Scratch().File(llb.Mkfile(checkedFile, 0o600, nil)))
	if err == nil || strings.Contains(err.Error(), NoSpaceText) {
		return nil
	}
	return fmt.Errorf("solve a file operation: %w", err)
}

// NoSpaceText is in the errors of a buildkitd that works, on a volume that is full: DiskPressure is about that.
const NoSpaceText = "no space left on device"

// CheckStep has buildkitd run a step that ends at once with an exit code, so that it has no result to be cached.
// program is cmd/mountcopy, which has no use without arguments.
func (d *Daemon) CheckStep(ctx context.Context, program []byte) error {
	err := d.check(ctx, withProgram(program).Run(llb.Args([]string{programPath}), llb.ReadonlyRootFS(),
		llb.WithCustomName("health check")).AddMount(atResult, llb.Scratch()))
	var exit *gatewaypb.ExitError
	switch {
	case errors.As(err, &exit):
		return nil
	case err == nil:
		return errors.New("a step without arguments succeeded")
	default:
		return fmt.Errorf("run a step: %w", err)
	}
}

// check solves a state.
func (d *Daemon) check(ctx context.Context, state llb.State) error {
	def, err := state.Marshal(ctx)
	if err != nil {
		return err
	}
	_, err = d.client.Build(ctx, client.SolveOpt{Internal: true}, "",
		func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
			return gw.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB(), Evaluate: true})
		}, nil)
	return err
}
