// SPDX-License-Identifier: Apache-2.0

package solve

import (
	"cmp"
	"context"
	"sync"

	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/openllb/hlb-operator/hlb/request"
)

// group is the leaves of a stage that share one filesystem.
type group struct {
	solve   *request.Solve
	outputs []*request.Output
	final   bool // it is the filesystem of a target, so it carries the run's cache exports
}

// exports reports whether solving the group takes a solve of its own, because something leaves the daemon.
func (g *group) exports(opts Options) bool {
	return len(g.outputs) > 0 || g.final && len(opts.CacheExports) > 0
}

// stage runs leaves that may run at the same time.
func (r *runner) stage(ctx context.Context, leaves []*request.Node) error {
	groups := r.groups(leaves)
	if len(groups) == 0 {
		return nil
	}
	if err := r.runScopes(ctx, groups); err != nil {
		return err
	}
	if len(groups) == 1 {
		return r.build(ctx, groups[0], nil)
	}
	return r.anchored(ctx, groups)
}

// groups joins leaves with equal filesystems and drops those with nothing to do.
func (r *runner) groups(leaves []*request.Node) []*group {
	var out []*group
	byKey := map[string]*group{}
	for _, leaf := range leaves {
		if leaf.Output != nil && !r.pushed.claim(leaf.Output) {
			continue // two targets share it
		}
		if leaf.Output != nil && leaf.Output.Digest != "" {
			r.pushed.add(leaf.Output, leaf.Output.Digest.String())
			continue // happened while compiling
		}
		if leaf.Output == nil && leaf.Solve.Empty() {
			continue
		}
		key := solveKey(leaf.Solve)
		g := byKey[key]
		if g == nil {
			g = &group{solve: leaf.Solve}
			byKey[key] = g
			out = append(out, g)
		}
		if leaf.Output != nil {
			g.outputs = append(g.outputs, leaf.Output)
		}
		for _, t := range r.req.Targets {
			g.final = g.final || t.Final != nil && solveKey(t.Final) == key
		}
	}
	return out
}

// solveKey is equal for solves that yield equal images.
func solveKey(s *request.Solve) string {
	key := string(s.ImageConfig)
	if n := len(s.Definition.Def); n > 0 {
		key += digest.FromBytes(s.Definition.Def[n-1]).String()
	}
	return key
}

// anchored evaluates all groups in one job and runs those with exports while that job holds the results, so that a
// step with several wanted outputs runs once.
func (r *runner) anchored(ctx context.Context, groups []*group) error {
	j := r.newJob()
	for _, g := range groups {
		j.add(g.solve)
	}
	return j.run(ctx, client.SolveOpt{}, func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
		eg, evalCtx := errgroup.WithContext(ctx)
		for _, g := range groups {
			eg.Go(func() error {
				_, err := j.solve(evalCtx, gw, g.solve, true)
				return err
			})
		}
		if err := eg.Wait(); err != nil {
			return nil, err
		}
		eg, buildCtx := errgroup.WithContext(ctx)
		for _, g := range groups {
			if g.exports(r.opts) {
				eg.Go(func() error { return r.build(buildCtx, g, nil) })
			}
		}
		return gateway.NewResult(), eg.Wait()
	})
}

// build runs one group as one solve, with its exports and the extra cache exports given.
func (r *runner) build(ctx context.Context, g *group, extra []client.CacheOptionsEntry) error {
	opt := client.SolveOpt{CacheExports: extra}
	if g.final {
		opt.CacheExports = append(opt.CacheExports, r.opts.CacheExports...)
	}
	for _, o := range g.outputs {
		entry, err := exportEntry(o, r.opts.Stdout)
		if err != nil {
			return err
		}
		opt.Exports = append(opt.Exports, entry)
		if o.InlineCache {
			opt.CacheExports = append(opt.CacheExports, client.CacheOptionsEntry{Type: "inline"})
		}
	}
	j := r.newJob()
	j.add(g.solve)
	err := j.run(ctx, opt, func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
		res, err := j.solve(ctx, gw, g.solve, len(opt.Exports) == 0)
		if err == nil && len(opt.Exports) > 0 {
			setConfig(res, g.solve)
		}
		return res, err
	})
	r.caches.add(opt.CacheExports, j.response, err, r.track, r.req)
	if err != nil {
		return err
	}
	for _, o := range g.outputs {
		dgst := ""
		if o.Type != client.ExporterLocal && o.Type != client.ExporterTar { // which have no manifest
			dgst = j.response["containerimage.digest"]
		}
		r.pushed.add(o, dgst)
	}
	return nil
}

// pushes collects finished exports.
type pushes struct {
	mu      sync.Mutex
	claimed map[*request.Output]bool
	done    []Pushed
}

// claim reports whether the caller is the first to run an export.
func (p *pushes) claim(o *request.Output) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.claimed[o] {
		return false
	}
	if p.claimed == nil {
		p.claimed = map[*request.Output]bool{}
	}
	p.claimed[o] = true
	return true
}

func (p *pushes) add(o *request.Output, dgst string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ref := cmp.Or(o.Ref, o.Path)
	if o.Stdout {
		ref = stdoutDest
	}
	p.done = append(p.done, Pushed{Target: o.Target, Ref: ref, Digest: digest.Digest(dgst)})
}

// list returns what finished, the program's own first.
func (p *pushes) list() []Pushed {
	p.mu.Lock()
	defer p.mu.Unlock()
	var own, extra []Pushed
	for _, d := range p.done {
		if d.Target == "" {
			own = append(own, d)
		} else {
			extra = append(extra, d)
		}
	}
	return append(own, extra...)
}
