// SPDX-License-Identifier: Apache-2.0

//go:build integration

package solve

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/hlb/lower"
)

const section = `
fs work() {
	image "$BASE"
	run "echo 1 > one"
	run "echo 2 > two"
}
`

func TestCacheContextCarriesASectionToAnotherDaemon(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		export, use string
	}{
		"a registry": {
			`cacheContext scratch with option { toImage "$REG/cache:1"; mode "max"; }`,
			`cacheContext image("$REG/cache:1")`,
		},
		"a registry, wrapped": {
			`cacheContext scratch with option { toImage "$REG/cache:2"; mode "max"; }`,
			`cacheContext image("$REG/cache:2") work`,
		},
		"a directory": {
			fmt.Sprintf(`cacheContext scratch with option { toLocal %q; mode "max"; }`, dir+"/a"),
			fmt.Sprintf(`cacheContext local(%q)`, dir+"/a"),
		},
		"a directory in an image": {
			fmt.Sprintf(`cacheContext scratch with option { toLocal %q; mode "max"; }`, dir+"/b"),
			`cacheContext fs { image "$REG/layout:1"; rm "/x" with allowNotFound; }`,
		},
		"an inline cache": {`dockerPush "$REG/app:1" with inlineCache`, `cacheContext image("$REG/app:1")`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			first := s.run(t, section+"fs default() {\n work\n"+tc.export+"\n}", lower.Options{}, Options{})
			if first.Steps.Cached != 0 {
				t.Fatalf("first run: %+v", first.Steps)
			}
			if name == "a directory in an image" {
				s.run(t, fmt.Sprintf(`fs default() { local %q; dockerPush "$REG/layout:1"; }`, dir+"/b"),
					lower.Options{}, Options{})
			}
			s.client = startDaemon(t)
			second := s.run(t, section+"fs default() {\n work\n"+tc.use+"\n}", lower.Options{}, Options{})
			if diff := cmp.Diff(Steps{Total: 2, Cached: 2}, second.Steps); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAMissingCacheIsNoFailure(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, use := range []string{`image("$REG/gone:1")`, fmt.Sprintf(`local(%q)`, t.TempDir())} {
		res := s.run(t, section+"fs default() {\n work\n cacheContext "+use+"\n}", lower.Options{}, Options{})
		if res.Steps.Total != 2 {
			t.Errorf("%s: %+v", use, res.Steps)
		}
	}
}

func TestALayoutThatIsNoneIsAnError(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	req := s.compile(t, section+"fs default() {\n work\n cacheContext fs { mkfile \"f\" 0o644 \"x\"; }\n}",
		lower.Options{})
	_, err := Run(t.Context(), s.client, req, Options{})
	if err == nil {
		t.Error("a filesystem without index.json was accepted")
	}
}

// Both name the same directory of the daemon, so what one step writes another one of any program sees.
func TestCacheMountsAreSharedById(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	dir := t.TempDir()
	s.run(t, `fs default() { image "$BASE"; run "echo kept > /c/f" with cacheMount("/c"); }`,
		lower.Options{CacheMountNamespace: "team"}, Options{})
	s.run(t, fmt.Sprintf(`
fs default() {
	image "$BASE"
	run "cp /d/f /out/f" with option {
		mount scratch "/d" with cache("/c", "shared")
		mount scratch "/out" as out
	}
}
fs got() { out; download %q; }`, dir), lower.Options{CacheMountNamespace: "team", Targets: []string{"got"}}, Options{})
	if dt, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || string(dt) != "kept\n" {
		t.Errorf("%q, %v", dt, err)
	}
}
