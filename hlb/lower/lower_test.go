// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerui"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/openllb/hlb-operator/hlb/builtin"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/request"
)

func compile(t *testing.T, src string, opts Options) (*request.Request, diag.List) {
	t.Helper()
	if opts.Platform == nil {
		opts.Platform = &ocispecs.Platform{OS: "linux", Architecture: "amd64"}
	}
	return Compile(t.Context(), Program{Filename: "build.hlb", Source: []byte(src)}, opts)
}

func mustCompile(t *testing.T, src string, opts Options) *request.Request {
	t.Helper()
	req, errs := compile(t, src, opts)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return req
}

func TestEveryBuiltinIsEvaluated(t *testing.T) {
	for _, f := range builtin.All() {
		switch f.Kind {
		case "fs":
			if fsBuiltins[f.Name] == nil {
				t.Errorf("fs %s has no evaluation", f.Name)
			}
		case "string":
			if textBuiltins[f.Name] == nil {
				t.Errorf("string %s has no evaluation", f.Name)
			}
		}
	}
}

func TestEqualCallsAreEvaluatedOnce(t *testing.T) {
	src := "fs f0() { image \"x\"; }\n"
	for i := 1; i <= 60; i++ {
		src += fmt.Sprintf("fs f%d() { f%d; merge f%d f%d; }\n", i, i-1, i-1, i-1)
	}
	req := mustCompile(t, src+"fs default() { f60; }", Options{})
	if got := len(req.Targets[0].Final.Definition.Def); got != 62 {
		t.Errorf("%d ops, want 62: a source, 60 merges and the result", got)
	}
}

func TestEqualArgumentsAreEqualCalls(t *testing.T) {
	src := "fs f0(fs a) { a; run \"0\"; }\n"
	for i := 1; i <= 40; i++ {
		src += fmt.Sprintf("fs f%d(fs a) { merge f%d(fs { a; run \"%d\"; }) f%d(fs { a; run \"%d\"; }); }\n", i, i-1, i,
			i-1, i)
	}
	mustCompile(t, src+"fs default() { f40 image(\"x\"); }", Options{})
}

// countingResolver answers with a config and counts look-ups.
type countingResolver struct {
	lookups []string
}

func (r *countingResolver) ResolveImageConfig(_ context.Context, ref string,
	opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	p := opt.ImageOpt.Platform
	r.lookups = append(r.lookups, ref+" "+p.Architecture)
	cfg := `{"os":"linux","architecture":"` + p.Architecture +
		`","config":{"Env":["A=1","B=2"],"WorkingDir":"/w","User":"me","Entrypoint":["e"]}}`
	return ref, digest.FromString(ref), []byte(cfg), nil
}

func TestImageConfigIsLoadedOnceAndApplied(t *testing.T) {
	r := &countingResolver{}
	req := mustCompile(t, `
fs default() {
	image "x"
	env "A" "3"
	dir "sub"
	run "r" with shlex
	run "s" with option { shlex; user "you"; }
	copy image("x") "/" "/x"
	copy image("x" ) "/" "/y"
	copy fs { image "x" with platform("linux", "arm64"); } "/" "/z"
}`, Options{Resolver: r})
	if diff := cmp.Diff([]string{"docker.io/library/x:latest amd64", "docker.io/library/x:latest arm64"},
		r.lookups); diff != "" {
		t.Error(diff)
	}
	want := `1: source docker-image://docker.io/library/x:latest
2: exec ["r"] cwd=/w/sub user=me env "B=2" env "A=3" [/ = %1 out 0]
3: exec ["s"] cwd=/w/sub user=you env "B=2" env "A=3" [/ = %2 out 0]
4: file copy / of %1 to /x on %3
5: file copy / of %1 to /y on %4
6: source docker-image://docker.io/library/x:latest on linux/arm64
7: file copy / of %6 to /z on %5
result %7
`
	if diff := cmp.Diff(want, request.Text(req.Targets[0].Final.Definition)); diff != "" {
		t.Error(diff)
	}
	for _, part := range []string{`"Env":["A=3","B=2"]`, `"WorkingDir":"/w/sub"`, `"Entrypoint":["e"]`, `"User":"me"`} {
		if !strings.Contains(string(req.Targets[0].Final.ImageConfig), part) {
			t.Errorf("%s is not in %s", part, req.Targets[0].Final.ImageConfig)
		}
	}
}

