// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/agent/cacheplan"
	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/inputs"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/buildpolicy"
	"github.com/openllb/hlb-operator/internal/cacheref"
	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

// TestHostileFrontEnds runs front ends that want what they were not given.
func TestHostileFrontEnds(t *testing.T) {
	t.Parallel()
	registry := buildkittest.StartRegistry(t)
	bk := buildkittest.Start(t, buildkittest.Options{Registries: []string{registry.Address}})
	d := dial(t, bk)
	front, base := pushFrontend(t, registry), registry.Busybox()
	url := gitServer(t, map[string]string{"a": "a"})
	snapshot := cacheref.MountTag("other", "go", time.Now(), "d-0")
	cases := map[string]struct {
		attack string
		want   string // in the refusal, empty for none
		sealed bool   // sources are bounded
	}{
		"read the repository's credentials":        {attack: "read-secret hlb-operator/source-auth", want: "not found"},
		"read a secret that it was not given":      {attack: "read-secret token", want: "not found"},
		"make a step that reads one":               {attack: "use-secret token", want: "none of its inputs uses"},
		"have git send one to a server of its own": {attack: "send-secret token", want: "none of its inputs uses"},
		"make a step with a neighbour's mount":     {attack: "mount other/go", want: "does not begin with ns/"},
		"make a step with a mount that is nobody's": {
			attack: "mount /go", want: "does not begin with ns/",
		},
		"make a step with its own mount": {attack: "mount ns/go"},
		"read a neighbour's snapshot": {
			attack: "image " + registry.Ref("cache:"+snapshot), want: "does not allow a source of the front end",
		},
		"read it by another name of the host": {
			attack: "image " + strings.Replace(registry.Ref("cache:"+snapshot), "127.0.0.1", "LOCALHOST", 1),
			want:   "not allow a source", sealed: true,
		},
		"read a file of a host that is not allowed": {
			attack: "http http://169.254.169.254/latest/meta-data", want: "not allow a source", sealed: true,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			job := inline(fmt.Sprintf(`fs default() {
	frontend %q with option {
		opt "attack" %q
		opt "base" %q
	}
}
`, front, tc.attack, base))
			spec := &v1alpha1.BuildCacheSpec{
				AllowedFrontends: []string{front},
				Registry:         &v1alpha1.RegistryCacheSpec{Repository: registry.Ref("cache")},
			}
			if tc.sealed {
				spec.AllowedSources = &v1alpha1.AllowedSources{Images: []string{registry.Address + "/*"}}
			}
			job.Policy = buildpolicy.New(spec, "ns")
			job.Spec.Secrets = []v1alpha1.BuildSecret{{ID: "token"}}
			job.Inputs.Secrets["token"] = []byte("hush")
			if !tc.sealed {
				job.Spec.Source = &v1alpha1.SourceSpec{Git: &v1alpha1.GitSource{URL: url}}
				job.Inputs.GitAuth = &inputs.BasicAuth{Username: "me", Password: "s3cret"}
			}
			out, err := d.Build(t.Context(), job)
			if tc.want != "" {
				var refused *daemon.CompileError
				if !errors.As(err, &refused) || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("got %v, want a diagnostic with %q", err, tc.want)
				}
				return
			}
			want := []daemon.Mount{{ID: "ns/go", Target: "/c", Sharing: "locked"}}
			if diff := cmp.Diff(want, out.Mounts); err != nil || diff != "" {
				t.Errorf("%v, mounts (-want +got):\n%s", err, diff)
			}
		})
	}
	seen, err := d.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for id := range seen.MountBytes {
		if id != "ns/go" {
			t.Errorf("there is a mount %s", id)
		}
	}
}

// TestNobodyGetsTheSourcesCredentials checks a private repository out, and looks for its credentials in steps. The
// commit is built that was checked out, also where the branch has gone on meanwhile.
func TestNobodyGetsTheSourcesCredentials(t *testing.T) {
	t.Parallel()
	registry := buildkittest.StartRegistry(t)
	d := dial(t, buildkittest.Start(t, buildkittest.Options{Registries: []string{registry.Address}}))
	url := gitServer(t, map[string]string{"build.hlb": fmt.Sprintf(`fs default() {
	image %q
	copy local(".") "/" "/src"
	run "test -e /src/build.hlb"
}

fs again() {
	git %q "main"
	mkfile "/other" 0o644 "a tree of its own"
}
`, registry.Busybox(), gitServer(t, map[string]string{"a": "another repository of the same kind"}))})
	job := inline("")
	job.Inputs = &inputs.Inputs{
		Filename: "build.hlb", Secrets: map[string][]byte{},
		GitAuth: &inputs.BasicAuth{Username: "me", Password: "s3cret"},
	}
	job.Spec.Source = &v1alpha1.SourceSpec{Git: &v1alpha1.GitSource{URL: url, Ref: "main"}}
	build(t, d, job)
	// the program's own git source of another repository is sent nothing, though it would take the same password
	job.Spec.HLB.Targets = []string{"again"}
	if _, err := d.Build(t.Context(), job); err == nil {
		t.Error("a repository that the build names no credentials for was read with the source's")
	}
}

