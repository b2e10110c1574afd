// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"sync"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/session"
	"github.com/opencontainers/go-digest"

	"github.com/openllb/hlb-operator/internal/frontends"
)

// lazyJob is a job on the daemon in which the compiler looks things up: image configs, git trees, modules. It is
// opened by the first look-up, so that a program without any costs no round trip. It is internal, so that buildkitd
// writes no history of it. It is safe for concurrent use.
type lazyJob struct {
	ctx    context.Context
	client *client.Client
	opt    client.SolveOpt
	report func(*client.SolveStatus)
	limit  func(gateway.Client) gateway.Client

	once   sync.Once
	opened chan struct{} // closed when gw or err is set
	gw     gateway.Client
	err    error

	finish    chan struct{} // closed by close
	closeOnce sync.Once
	done      chan struct{} // closed when the job has ended
}

// newLazyJob prepares a job. It must be closed.
func (d *Daemon) newLazyJob(
	ctx context.Context,
	attach []session.Attachable,
	job *Job,
) *lazyJob {
	return &lazyJob{
		ctx: ctx, client: d.client, opt: client.SolveOpt{Session: attach, Internal: true}, report: job.Progress,
		limit:  job.Steps.gateway(),
		opened: make(chan struct{}), finish: make(chan struct{}), done: make(chan struct{}),
	}
}

// get returns the gateway, opening the job if need be.
func (j *lazyJob) get() (gateway.Client, error) {
	j.once.Do(func() { go j.run() })
	<-j.opened
	return j.gw, j.err
}

func (j *lazyJob) run() {
	defer close(j.done)
	ch := make(chan *client.SolveStatus)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for s := range ch {
			if j.report != nil {
				j.report(s)
			}
		}
	}()
	isOpen := false
	_, err := j.client.Build(j.ctx, j.opt, "", func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
		j.gw, isOpen = j.limit(gw), true
		close(j.opened)
		select {
		case <-j.finish:
			return gateway.NewResult(), nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}, ch)
	<-drained
	if !isOpen {
		j.err = err
		if err == nil {
			j.err = errors.New("buildkitd ended a job before it began")
		}
		close(j.opened)
		return
	}
	j.err = err
}

// close ends the job, whether it was opened or not, and returns the error that it ended with on its own, such as a
// lost connection.
func (j *lazyJob) close() error {
	j.closeOnce.Do(func() { close(j.finish) })
	j.once.Do(func() { close(j.done) }) // it was never opened and never will be
	<-j.done
	return j.err
}

// ResolveImageConfig implements the compiler's Resolver.
func (j *lazyJob) ResolveImageConfig(
	ctx context.Context,
	ref string,
	opt sourceresolver.Opt,
) (string, digest.Digest, []byte, error) {
	gw, err := j.get()
	if err != nil {
		return "", "", nil, err
	}
	return gw.ResolveImageConfig(ctx, ref, opt)
}

// solver solves for the compiler, with no front ends but the allowed ones.
type solver struct {
	job       *lazyJob
	frontends []string
}

// Solve implements the compiler's Solver.
func (s *solver) Solve(ctx context.Context, req gateway.SolveRequest) (*gateway.Result, error) {
	if req.Frontend != "" {
		if err := frontends.Check(s.frontends, req.FrontendOpt["source"]); err != nil {
			return nil, err
		}
	}
	return s.job.Solve(ctx, req)
}

// Solve solves in the job.
func (j *lazyJob) Solve(ctx context.Context, req gateway.SolveRequest) (*gateway.Result, error) {
	gw, err := j.get()
	if err != nil {
		return nil, err
	}
	return gw.Solve(ctx, req)
}
