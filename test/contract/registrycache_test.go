// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"

	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

func exportCache(ref string, more map[string]string) func(*client.SolveOpt) {
	attrs := map[string]string{"ref": ref, "mode": "max"}
	maps.Copy(attrs, more)
	return func(o *client.SolveOpt) {
		o.CacheExports = []client.CacheOptionsEntry{{Type: "registry", Attrs: attrs}}
	}
}

func importCache(ref string) func(*client.SolveOpt) {
	return func(o *client.SolveOpt) {
		o.CacheImports = []client.CacheOptionsEntry{{Type: "registry", Attrs: map[string]string{"ref": ref}}}
	}
}

// chain is a program of an exec, a file operation and an exec whose input is the file operation's.
func (w *world) chain() llb.State {
	return w.sh("echo 1 > /one").Root().
		File(llb.Mkfile("/two", 0o644, []byte("2"))).
		Run(llb.Shlex("cp /two /three")).Root()
}

func TestRegistryCacheMakesEveryStepCachedOnAFreshDaemon(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	ref := w.registry.Ref("cache:1")
	if out := w.must(w.chain(), exportCache(ref, nil)); out.cached != 0 || out.steps != 3 {
		t.Errorf("first build: %d of %d steps cached, want 0 of 3", out.cached, out.steps)
	}
	if out := w.must(w.chain()); out.cached != 3 {
		t.Errorf("second build on the same daemon: %d of %d steps cached, want all", out.cached, out.steps)
	}
	other := w.fresh(buildkittest.Options{})
	if out := other.must(other.chain(), importCache(ref)); out.cached != 3 {
		t.Errorf("fresh daemon with import: %d of %d steps cached, want all", out.cached, out.steps)
	}
	third := w.fresh(buildkittest.Options{})
	if out := third.must(third.chain()); out.cached != 0 {
		t.Errorf("fresh daemon without import: %d of %d steps cached, want none", out.cached, out.steps)
	}
}

func TestMissingCacheToImportIsNotFatal(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	out := w.must(w.chain(), importCache(w.registry.Ref("cache:nothing")))
	if !strings.Contains(strings.Join(out.vertexErrors, "\n"), "not found") {
		t.Errorf("vertex errors are %q, want one that says the cache was not found", out.vertexErrors)
	}
}

func TestCacheExportToADeadRegistryFailsUnlessIgnored(t *testing.T) {
	dead := buildkittest.StartRegistry(t)
	w := newWorld(t, buildkittest.Options{Registries: []string{dead.Address}})
	w.must(w.chain())
	dead.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := w.solve(ctx, w.chain(), exportCache(dead.Ref("cache:1"), nil)); err == nil {
		t.Error("the solve succeeded, want the export's error")
	}
	if _, err := w.solve(ctx, w.chain(),
		exportCache(dead.Ref("cache:1"), map[string]string{"ignore-error": "true"})); err != nil {
		t.Errorf("with ignore-error the solve failed: %v", err)
	}
}
