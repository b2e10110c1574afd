// SPDX-License-Identifier: Apache-2.0

//go:build integration

package solve

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/moby/buildkit/client"

	"github.com/openllb/hlb-operator/hlb/lower"
	"github.com/openllb/hlb-operator/hlb/request"
)

// compile compiles a program on the daemon. $BASE and $REG in its text are the base image and the registry.
func (s *site) compile(t *testing.T, src string, opts lower.Options) *request.Request {
	t.Helper()
	req, found, err := Compile(t.Context(), s.client, s.program(t, src), opts, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if found.HasErrors() {
		t.Fatal(found)
	}
	return req
}

func (s *site) program(t *testing.T, src string) lower.Program {
	src = strings.NewReplacer("$BASE", s.base, "$REG", s.registry).Replace(src)
	return lower.Program{Filename: filepath.Join(t.TempDir(), "build.hlb"), Source: []byte(src)}
}

// run compiles and runs a program.
func (s *site) run(t *testing.T, src string, compile lower.Options, opts Options) *Result {
	t.Helper()
	res, err := Run(t.Context(), s.client, s.compile(t, src, compile), opts)
	if err != nil {
		fatal(t, err)
	}
	return res
}

// file returns the content of a file of a pushed image.
func file(t *testing.T, img v1.Image, path string) string {
	t.Helper()
	r := tar.NewReader(mutate.Extract(img))
	for {
		h, err := r.Next()
		if err == io.EOF {
			t.Fatalf("the image has no %s", path)
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.Trim(h.Name, "./") == path {
			dt, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			return string(dt)
		}
	}
}

func TestRunPushesAndCountsSteps(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const src = `
fs default() {
	image "$BASE"
	env "GREETING" "hello"
	run "echo $GREETING $FROM_BASE > out; pwd >> out"
	run "cp out copy"
	label "a" "b"
	dockerPush "$REG/app:1"
}`
	first := s.run(t, src, lower.Options{},
		Options{Outputs: []Output{{Target: "default", Image: s.registry + "/extra:1"}}})
	if diff := cmp.Diff(Steps{Total: 2, Cached: 0}, first.Steps); diff != "" {
		t.Error(diff)
	}
	if len(first.Outputs) != 2 || first.Outputs[0].Ref != s.registry+"/app:1" || first.Outputs[1].Target != "default" {
		t.Fatalf("outputs %+v", first.Outputs)
	}
	for _, o := range first.Outputs {
		img := pull(t, o.Ref)
		if got, want := file(t, img, "root/copy"), "hello yes\n/root\n"; got != want {
			t.Errorf("%s: got %q, want %q", o.Ref, got, want)
		}
		if d, _ := img.Digest(); d.String() != o.Digest.String() {
			t.Errorf("%s: digest %s, reported %s", o.Ref, d, o.Digest)
		}
		cfg, err := img.ConfigFile()
		if err != nil || cfg.Config.Labels["a"] != "b" || cfg.Architecture != "amd64" ||
			cfg.Config.WorkingDir != "/root" {
			t.Errorf("config %+v, %v", cfg, err)
		}
	}
	second := s.run(t, src, lower.Options{}, Options{})
	if diff := cmp.Diff(Steps{Total: 2, Cached: 2}, second.Steps); diff != "" {
		t.Error(diff)
	}
	third := s.run(t, strings.Replace(src, "cp out copy", "cp out other", 1), lower.Options{}, Options{})
	if diff := cmp.Diff(Steps{Total: 2, Cached: 1}, third.Steps); diff != "" {
		t.Error(diff)
	}
}

func TestFailingStepHasPlaceExitCodeAndLog(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const src = `
fs build(string cmd) {
	run cmd
}
fs default() {
	image "$BASE"
	run "true"
	build "echo about to fail; exit 7"
}`
	res, err := Run(t.Context(), s.client, s.compile(t, src, lower.Options{}), Options{})
	var step *StepError
	if !errors.As(err, &step) {
		t.Fatalf("got %v", err)
	}
	if step.ExitCode != 7 || step.Span.Start.Line != 3 || step.Span.Start.Column != 2 {
		t.Errorf("exit code %d at %s", step.ExitCode, step.Span)
	}
	if len(step.Callers) != 1 || step.Callers[0].Start.Line != 8 {
		t.Errorf("callers %v", step.Callers)
	}
	if step.LogTail != "about to fail\n" || step.Name != "/bin/sh -c 'echo about to fail; exit 7'" {
		t.Errorf("name %q, log %q", step.Name, step.LogTail)
	}
	if res.Steps.Total != 2 || res.Steps.Cached != 0 {
		t.Errorf("steps %+v", res.Steps)
	}
}

// A run with several wanted outputs runs once, whatever is exported of it.
func TestSeveralOutputsOfOneStepRunItOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const src = `
fs work() {
	image "$BASE"
	run "date +%s%N > /a/stamp; cat /a/stamp > /root/stamp" with option { mount scratch "/a" as out; ignoreCache; }
}
fs pushed() { out; dockerPush "$REG/a:1"; }
fs rooted() { work; dockerPush "$REG/root:1"; }
pipeline default() { stage pushed rooted; }`
	s.run(t, src, lower.Options{}, Options{})
	a, root := file(t, pull(t, s.registry+"/a:1"), "stamp"), file(t, pull(t, s.registry+"/root:1"), "root/stamp")
	if a == "" || a != root {
		t.Errorf("the step ran twice: %q and %q", a, root)
	}
}

func TestAFailureAmongSeveralSolvesIsTheStepThatFailed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const src = `
fs good() { image "$BASE"; run "sleep 60"; }
fs bad() { image "$BASE"; run "echo why >&2; exit 3"; dockerPush "$REG/bad:1"; }
pipeline default() { stage good bad; }`
	start := time.Now()
	_, err := Run(t.Context(), s.client, s.compile(t, src, lower.Options{}), Options{})
	var step *StepError
	if !errors.As(err, &step) || step.ExitCode != 3 || step.Span.Start.Line != 3 || step.LogTail != "why\n" {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 50*time.Second {
		t.Errorf("the other solve was not cancelled: %s", took)
	}
}

func TestCancelling(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	req := s.compile(t, `fs default() { image "$BASE"; run "sleep 60"; }`, lower.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	start := time.Now()
	_, err := Run(ctx, s.client, req, Options{Status: func(st *client.SolveStatus) {
		for _, v := range st.Vertexes {
			if strings.Contains(v.Name, "sleep") && v.Started != nil {
				cancel()
			}
		}
	}})
	var step *StepError
	if err == nil || errors.As(err, &step) {
		t.Errorf("got %v, want an error that blames no step", err)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestDownloads(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	dir := t.TempDir()
	src := fmt.Sprintf(`
fs default() {
	scratch
	mkfile "f" 0o644 "text"
	download "%[1]s/dir"
	downloadTarball "%[1]s/new/fs.tar"
	downloadOCITarball "%[1]s/oci.tar"
	downloadDockerTarball "%[1]s/docker.tar" "x:y"
}`, dir)
	res := s.run(t, src, lower.Options{}, Options{})
	if len(res.Outputs) != 4 {
		t.Errorf("outputs %+v", res.Outputs)
	}
	if dt, err := os.ReadFile(filepath.Join(dir, "dir/f")); err != nil || string(dt) != "text" {
		t.Errorf("%q, %v", dt, err)
	}
	for name, want := range map[string]string{"new/fs.tar": "f", "oci.tar": "index.json",
		"docker.tar": "manifest.json"} {
		if !tarHas(t, filepath.Join(dir, name), want) {
			t.Errorf("%s has no %s", name, want)
		}
	}
}

func tarHas(t *testing.T, path, name string) bool {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err != nil {
			return false
		}
		if strings.Trim(h.Name, "./") == name {
			return true
		}
	}
}

func TestRegistryCacheReachesAnotherDaemon(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	entry := func() []client.CacheOptionsEntry {
		return []client.CacheOptionsEntry{{
			Type: "registry", Attrs: map[string]string{"ref": s.registry + "/cache:1", "mode": "max"},
		}}
	}
	const src = `
fs default() {
	image "$BASE"
	run "echo 1 > one"
	run "echo 2 > two"
	mkfile "three" 0o644 "3"
}`
	first := s.run(t, src, lower.Options{}, Options{CacheExports: entry()})
	if len(first.Cache) != 1 || first.Cache[0].Err != nil || first.Cache[0].Manifest == "" {
		t.Fatalf("cache export %+v", first.Cache)
	}
	s.client = startDaemon(t)
	second := s.run(t, src, lower.Options{}, Options{CacheImports: entry()})
	if diff := cmp.Diff(Steps{Total: 3, Cached: 3}, second.Steps); diff != "" {
		t.Error(diff)
	}
}

func TestCacheExportThatMayFailIsReported(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	dead := []client.CacheOptionsEntry{{
		Type: "registry", Attrs: map[string]string{"ref": "127.0.0.1:1/cache:1", "ignore-error": "true"},
	}}
	res := s.run(t, `fs default() { image "$BASE"; run "true"; }`, lower.Options{}, Options{CacheExports: dead})
	if len(res.Cache) != 1 || res.Cache[0].Err == nil {
		t.Errorf("cache export %+v", res.Cache)
	}
}

func TestAnEmptyImageCanBePushed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.run(t, `fs default() { scratch; label "a" "b"; dockerPush "$REG/empty:1"; }`, lower.Options{}, Options{})
	cfg, err := pull(t, s.registry+"/empty:1").ConfigFile()
	if err != nil || cfg.Config.Labels["a"] != "b" || len(cfg.RootFS.DiffIDs) != 0 {
		t.Errorf("%+v, %v", cfg, err)
	}
}

// The overhead of compiling in a session and running a request over the plain steps must stay small: two calls on a
// warm daemon.
func TestOverheadIsSmall(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const src = `fs default() { image "$BASE"; run "true"; dockerPush "$REG/app:1"; }`
	s.run(t, src, lower.Options{}, Options{})
	start := time.Now()
	req := s.compile(t, src, lower.Options{})
	compiled := time.Since(start)
	if _, err := Run(t.Context(), s.client, req, Options{}); err != nil {
		fatal(t, err)
	}
	ran := time.Since(start) - compiled
	// What a plain client does at least: one solve of the same definition with the same export.
	start = time.Now()
	_, err := s.client.Solve(t.Context(), req.Targets[0].Final.Definition, client.SolveOpt{
		Exports: []client.ExportEntry{
			{Type: client.ExporterImage, Attrs: map[string]string{"name": s.registry + "/app:1", "push": "true"}},
		},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	plain := time.Since(start)
	t.Logf("a cached build: compile %s, run %s, plain solve %s", compiled, ran, plain)
	if over := compiled + ran - plain; over > 5*time.Second {
		t.Errorf("%s over a plain solve", over)
	}
}
