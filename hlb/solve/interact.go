// SPDX-License-Identifier: Apache-2.0

package solve

import (
	"context"

	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"

	"github.com/openllb/hlb-operator/hlb/request"
)

// Interaction is a job that stays open, in which filesystems are built one after another and looked at.
type Interaction struct {
	// Gateway is the job's connection to the daemon.
	Gateway gateway.Client

	job *job
}

// Interact opens a job that offers what req and solves need, and calls do in it. References and containers that do made
// end with it. The error is that of do, or the daemon client's.
func Interact(
	ctx context.Context, c *client.Client, req *request.Request, solves []*request.Solve, opts Options,
	do func(context.Context, *Interaction) error,
) error {
	r := &runner{client: c, req: req, opts: opts, track: newTracker(opts.Status)}
	if err := checkEntitlements(req.Needs().Entitlements, opts.Entitlements); err != nil {
		return err
	}
	j := r.newJob()
	for _, s := range solves {
		j.add(s)
	}
	var done error
	err := j.run(ctx, client.SolveOpt{}, func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
		done = do(ctx, &Interaction{Gateway: gw, job: j})
		return gateway.NewResult(), done
	})
	if done != nil {
		return done
	}
	return err
}

// Build builds a filesystem and returns it, nil for an empty one. Errors are as for Run.
func (i *Interaction) Build(ctx context.Context, s *request.Solve) (gateway.Reference, error) {
	if s.Empty() {
		return nil, nil
	}
	res, err := i.job.solve(ctx, i.Gateway, s, true)
	if err != nil {
		return nil, i.job.r.explain(err)
	}
	return res.SingleRef()
}

// BuildPart builds a filesystem that a definition has as one of its inputs.
func (i *Interaction) BuildPart(ctx context.Context, part *pb.Definition) (gateway.Reference, error) {
	imports, err := i.job.cacheImports(ctx, i.Gateway)
	if err != nil {
		return nil, err
	}
	res, err := i.Gateway.Solve(ctx, gateway.SolveRequest{Evaluate: true, Definition: part, CacheImports: imports})
	if err != nil {
		return nil, i.job.r.explain(err)
	}
	return res.SingleRef()
}
