// SPDX-License-Identifier: Apache-2.0

package solve

import (
	"context"
	"errors"
	"strings"

	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/opencontainers/go-digest"

	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/lower"
	"github.com/openllb/hlb-operator/hlb/request"
)

// Compile compiles a program inside a gateway session of the daemon, so that image configs, front ends, modules in
// filesystems and digests of pushes come from it. opts says what the session offers, as for Run; its CacheImports
// apply to what is solved while compiling. Resolver, Solver and Pusher of the compile options are filled in where
// they are nil, and DockerEngine is found out. What is wrong with the program is in the list; the error is trouble
// with the daemon.
func Compile(
	ctx context.Context,
	c *client.Client,
	prog lower.Program,
	compile lower.Options,
	opts Options,
) (*request.Request, diag.List, error) {
	var req *request.Request
	found, err := inSession(ctx, c, compile, opts, func(ctx context.Context, compile lower.Options) (bool, diag.List) {
		var found diag.List
		req, found = lower.Compile(ctx, prog, compile)
		return req != nil, found
	})
	return req, found, err
}

// Imports reads the modules of a program inside a gateway session of the daemon, as Compile does; see lower.Imports.
func Imports(
	ctx context.Context,
	c *client.Client,
	prog lower.Program,
	compile lower.Options,
	opts Options,
) ([]*lower.Import, diag.List, error) {
	var imports []*lower.Import
	found, err := inSession(ctx, c, compile, opts, func(ctx context.Context, compile lower.Options) (bool, diag.List) {
		var found diag.List
		imports, found = lower.Imports(ctx, prog, compile)
		return !found.HasErrors(), found
	})
	return imports, found, err
}

// inSession calls do inside a gateway session of the daemon, with the options of the compile filled in. do reports
// whether it succeeded, and what it found.
func inSession(
	ctx context.Context,
	c *client.Client,
	compile lower.Options,
	opts Options,
	do func(context.Context, lower.Options) (bool, diag.List),
) (diag.List, error) {
	var ok bool
	var found diag.List
	r := &runner{client: c, req: &request.Request{}, opts: opts, track: newTracker(opts.Status)}
	j := r.newJob()
	j.needs = compile.ContextNeeds
	offered := &offer{}
	if compile.Profile == lower.ProfileLocal {
		var err error
		if j.extra, err = offered.attachables(); err != nil {
			return nil, err
		}
	}
	err := j.run(
		ctx,
		client.SolveOpt{Internal: true},
		func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
			compile.DockerEngine = compile.DockerEngine || isDockerEngine(gw.BuildOpts())
			if compile.Resolver == nil {
				compile.Resolver = gw
			}
			if compile.Solver == nil {
				compile.Solver = &importingSolver{j, gw, offered}
			}
			if compile.Pusher == nil {
				compile.Pusher = &pusher{r}
			}
			if ok, found = do(ctx, compile); !ok {
				return nil, errRefused
			}
			return gateway.NewResult(), nil
		},
	)
	for _, d := range found {
		if d.Code == lower.Cancelled || d.Code == lower.DaemonLost {
			return nil, errors.Join(d, context.Cause(ctx))
		}
	}
	if !ok && len(found) > 0 {
		return found, nil
	}
	return found, err
}

// dockerEngineLabels begin the labels that only the worker inside of Docker Engine has, as moby.host-gateway-ip.
const dockerEngineLabels = "org.mobyproject.buildkit.worker.moby."

// isDockerEngine reports whether a daemon is the BuildKit inside of Docker Engine.
func isDockerEngine(daemon gateway.BuildOpts) bool {
	for _, w := range daemon.Workers {
		for label := range w.Labels {
			if strings.HasPrefix(label, dockerEngineLabels) {
				return true
			}
		}
	}
	return false
}

// errRefused ends the session of a program that does not compile.
var errRefused = errors.New("the program does not compile")

// importingSolver adds the run's cache imports to solves while compiling.
type importingSolver struct {
	job *job
	gw  gateway.Client
	*offer
}

func (s *importingSolver) Solve(ctx context.Context, req gateway.SolveRequest) (*gateway.Result, error) {
	imports, err := s.job.cacheImports(ctx, s.gw)
	if err != nil {
		return nil, err
	}
	req.CacheImports = append(req.CacheImports, imports...)
	return s.gw.Solve(ctx, req)
}

// pusher runs single exports while compiling.
type pusher struct {
	r *runner
}

// Push implements lower.Pusher.
func (p *pusher) Push(ctx context.Context, export *request.Node) (digest.Digest, error) {
	g := &group{solve: export.Solve, outputs: []*request.Output{export.Output}}
	if err := p.r.runScopes(ctx, []*group{g}); err != nil {
		return "", err
	}
	if err := p.r.build(ctx, g, nil); err != nil {
		return "", err
	}
	done := p.r.pushed.list()
	return done[len(done)-1].Digest, nil
}
