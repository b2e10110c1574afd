// SPDX-License-Identifier: Apache-2.0

package solve

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/tonistiigi/fsutil"

	"github.com/openllb/hlb-operator/hlb/request"
)

// exporterImageConfig is the result metadata that image exporters take the config from
// (exptypes.ExporterImageConfigKey).
const exporterImageConfig = "containerimage.config"

// job is one call to the daemon: a gateway build in which any number of filesystems are solved.
type job struct {
	r        *runner
	needs    request.Needs
	imports  []request.Import
	layouts  *layouts
	extra    []sessionAttachable
	response map[string]string // the exporters' answers, after run
}

func (r *runner) newJob() *job { return &job{r: r, layouts: newLayouts()} }

// add announces a filesystem that the job will solve, with the cache imports of its scopes.
func (j *job) add(s *request.Solve) {
	j.needs = j.needs.Union(s.Needs)
	for _, scope := range s.Scopes {
		j.addScope(scope)
	}
}

func (j *job) addScope(scope *request.Scope) {
	j.needs = j.needs.Union(scope.Section.Needs)
	for _, imp := range scope.Imports {
		j.imports = append(j.imports, imp)
		if imp.Layout != nil {
			j.needs = j.needs.Union(imp.Layout.Needs)
			j.layouts.add(imp.Layout)
		}
	}
}

// run opens the job and calls build in it.
func (j *job) run(ctx context.Context, opt client.SolveOpt, build gateway.BuildFunc) error {
	attach, release, err := attachables(j.needs, j.layouts, j.imports)
	if err != nil {
		return err
	}
	defer release()
	opt.Session = append(append([]sessionAttachable(nil), j.r.opts.Session...), append(attach, j.extra...)...)
	opt.AllowedEntitlements = j.needs.Entitlements
	opt.FrontendAttrs = map[string]string{} // the client writes cache imports into it, without a look
	if opt.LocalMounts, err = localMounts(j.needs.Locals); err != nil {
		return err
	}
	opt.CacheImports = j.r.opts.CacheImports
	if j.layouts.empty() {
		opt.CacheImports = append(
			append([]client.CacheOptionsEntry(nil), opt.CacheImports...),
			plainImports(j.imports)...)
	}
	ch, wait := j.r.track.channel()
	resp, err := j.r.client.Build(ctx, opt, "", func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
		if wrap := j.r.opts.Gateway; wrap != nil {
			gw = wrap(gw)
		}
		j.prepare(ctx, gw)
		return build(ctx, gw)
	}, ch)
	wait()
	if resp != nil {
		j.response = resp.ExporterResponse
	}
	return err
}

// prepare calls Options.Before in the first job, and meanwhile has the daemon fetch the build cache that the job
// imports. Jobs that begin meanwhile wait.
func (j *job) prepare(ctx context.Context, gw gateway.Client) {
	if j.r.opts.Before == nil {
		return
	}
	j.r.before.Do(func() {
		if len(j.r.opts.CacheImports) > 0 {
			j.fetchImports(ctx, gw)
		}
		j.r.opts.Before(ctx)
	})
}

// fetchImports begins to fetch the job's imports and returns at once. The daemon fetches them when a solve first
// names them, and keeps them for the job. A step of that solve would have to wait for them, and with it, as BuildKit
// decides about all steps in one place, every other step of the daemon. So what is solved has no step: the daemon
// refuses it, after it has begun to fetch.
func (j *job) fetchImports(ctx context.Context, gw gateway.Client) {
	imports, err := j.cacheImports(ctx, gw)
	if err != nil {
		return // the job's own solves say so
	}
	nothing := &pb.Definition{Def: [][]byte{{}}}
	//nolint:errcheck // it always fails
	gw.Solve(ctx, gateway.SolveRequest{Evaluate: true, Definition: nothing, CacheImports: imports})
}

// solve solves s inside the job. With evaluate it returns when the filesystem is there, else the exporters see to it.
func (j *job) solve(ctx context.Context, gw gateway.Client, s *request.Solve, evaluate bool) (*gateway.Result, error) {
	imports, err := j.cacheImports(ctx, gw)
	if err != nil {
		return nil, err
	}
	for _, scope := range s.Scopes {
		if len(scope.Exports) > 0 {
			continue // runScopes solved it
		}
		if _, err := gw.Solve(ctx, gateway.SolveRequest{
			Evaluate: true, Definition: scope.Section.Definition.ToPB(), CacheImports: imports,
		}); err != nil {
			return nil, err
		}
	}
	if s.Empty() {
		return gateway.NewResult(), nil
	}
	return gw.Solve(
		ctx,
		gateway.SolveRequest{Evaluate: evaluate, Definition: s.Definition.ToPB(), CacheImports: imports},
	)
}

// cacheImports returns the imports that each solve of the job must name itself: the daemon does not apply those of
// the job to LLB solved inside it. The client has meanwhile completed local entries with digests and dropped those
// that don't exist.
func (j *job) cacheImports(ctx context.Context, gw gateway.Client) ([]gateway.CacheOptionsEntry, error) {
	var out []gateway.CacheOptionsEntry
	if list := gw.BuildOpts().Opts["cache-imports"]; list != "" {
		if err := json.Unmarshal([]byte(list), &out); err != nil {
			return nil, fmt.Errorf("read the job's cache imports: %w", err)
		}
	}
	if j.layouts.empty() {
		return out, nil
	}
	served, err := j.layouts.open(ctx, gw, j.imports)
	return append(out, served...), err
}

func plainImports(imports []request.Import) []client.CacheOptionsEntry {
	var out []client.CacheOptionsEntry
	for _, imp := range imports {
		if imp.Layout == nil {
			out = append(out, cacheEntry(imp.Entry))
		}
	}
	return out
}

// cacheEntry copies an entry, because the client writes into the attributes.
func cacheEntry(e request.CacheEntry) client.CacheOptionsEntry {
	attrs := make(map[string]string, len(e.Attrs))
	for k, v := range e.Attrs {
		attrs[k] = v
	}
	return client.CacheOptionsEntry{Type: e.Type, Attrs: attrs}
}

func setConfig(res *gateway.Result, s *request.Solve) {
	if len(s.ImageConfig) > 0 {
		res.AddMeta(exporterImageConfig, s.ImageConfig)
	}
}

func localMounts(locals []request.Local) (map[string]fsutil.FS, error) {
	mounts := map[string]fsutil.FS{}
	for _, l := range locals {
		dir, err := fsutil.NewFS(l.Dir)
		if err != nil {
			return nil, fmt.Errorf("local %s: %w", l.Dir, err)
		}
		mounts[l.Name] = dir
	}
	return mounts, nil
}