// TestTheCachesCredentialsAreForTheCache has a registry that asks for a password, which only the BuildCache knows.
func TestTheCachesCredentialsAreForTheCache(t *testing.T) {
	t.Parallel()
	open, closed := buildkittest.StartRegistry(t), buildkittest.StartAuthRegistry(t, "robot", "s3cret")
	o := buildkittest.Options{Registries: []string{open.Address, closed.Address}}
	first, second := dial(t, buildkittest.Start(t, o)), dial(t, buildkittest.Start(t, o))
	auth := base64.StdEncoding.EncodeToString([]byte("robot:s3cret"))
	robot := fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, closed.Address, auth)
	jobOf := func(program string) *daemon.Job {
		job := inline(program)
		job.Inputs.CacheRegistry = robot
		job.Registry = &v1alpha1.RegistryCacheSpec{
			Repository: closed.Ref("cache"), ImportPolicy: v1alpha1.ImportOnFreshDaemon, ExportMode: "max",
			ExportPolicy: v1alpha1.ExportOnFreshDaemon, ExportCompression: "zstd",
		}
		job.Policy = buildpolicy.New(&v1alpha1.BuildCacheSpec{Registry: job.Registry}, "ns")
		job.Plan = cacheplan.Decide(job.Registry, true, "key", "ns")
		return job
	}
	job := jobOf(fmt.Sprintf("fs default() {\n\timage %q\n\trun \"echo one > /one\"\n}\n", open.Busybox()))
	if err := first.ExportCache(t.Context(), job, build(t, first, job)); err != nil {
		t.Fatalf("the operator's export: %v", err)
	}
	if got := build(t, second, job); cached(got) != "1/1" || len(got.ImportErrors) > 0 {
		t.Errorf("the operator's import: %s steps are cached, %v", cached(got), got.ImportErrors)
	}
	repository, prod := closed.Ref("cache"), closed.Ref("prod:1")
	own, neighbours := cacheref.Ref(repository, "ns", "key"), cacheref.Ref(repository, "other", "key")
	program := func(body string, args ...any) string { return "fs default() { " + fmt.Sprintf(body, args...) + " }" }
	attacks := map[string]struct{ program, output, want string }{
		"push elsewhere":       {program("scratch; mkfile \"/a\" 0o644 \"a\""), prod, ""},
		"push by the program":  {program("scratch; dockerPush %q", prod), "", ""},
		"read another image":   {program("image %q", prod), "", ""},
		"look at its manifest": {program("scratch; mkfile \"/m\" 0o644 string { manifest %q }", prod), "", ""},
		"push over its cache":  {program("scratch; mkfile \"/a\" 0o644 \"a\""), own, "tag of the operator"},
		"read it as an image":  {program("image %q", own), "", "tag of the operator"},
		"import a neighbour's": {
			program("scratch; cacheContext fs { image %q }", neighbours), "", "tag of the operator",
		},
		"export to the cache": {
			program("image %q; run \"true\"; cacheContext scratch with option { toImage %q }", open.Busybox(),
				closed.Ref("cache:mine")), "", "",
		},
		"push while it compiles": {
			program("scratch; dockerPush %q as (digest d); mkfile \"/d\" 0o644 \"${d}\"", prod), "", "",
		},
	}
	for name, tc := range attacks {
		t.Run(name, func(t *testing.T) {
			job := jobOf(tc.program)
			if tc.output != "" {
				job.Spec.Outputs = []v1alpha1.OutputSpec{{Name: "o", Target: "default", Image: tc.output}}
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := first.Build(ctx, job)
			if err == nil || !strings.Contains(err.Error(), tc.want) || ctx.Err() != nil {
				t.Errorf("got %v, want a refusal with %q", err, tc.want)
			}
		})
	}
}

// TestMountsOfWhatIsBuiltWhileCompilingAreKnown pushes an image with a cache mount for its digest, and fails later.
func TestMountsOfWhatIsBuiltWhileCompilingAreKnown(t *testing.T) {
	t.Parallel()
	registry := buildkittest.StartRegistry(t)
	d := dial(t, buildkittest.Start(t, buildkittest.Options{Registries: []string{registry.Address}}))
	job := inline(fmt.Sprintf(`fs default() {
	image %[1]q
	run "echo a > /a/f" with option {
		cacheMount "/a" with permissions(0o777)
	}
	dockerPush %[2]q as (digest pushed)
	env "PUSHED" "${pushed}"
	run <<-SH
		echo b > /b/f
		exit 3
	SH with option { cacheMount "/b" }
}
`, registry.Busybox(), registry.Ref("pushed:1")))
	var calls [][]string
	var open bool
	job.Prepare = func(_ context.Context, mounts []daemon.Mount) {
		var ids []string
		for _, m := range mounts {
			ids = append(ids, m.ID)
			open = open || m.ID == "ns//a" && m.Root != nil
		}
		calls = append(calls, ids)
	}
	out, err := d.Build(t.Context(), job)
	if err == nil {
		t.Fatal("the build succeeded")
	}
	if diff := cmp.Diff([][]string{{"ns//a"}, {"ns//b"}}, calls); diff != "" || !open {
		t.Errorf("prepared, with what the program wants of its root: %v (-want +got):\n%s\n%v", open, diff, err)
	}
	var ids []string
	for _, m := range out.Mounts {
		ids = append(ids, m.ID)
	}
	slices.Sort(ids)
	if diff := cmp.Diff([]string{"ns//a", "ns//b"}, ids); diff != "" {
		t.Errorf("mounts of the build (-want +got):\n%s", diff)
	}
	seen, err := d.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if _, held := seen.MountBytes[id]; !held {
			t.Errorf("the daemon is not seen to hold %s: %v", id, seen.MountBytes)
		}
	}
}
