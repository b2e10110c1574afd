// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	fstypes "github.com/tonistiigi/fsutil/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/openllb/hlb-operator/agent/compile/child"
	"github.com/openllb/hlb-operator/agent/compile/wire"
	"github.com/openllb/hlb-operator/hlb"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/lower"
	"github.com/openllb/hlb-operator/hlb/request"
)

// TestMain makes the test's program a child where it is started as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == child.Command {
		os.Exit(child.Main(os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func newCompiler(t *testing.T, limits Limits) *Compiler {
	t.Helper()
	c := New([]string{os.Args[0], child.Command}, limits)
	t.Cleanup(c.Close)
	return c
}

// world is a registry and a daemon without network: it answers every question, and keeps what was asked.
type world struct {
	files map[string]string // of every tree that is built
	fails error             // what look-ups of images end with, nil for none
	asked []string
}

func (w *world) ResolveImageConfig(
	_ context.Context, ref string, opt sourceresolver.Opt,
) (string, digest.Digest, []byte, error) {
	w.asked = append(w.asked, "resolve "+ref+" "+opt.ImageOpt.Platform.Architecture+" "+opt.ImageOpt.ResolveMode)
	return ref, digest.FromString(ref),
		[]byte(`{"os":"linux","architecture":"amd64","config":{"Env":["A=b"],"WorkingDir":"/w"}}`), w.fails
}

func (w *world) Manifest(_ context.Context, ref string, p ocispecs.Platform) (lower.Manifest, error) {
	w.asked = append(w.asked, "manifest "+ref+" "+p.Architecture)
	return lower.Manifest{Digest: digest.FromString(ref), Manifest: `{"m":1}`, Config: `{"c":1}`, Index: `{"i":1}`}, nil
}

func (w *world) Solve(ctx context.Context, req gateway.SolveRequest) (*gateway.Result, error) {
	res := gateway.NewResult()
	if req.Frontend != "" {
		w.asked = append(w.asked, "frontend "+req.FrontendOpt["source"])
		res.AddMeta(wire.ConfigKey, []byte(`{"config":{"User":"me"}}`))
	} else {
		w.asked = append(w.asked, "solve "+strings.TrimSpace(request.Text(definitionOf(req))))
	}
	state := llb.Image("made", llb.WithCustomName("made by a front end")).File(llb.Mkdir("/d", 0o755))
	def, err := state.Marshal(ctx)
	if err != nil {
		return nil, err
	}
	op, err := llb.NewDefinitionOp(def.ToPB())
	if err != nil {
		return nil, err
	}
	res.SetRef(&builtTree{state: llb.NewState(op), files: w.files})
	return res, nil
}

func definitionOf(req gateway.SolveRequest) *llb.Definition {
	def := &llb.Definition{}
	def.FromPB(req.Definition)
	return def
}

func (w *world) Push(_ context.Context, export *request.Node) (digest.Digest, error) {
	w.asked = append(w.asked, "push "+export.Output.Ref+" "+request.Text(export.Solve.Definition))
	return digest.FromString(export.Output.Ref), nil
}

func (w *world) allow(use lower.Use, what string) error {
	w.asked = append(w.asked, "allow "+string(use)+" "+what)
	if strings.Contains(what, "other") {
		return diag.Errorf(lower.NotAllowed, diag.Span{}, "%s belongs to another namespace", what).
			WithHint("use your own")
	}
	return nil
}

func (w *world) sharing(id string) (string, bool) {
	w.asked = append(w.asked, "sharing "+id)
	return "private", strings.HasSuffix(id, "private")
}

type builtTree struct {
	gateway.Reference
	state llb.State
	files map[string]string
}

func (r *builtTree) ToState() (llb.State, error) { return r.state, nil }

func (r *builtTree) StatFile(_ context.Context, req gateway.StatRequest) (*fstypes.Stat, error) {
	data, ok := r.files[req.Path]
	if !ok {
		return nil, errors.New("no such file")
	}
	return &fstypes.Stat{Path: req.Path, Size: int64(len(data))}, nil
}

func (r *builtTree) ReadFile(_ context.Context, req gateway.ReadRequest) ([]byte, error) {
	return []byte(r.files[req.Filename]), nil
}

func (w *world) services(files fs.FS) *Services {
	return &Services{
		Resolver: w, Registry: w, Solver: w, Pusher: w, Files: files, Allow: w.allow, Sharing: w.sharing,
	}
}

// direct compiles in this process with the same options.
func direct(t *testing.T, p *Program, s *Services, state *llb.State) (*request.Request, diag.List) {
	t.Helper()
	return hlb.Compile(t.Context(), hlb.Program{Filename: p.Filename, Source: p.Source, Files: s.Files}, hlb.Options{
		Profile: hlb.ProfileServer, Targets: p.Targets, Args: p.Args, Platform: p.Platform, Resolver: s.Resolver,
		Solver: s.Solver, Pusher: s.Pusher, Registry: s.Registry, Context: state, ContextApart: p.ContextApart,
		Secrets: p.Secrets, SSH: p.SSH, CacheMountNamespace: p.Namespace, CacheMountSharing: s.Sharing,
		Allow: s.Allow, AllowedEntitlements: p.Entitlements,
	})
}

// TestChildrenCompileAsTheCompilerDoes compares requests, diagnostics and questions with those of this process.
func TestChildrenCompileAsTheCompilerDoes(t *testing.T) {
	built := map[string]string{
		"module.hlb": "export go\nfs go() { image \"module\" }", "sub/x.hlb": "export go\nfs go() { image \"x\" }",
	}
	beside := fstest.MapFS{"lib/a.hlb": {Data: []byte("export go\nfs go() { image \"beside\"; run \"a\" }")}}
	cases := map[string]string{
		"scratch": `fs default() { scratch }`,
		"steps, mounts and files": `fs default() { image "base"; env "K" "v"; run "make" with option {
			mount scratch "/out" as out; cacheMount "/c"; cacheMount "/p" with option { id "private" }
			secret "token" "/t"; ssh }; copy out "/" "/got"; mkfile "/n" 0o644 "x" }`,
		"several targets that share": `fs base() { image "base"; run "a" }
			fs default() { base; run "b"; dockerPush "r/a" }
			fs second() { base; run "c"; dockerPush "r/b"; env "X" "y"; dockerPush "r/c" }`,
		"a pipeline": `pipeline default() { stage fs { run "a" } fs { run "b" }; stage fs { run "c"; dockerPush "r/a" } }`,
		"a digest of a push": `fs default() { image "base"; run "a"; dockerPush "r/a" as (digest d)
			mkfile "/d" 0o644 "${d}" }`,
		"a front end": `fs default() { frontend "front" with option { input "context" fs { image "base" }; opt "a" "b" }
			run "a" }`,
		"modules from git, from an image and from beside": `import g from "git://h/o/r@v1:sub/x.hlb"
			import i from fs { image "modules" }
			import b from "lib/a.hlb"
			fs default() { g.go; copy i.go "/" "/"; copy b.go "/" "/" }`,
		"manifests": `fs default() { mkfile "/m" 0o644 string { manifest "img" }
			mkfile "/i" 0o644 i }
			string m() { manifest "img" as (index i) }`,
		"the context": `fs default() { local "src"; copy fs { local "." } "/" "/all" }`,
		"cache contexts": `fs default() { image "base"; run "a"; cacheContext fs { image "r/cache:b" } fs { run "b" }
			run "c" }`,
		"cache contexts that are refused": `fs default() { run "a"
			cacheContext scratch with option { toImage "r/other:c" } }`,
		"errors with hints and places": `fs default() { runn "a"; imagee "b" }`,
		"modules that do not exist":    `import b from "lib/none.hlb"` + "\nfs default() { b.go }",
		"deprecated forms":             `fs default() { image "a"; run "b" with option { mount scratch "/a" with cache("i", "shared") } }`,
		"no such target":               `fs other() { scratch }`,
	}
	for name, source := range cases {
		t.Run(name, func(t *testing.T) {
			state := llb.Git("https://h/o/src", "main", llb.WithCustomName("[source] src"))
			p := &Program{
				Kind: KindHLB, Filename: "build.hlb", Source: []byte(source), HasFiles: true, Namespace: "ns",
				Secrets: []string{"token"}, SSH: []string{"default"},
				Platform: &ocispecs.Platform{OS: "linux", Architecture: "arm64"},
			}
			if strings.Contains(source, "fs second()") {
				p.Targets = []string{"default", "second"}
			}
			var err error
			if p.Context, err = Definition(t.Context(), &state); err != nil {
				t.Fatal(err)
			}
			asked, wantAsked := &world{files: built}, &world{files: built}
			want, wantFound := direct(t, p, wantAsked.services(beside), &state)
			got, found, err := newCompiler(t, DefaultLimits()).Compile(t.Context(), p, asked.services(beside))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(wantAsked.asked, asked.asked); diff != "" {
				t.Errorf("questions (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(wantFound, found); diff != "" {
				t.Errorf("diagnostics (-want +got):\n%s", diff)
			}
			compare(t, want, got)
		})
	}
}

// compare compares requests with all that they have: what is encoded of them, and the definitions as they are sent.
func compare(t *testing.T, want, got *request.Request) {
	t.Helper()
	if (want == nil) != (got == nil) {
		t.Fatalf("wanted %v, got %v", want, got)
	}
	if want == nil {
		return
	}
	wantParts, wantBlobs, err := wire.Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	gotParts, gotBlobs, err := wire.Encode(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantParts, gotParts); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantBlobs, gotBlobs); diff != "" {
		t.Errorf("blobs (-want +got):\n%s", diff)
	}
	wantLeaves, gotLeaves := want.Root.Leaves(), got.Root.Leaves()
	for i := range min(len(wantLeaves), len(gotLeaves)) {
		wantDef, gotDef := wantLeaves[i].Solve.Definition.ToPB(), gotLeaves[i].Solve.Definition.ToPB()
		if !wantDef.EqualVT(gotDef) {
			t.Errorf("definition %d differs:\n%s\n%s", i, wantDef, gotDef)
		}
	}
	if diff := cmp.Diff(want.Root.String(), got.Root.String()); diff != "" {
		t.Error(diff)
	}
	for i := range want.Targets {
		if solvesTarget(want, i) != solvesTarget(got, i) {
			t.Errorf("target %d's filesystem is solved in one request and not in the other", i)
		}
	}
}

// solvesTarget reports whether a leaf solves the very filesystem of a target.
func solvesTarget(req *request.Request, target int) bool {
	for _, leaf := range req.Root.Leaves() {
		if leaf.Solve == req.Targets[target].Final {
			return true
		}
	}
	return false
}

func TestErrorsOfTheDaemonKeepTheirCode(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want diag.Code
	}{
		"a daemon that is gone":    {status.Error(codes.Unavailable, "the connection is closed"), lower.DaemonLost},
		"an image that is missing": {errors.New("not found"), lower.Lookup},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{fails: tc.err}
			_, found, err := newCompiler(t, DefaultLimits()).Compile(t.Context(), program(`fs default() { image "a" }`),
				w.services(nil))
			if err != nil || len(found) != 1 || found[0].Code != tc.want {
				t.Errorf("got %v, %v, want %s", found, err, tc.want)
			}
		})
	}
}

func program(source string) *Program {
	return &Program{Kind: KindHLB, Filename: "build.hlb", Source: []byte(source), Namespace: "ns"}
}