func TestTheCacheOfAContextIsNotLookedUp(t *testing.T) {
	r := &countingResolver{}
	mustCompile(t, `fs c() { image "cache"; }
fs default() { image "x"; cacheContext c; cacheContext fs { image "base"; run "x"; }; }`, Options{Resolver: r})
	if diff := cmp.Diff([]string{"docker.io/library/x:latest amd64", "docker.io/library/base:latest amd64"},
		r.lookups); diff != "" {
		t.Error(diff)
	}
}

// failingResolver fails with a given error.
type failingResolver struct{ err error }

func (r failingResolver) ResolveImageConfig(context.Context, string,
	sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	return "", "", nil, r.err
}

func TestFailuresWhileCompilingSayWhoseTheyAre(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tc := range map[string]struct {
		ctx  context.Context
		err  error
		want diag.Code
	}{
		"an image that is not there":   {t.Context(), errors.New("not found"), Lookup},
		"a daemon that went away":      {t.Context(), status.Error(codes.Unavailable, "EOF"), DaemonLost},
		"a compile that was cancelled": {gone, context.Canceled, Cancelled},
	} {
		t.Run(name, func(t *testing.T) {
			_, errs := Compile(tc.ctx, Program{Filename: "build.hlb", Source: []byte(`fs default() { image "x"; }`)},
				Options{Resolver: failingResolver{tc.err}})
			if len(errs) != 1 || errs[0].Code != tc.want {
				t.Errorf("got %v, want %s", errs, tc.want)
			}
		})
	}
}

func TestVerticesHavePlacesInTheProgram(t *testing.T) {
	req := mustCompile(t,
		"fs tools(string p) {\n\trun \"add ${p}\"\n}\nfs default() {\n\timage \"x\"\n\ttools \"git\"\n}", Options{})
	steps := req.Steps()
	if len(steps) != 1 {
		t.Fatalf("%d steps", len(steps))
	}
	v, ok := req.Vertex(steps[0])
	if !ok || v.Name != "/bin/sh -c 'add git'" || v.Span.Start.Line != 2 || len(v.Callers) != 1 ||
		v.Callers[0].Start.Line != 6 {
		t.Errorf("%+v", v)
	}
}

func TestManifestEffectsComeThroughTheDaemon(t *testing.T) {
	const src = `string m() { manifest "x" as (digest d, config c); }
fs default() { mkfile "d" 0o644 d; mkfile "c" 0o644 c; }
fs whole() { mkfile "m" 0o644 m; }
fs both() { mkfile "d" 0o644 d; mkfile "m" 0o644 m; }`
	r := &countingResolver{}
	req := mustCompile(t, src, Options{Profile: ProfileServer, Resolver: r})
	if got := request.Text(req.Targets[0].Final.Definition); !strings.Contains(got,
		digest.FromString("docker.io/library/x:latest").String()) {
		t.Error(got)
	}
	for _, target := range []string{"whole", "both"} {
		_, errs := compile(t, src, Options{Profile: ProfileServer, Resolver: r, Targets: []string{target}})
		if len(errs) != 1 || errs[0].Code != NotHere {
			t.Errorf("%s: got %v, want a refusal: the manifest itself can't come through the daemon", target, errs)
		}
	}
}

// frontendSolver answers a front end with an empty result and keeps what it was asked.
type frontendSolver struct {
	req gateway.SolveRequest
}

func (s *frontendSolver) Solve(_ context.Context, req gateway.SolveRequest) (*gateway.Result, error) {
	s.req = req
	res := gateway.NewResult()
	res.AddMeta("containerimage.config", []byte(`{"config":{"WorkingDir":"/made"}}`))
	return res, nil
}

