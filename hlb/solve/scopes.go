// SPDX-License-Identifier: Apache-2.0

package solve

import (
	"context"
	"encoding/json"
	"strings"
	"sync"

	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/openllb/hlb-operator/hlb/request"
)

// scopeSet remembers which scopes with exports were solved, so that two uses of one scope solve it once.
type scopeSet struct {
	mu   sync.Mutex
	once map[*request.Scope]*sync.Once
	errs map[*request.Scope]error
}

func (s *scopeSet) do(scope *request.Scope, solve func() error) error {
	s.mu.Lock()
	if s.once == nil {
		s.once, s.errs = map[*request.Scope]*sync.Once{}, map[*request.Scope]error{}
	}
	once := s.once[scope]
	if once == nil {
		once = new(sync.Once)
		s.once[scope] = once
	}
	s.mu.Unlock()
	once.Do(func() {
		err := solve()
		s.mu.Lock()
		s.errs[scope] = err
		s.mu.Unlock()
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.errs[scope]
}

// runScopes solves the cache scopes with exports, inner ones first. The main solve then finds their results in the
// daemon.
func (r *runner) runScopes(ctx context.Context, groups []*group) error {
	for _, g := range groups {
		for _, scope := range g.solve.Scopes {
			if len(scope.Exports) == 0 {
				continue
			}
			if err := r.scopes.do(scope, func() error { return r.scope(ctx, scope) }); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *runner) scope(ctx context.Context, scope *request.Scope) error {
	section := *scope.Section
	if servesLayout(append([]*request.Scope{scope}, section.Scopes...)) {
		// A session serves content stores once, and exports to a directory need theirs: import first, export after.
		if err := r.importOnly(ctx, scope); err != nil {
			return err
		}
		section.Scopes = nil
	} else {
		section.Scopes = append(append([]*request.Scope(nil), section.Scopes...), &request.Scope{
			Section: scope.Section, Imports: scope.Imports, Exports: scope.Exports,
		})
	}
	var exports []client.CacheOptionsEntry
	for _, e := range scope.Exports {
		exports = append(exports, cacheEntry(e))
	}
	return r.build(ctx, &group{solve: &section}, exports)
}

func servesLayout(scopes []*request.Scope) bool {
	for _, s := range scopes {
		for _, imp := range s.Imports {
			if imp.Layout != nil {
				return true
			}
		}
	}
	return false
}

// importOnly evaluates a scope's section with its imports.
func (r *runner) importOnly(ctx context.Context, scope *request.Scope) error {
	j := r.newJob()
	j.add(scope.Section)
	j.addScope(scope)
	return j.run(ctx, client.SolveOpt{}, func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
		return j.solve(ctx, gw, scope.Section, true)
	})
}

// cacheResults collects how cache exports went.
type cacheResults struct {
	mu   sync.Mutex
	done []CacheExport
}

// add records the exports of one solve. A failed export that may fail shows only as an error of the vertex that did it.
func (c *cacheResults) add(
	entries []client.CacheOptionsEntry, resp map[string]string, err error, t *tracker, req *request.Request,
) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range entries {
		res := CacheExport{Entry: e}
		if err != nil {
			res.Err = err
		} else if why := t.errorNamed("exporting cache to "+exporterName(e.Type), req.Has); why != "" {
			res.Err = cacheError(why)
		} else {
			res.Manifest = manifestDigest(resp["cache.manifest"])
		}
		c.done = append(c.done, res)
	}
}

// manifestDigest reads the digest out of the descriptor that the daemon answers with.
func manifestDigest(descriptor string) digest.Digest {
	var d ocispecs.Descriptor
	if err := json.Unmarshal([]byte(descriptor), &d); err != nil {
		return "" // inline cache has no manifest
	}
	return d.Digest
}

// exporterName is how BuildKit's progress calls the exporter of a cache type.
func exporterName(cacheType string) string {
	if cacheType == "local" {
		return "client directory"
	}
	return cacheType
}

type cacheError string

func (e cacheError) Error() string { return "export build cache: " + strings.TrimSpace(string(e)) }

func (c *cacheResults) list() []CacheExport {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]CacheExport(nil), c.done...)
}
