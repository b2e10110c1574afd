// SPDX-License-Identifier: Apache-2.0

// Package solve runs a compiled request against a buildkitd.
//
// A request is a tree. Leaves that may run at the same time form a stage. A stage with one distinct filesystem is one
// call to the daemon, exports included. With several, one job evaluates all of them first, so that every step runs
// once whatever outputs are wanted of it, and the exports run while that job holds the results.
package solve

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/session"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/openllb/hlb-operator/hlb/request"
)

// Options say how to run a request.
type Options struct {
	// Session is what the daemon may ask of this process: registry credentials, and for programs compiled with
	// ProfileServer the declared secrets and ssh agents. Secrets and agents that a ProfileLocal program names are
	// added by Run.
	Session []session.Attachable
	// CacheImports are added to every solve.
	CacheImports []client.CacheOptionsEntry
	// Before is called once, before the first step, while the daemon fetches what CacheImports have. Nil means there
	// is nothing to do.
	Before func(ctx context.Context)
	// CacheExports are added to the final solve of each target of kind fs.
	CacheExports []client.CacheOptionsEntry
	// Outputs are exports of targets' filesystems besides those of the program.
	Outputs []Output
	// SourcePolicy bounds what the daemon fetches. Nil bounds nothing.
	SourcePolicy *spb.Policy
	// Stdout takes the output whose destination is "-".
	Stdout io.Writer
	// Gateway wraps the gateway of every job, to change what is solved; nil changes nothing.
	Gateway func(gateway.Client) gateway.Client
	// Status is called with every status message, one call at a time. Nil: not reported.
	Status func(*client.SolveStatus)
	// Entitlements are those that the daemon may grant. A request that needs another one fails before anything runs.
	// Nil allows what the request needs: the compiler has then checked it.
	Entitlements []string
}

// Output is an export of a target's filesystem.
type Output struct {
	// Target is the target's name.
	Target string
	// Type is BuildKit's exporter: image, oci, docker, tar or local. Empty is an image that is pushed.
	Type string
	// Image is the reference of the image, for the types that are images; only for image it must be given.
	Image string
	// Dest is the directory of a local output, or the file of the others, "-" for Options.Stdout; empty for images. A
	// docker output without one is loaded into the Docker engine of this machine.
	Dest string
	// Attrs are further attributes of the exporter, such as registry.insecure or compression.
	Attrs map[string]string
}

// Result is what a run did.
type Result struct {
	Steps Steps
	// Outputs are the images pushed and files written, in the order of the request, those of Options.Outputs last.
	Outputs []Pushed
	// Cache has the outcome of each export of build cache.
	Cache []CacheExport
}

// Steps counts the exec and file ops of a request, each once.
type Steps struct {
	Total int
	// Cached is how many need not run. When the run failed it counts only steps that the daemon reported as cached.
	Cached int
}

// Pushed is one finished export.
type Pushed struct {
	// Target is set for those of Options.Outputs.
	Target string
	// Ref is the image, or the path for exports to files.
	Ref string
	// Digest of the manifest or index, empty for exports that have none.
	Digest digest.Digest
}

// CacheExport is one finished or failed export of build cache.
type CacheExport struct {
	// Entry is the place.
	Entry client.CacheOptionsEntry
	// Manifest is the digest of the cache's manifest, empty for inline cache.
	Manifest digest.Digest
	// Err is why it failed, with ignore-error=true in the entry; a failure without it fails the run.
	Err error
}

// Run runs the whole request. The result is never nil: after an error it counts what was done. Errors are of type
// *StepError when a step of the program failed, *EntitlementError, or the daemon client's.
func Run(ctx context.Context, c *client.Client, req *request.Request, opts Options) (*Result, error) {
	r := &runner{client: c, req: req, opts: opts, track: newTracker(opts.Status)}
	err := r.run(ctx)
	return r.result(err), r.explain(err)
}

type runner struct {
	client *client.Client
	req    *request.Request
	opts   Options
	track  *tracker
	pushed pushes
	caches cacheResults
	scopes scopeSet
	before sync.Once
}

func (r *runner) run(ctx context.Context) error {
	if err := checkEntitlements(r.req.Needs().Entitlements, r.opts.Entitlements); err != nil {
		return err
	}
	root, err := Plan(r.req, r.opts.Outputs)
	if err != nil {
		return err
	}
	return r.node(ctx, root)
}

// node runs n and returns when all of it is done.
func (r *runner) node(ctx context.Context, n *request.Node) error {
	if n == nil {
		return nil
	}
	switch n.Kind {
	case request.Sequential:
		for _, c := range n.Children {
			if err := r.node(ctx, c); err != nil {
				return err
			}
		}
		return nil
	case request.Parallel:
		return r.parallel(ctx, n.Children)
	}
	return r.stage(ctx, []*request.Node{n})
}

func (r *runner) parallel(ctx context.Context, children []*request.Node) error {
	eg, ctx := errgroup.WithContext(ctx)
	var leaves []*request.Node
	for _, c := range children {
		if c.Solve != nil {
			leaves = append(leaves, c)
			continue
		}
		eg.Go(func() error { return r.node(ctx, c) })
	}
	eg.Go(func() error { return r.stage(ctx, leaves) })
	return eg.Wait()
}

func checkEntitlements(need, allowed []string) error {
	if allowed == nil {
		return nil
	}
	for _, e := range need {
		if !slices.Contains(allowed, e) {
			return &EntitlementError{Entitlement: e}
		}
	}
	return nil
}

// result gathers the outcome.
func (r *runner) result(err error) *Result {
	steps := r.req.Steps()
	res := &Result{Outputs: r.pushed.list(), Cache: r.caches.list(), Steps: Steps{Total: len(steps)}}
	for _, d := range steps {
		ran, cached := r.track.step(d)
		if cached || err == nil && !ran {
			res.Steps.Cached++
		}
	}
	return res
}

// EntitlementError says that a request needs what the daemon's owner does not grant.
type EntitlementError struct {
	Entitlement string
}

func (e *EntitlementError) Error() string {
	return fmt.Sprintf("the program asks for %s, which is not granted here", e.Entitlement)
}