func TestFrontend(t *testing.T) {
	s := &frontendSolver{}
	req := mustCompile(t, `
fs default() {
	frontend "docker/dockerfile" with option { opt "filename" "F"; input "context" fs { mkfile "f" 0o644 "x"; }; }
	run "pwd" with shlex
}`, Options{Solver: s})
	if s.req.Frontend != "gateway.v0" || s.req.FrontendOpt["source"] != "docker.io/docker/dockerfile:latest" ||
		s.req.FrontendOpt["filename"] != "F" || len(s.req.FrontendInputs["context"].Def) != 2 {
		t.Errorf("%+v", s.req)
	}
	want := "1: exec [\"pwd\"] cwd=/made [/ = scratch out 0]\nresult %1\n"
	if diff := cmp.Diff(want, request.Text(req.Targets[0].Final.Definition)); diff != "" {
		t.Error(diff)
	}
	_, errs := compile(t, `fs default() { frontend "f" with opt("source", "evil"); }`,
		Options{Solver: s, Profile: ProfileServer})
	if len(errs) != 1 || errs[0].Code != BadOption {
		t.Errorf("got %v", errs)
	}
}

// A cacheMount and the Dockerfile front end's cache mount at the same path must be one directory of the daemon.
func TestCacheMountEqualsTheDockerfileFrontend(t *testing.T) {
	for name, tc := range map[string]struct {
		hlb, dockerfile, namespace string
	}{
		"the default id":     {`cacheMount "/p"`, "type=cache,target=/p", ""},
		"a namespace":        {`cacheMount "/p"`, "type=cache,target=/p", "team"},
		"a path to be clean": {`cacheMount "/p/../q/"`, "type=cache,target=/p/../q/", ""},
		"an id and a mode": {
			`cacheMount "/p" with option { id "x"; sharing "locked"; }`, "type=cache,target=/p,id=x,sharing=locked", "",
		},
		"an owner": {
			`cacheMount "/p" with option { owner 1000 1001; permissions 0o700; }`,
			"type=cache,target=/p,uid=1000,gid=1001,mode=0700", "",
		},
		"read-only": {`cacheMount "/p" with readonly`, "type=cache,target=/p,ro", ""},
		"private":   {`cacheMount "/p" with sharing("private")`, "type=cache,target=/p,sharing=private", ""},
	} {
		t.Run(name, func(t *testing.T) {
			req := mustCompile(t, "fs default() { image \"x\"; run \"r\" with option { "+tc.hlb+"; }; }",
				Options{CacheMountNamespace: tc.namespace})
			got := cacheMounts(t, req.Targets[0].Final.Definition.Def)
			res, err := dockerfile2llb.Dockerfile2LLB(t.Context(), []byte("FROM x\nRUN --mount="+tc.dockerfile+" r\n"),
				dockerfile2llb.ConvertOpt{
					Config:         dockerui.Config{CacheIDNamespace: tc.namespace},
					MetaResolver:   &countingResolver{},
					TargetPlatform: &ocispecs.Platform{OS: "linux", Architecture: "amd64"},
				})
			if err != nil {
				t.Fatal(err)
			}
			def, err := res.State.Marshal(t.Context(), llb.LinuxAmd64)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(cacheMounts(t, def.Def), got); diff != "" {
				t.Errorf("(-Dockerfile +HLB)\n%s", diff)
			}
		})
	}
}

// cacheMounts renders the cache mounts of the only exec of a definition, with what they start from.
func cacheMounts(t *testing.T, def [][]byte) []string {
	t.Helper()
	ops := map[string]*pb.Op{}
	var out []string
	for _, dt := range def {
		var op pb.Op
		if err := op.UnmarshalVT(dt); err != nil {
			t.Fatal(err)
		}
		ops[digest.FromBytes(dt).String()] = &op
		for _, m := range op.GetExec().GetMounts() {
			if m.MountType != pb.MountType_CACHE {
				continue
			}
			base := "scratch"
			if m.Input >= 0 {
				base = ops[op.Inputs[m.Input].Digest].GetFile().String()
			}
			out = append(out,
				fmt.Sprintf("%s %v selector=%q readonly=%t output=%d base=%s", m.Dest, m.CacheOpt, m.Selector,
					m.Readonly, m.Output, base))
		}
	}
	return out
}
