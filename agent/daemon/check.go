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
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/apicaps"
)

// checkedFile is the path of CheckSolve's one record in the cache.
const checkedFile = "/hlb-operator-health-check"

// checkDescription is how BuildKit describes that record.
const checkDescription = "mkfile " + checkedFile

// CheckSolve has buildkitd solve one file operation, which is in its cache after the first time: the solve goes through
// the solver and the cache's database, and makes no second record.
func (d *Daemon) CheckSolve(ctx context.Context) error {
	err := d.check(ctx, llb.Scratch().File(llb.Mkfile(checkedFile, 0o600, nil)))
	if skew := (*SkewError)(nil); errors.As(err, &skew) {
		return skew
	}
	if err == nil || strings.Contains(err.Error(), NoSpaceText) {
		return nil
	}
	return fmt.Errorf("solve a file operation: %w", err)
}

// SkewError is the error of a buildkitd that works, but is too old for this agent: it would silently leave out what it
// does not know.
type SkewError struct {
	// Missing are the features that it lacks, in BuildKit's terms.
	Missing []apicaps.CapID
}

func (e *SkewError) Error() string {
	return fmt.Sprintf("buildkitd lacks %s, which this version of the operator needs: use a newer buildkit.image",
		e.Missing)
}

// Skew marks the error for package health.
func (e *SkewError) Skew() {}

// neededCaps are features without which a build would do other things than it should, and not fail.
var neededCaps = []apicaps.CapID{
	pb.CapExecMetaLinuxResources, // limits of steps
	pb.CapExecMountCacheSharing, pb.CapExecMetaNetwork, pb.CapExecMetaSecurity, pb.CapExecSecretEnv,
	pb.CapMergeOp, pb.CapDiffOp,
}

// skewOf compares a daemon's features with what is needed; nil for one that has all.
func skewOf(has apicaps.CapSet) error {
	var missing []apicaps.CapID
	for _, c := range neededCaps {
		if has.Supports(c) != nil {
			missing = append(missing, c)
		}
	}
	if missing == nil {
		return nil
	}
	return &SkewError{Missing: missing}
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
			if err := skewOf(gw.BuildOpts().LLBCaps); err != nil {
				return nil, err
			}
			return gw.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB(), Evaluate: true})
		}, nil)
	return err
}
