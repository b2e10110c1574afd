// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/request"
)

// treeSolver answers every solve with one tree of files and keeps the sources asked for.
type treeSolver struct {
	files   map[string]string
	sources []string
	attrs   map[string]string
}

func (s *treeSolver) Solve(_ context.Context, req gateway.SolveRequest) (*gateway.Result, error) {
	for _, dt := range req.Definition.Def {
		var op pb.Op
		if err := op.UnmarshalVT(dt); err != nil {
			return nil, err
		}
		if src := op.GetSource(); src != nil {
			s.sources, s.attrs = append(s.sources, src.Identifier), src.Attrs
		}
	}
	res := gateway.NewResult()
	res.SetRef(treeRef{files: s.files})
	return res, nil
}

type treeRef struct {
	gateway.Reference
	files map[string]string
}

func (r treeRef) StatFile(_ context.Context, req gateway.StatRequest) (*fstypes.Stat, error) {
	dt, ok := r.files[req.Path]
	if !ok {
		return nil, errors.New("no such file")
	}
	return &fstypes.Stat{Path: req.Path, Size: int64(len(dt))}, nil
}

func (r treeRef) ReadFile(_ context.Context, req gateway.ReadRequest) ([]byte, error) {
	return []byte(r.files[req.Filename]), nil
}

func repository() *treeSolver {
	return &treeSolver{files: map[string]string{
		"build.hlb":  "export go\nfs go() { image \"default\"; }",
		"sub/x.hlb":  "import y from \"../y.hlb\"\nexport go\nfs go() { y.go; copy fs { local \"data\" with includePatterns(\"*.txt\"); } \"/\" \"/\"; }",
		"y.hlb":      "export go\nfs go() { image \"y\"; }",
		"out.hlb":    "import z from \"../../z.hlb\"\nexport go\nfs go() { z.go; }",
		"module.hlb": "export go\nfs go() { image \"module\"; }",
	}}
}

func TestModulesFromRepositories(t *testing.T) {
	s := repository()
	req := mustCompile(t, "import m from \"git://h/o/r@v1:sub/x.hlb\"\nfs default() { m.go; }",
		Options{Profile: ProfileServer, Solver: s})
	if diff := cmp.Diff([]string{"git://h/o/r#v1"}, s.sources); diff != "" {
		t.Error(diff)
	}
	if s.attrs["git.fullurl"] != "https://h/o/r" || s.attrs["git.keepgitdir"] != "true" {
		t.Errorf("attributes %v", s.attrs)
	}
	want := `1: source docker-image://docker.io/library/y:latest
2: source git://h/o/r#v1 git.fullurl="https://h/o/r" git.keepgitdir="true"
3: file copy /sub/data of %2 to / contents-only include=["*.txt"] on scratch
4: file copy / of %3 to / on %1
result %4
`
	if diff := cmp.Diff(want, request.Text(req.Targets[0].Final.Definition)); diff != "" {
		t.Error(diff)
	}
	v, ok := req.Vertex(req.Steps()[0])
	if !ok || v.Span.File != "https://h/o/r@v1:sub/x.hlb" {
		t.Errorf("the step is at %s", v.Span)
	}
}

func TestModulesFromFilesystems(t *testing.T) {
	for name, tc := range map[string]struct {
		operand string
		want    string // image
	}{
		"an image":               {`image("org/m.hlb")`, "module"},
		"a block":                {`fs { image "x"; run "make"; }`, "module"},
		"a repository":           {`git("https://h/r", "main")`, "module"},
		"a repository's default": {`"git+https://h/r"`, "default"},
	} {
		t.Run(name, func(t *testing.T) {
			req := mustCompile(t, "import m from "+tc.operand+"\nfs default() { m.go; }", Options{Solver: repository()})
			if got := request.Text(req.Targets[0].Final.Definition); !strings.Contains(got, "library/"+tc.want+":") {
				t.Error(got)
			}
		})
	}
}

// TestModulesOfDifferentFilesystemsStayApart: the names of the imports are the same, the modules aren't.
func TestModulesOfDifferentFilesystemsStayApart(t *testing.T) {
	s := &byImage{"one": "export go\nfs go() { image \"first\"; copy fs { local \"d\"; } \"/\" \"/\" }",
		"two": "export go\nfs go() { image \"second\"; copy fs { local \"d\"; } \"/\" \"/\" }"}
	req, errs := Compile(t.Context(), Program{Filename: "build.hlb", Files: fstest.MapFS{
		"lib.hlb": {Data: []byte("import m from fs { image \"two\"; run \"make\"; }\nexport go\nfs go() { m.go; }")},
	},
		Source: []byte("import m from fs { image \"one\"; run \"make\"; }\nimport lib from \"lib.hlb\"\nfs default() { copy m.go \"/\" \"/a\"; copy lib.go \"/\" \"/b\"; }")},
		Options{Solver: s})
	if req == nil {
		t.Fatal(errs)
	}
	text := request.Text(req.Targets[0].Final.Definition)
	for _, want := range []string{"library/one:", "library/first:", "library/two:", "library/second:"} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%s isn't there once in %s", want, text)
		}
	}
}

// byImage answers a solve with a module, by the first image the filesystem is made from.
type byImage map[string]string

func (s byImage) Solve(_ context.Context, req gateway.SolveRequest) (*gateway.Result, error) {
	var op pb.Op
	if err := op.UnmarshalVT(req.Definition.Def[0]); err != nil {
		return nil, err
	}
	name := strings.TrimSuffix(strings.TrimPrefix(op.GetSource().Identifier, "docker-image://docker.io/library/"),
		":latest")
	res := gateway.NewResult()
	res.SetRef(treeRef{files: map[string]string{"module.hlb": s[name]}})
	return res, nil
}

// TestPathsOfDifferentDirectoriesStayApart: what is written alike in two directories names different files.
func TestPathsOfDifferentDirectoriesStayApart(t *testing.T) {
	dir := t.TempDir()
	for _, sub := range []string{"a", "b"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"s": sub, "m.hlb": `
export opts
export push
option::run opts() { secret "s" "/s"; forward "unix://socket" "/f"; ssh with localPaths("s"); }
fs push() { scratch; mkfile "f" 0o644 ""; download "out"; }`} {
			if err := os.WriteFile(filepath.Join(dir, sub, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	req, errs := Compile(t.Context(), Program{Filename: filepath.Join(dir, "build.hlb"), Source: []byte(`
import a from "a/m.hlb"
import b from "b/m.hlb"
fs f(option::run o) { image "x"; run "r" with o; }
fs default() { copy f(a.opts) "/" "/a"; copy f(b.opts) "/" "/b"; copy a.push "/" "/"; copy b.push "/" "/"; }`)}, Options{})
	if req == nil {
		t.Fatal(errs)
	}
	needs := req.Targets[0].Final.Needs
	var outs []string
	for _, leaf := range req.Root.Leaves() {
		if leaf.Output != nil {
			outs = append(outs, leaf.Output.Path)
		}
	}
	if diff := cmp.Diff([]string{filepath.Join(dir, "a/out"), filepath.Join(dir, "b/out")}, outs); diff != "" {
		t.Errorf("exports (-want +got):\n%s", diff)
	}
	if len(needs.Secrets) != 2 || len(needs.SSH) != 4 {
		t.Errorf("needs %+v, want a secret, a socket and an agent of each directory", needs)
	}
}

func TestImportsThatFail(t *testing.T) {
	for name, tc := range map[string]struct {
		operand string
		want    diag.Code
		opts    Options
	}{
		"a file that the repository lacks": {
			`"git://h/r:gone.hlb"`, diag.ImportNotFound, Options{Solver: repository()},
		},
		"an import out of the repository": {`"git://h/r:out.hlb"`, NotHere, Options{Solver: repository()}},
		"a file out of the repository": {
			`"git://h/r:../x.hlb"`, diag.ImportNotFound, Options{Solver: repository()},
		},
		"a repository without a daemon": {`"git://h/r"`, NeedsDaemon, Options{}},
		"an empty filesystem":           {`scratch`, diag.ImportNotFound, Options{Solver: repository()}},
		"ssh on a server": {
			`"git+ssh://h/r"`, NotHere, Options{Solver: repository(), Profile: ProfileServer},
		},
		"ssh on a server without the agent": {
			`"git+ssh://h/r"`, NotDeclared,
			Options{Solver: repository(), Profile: ProfileServer, KnownSSHHosts: "h ssh-ed25519 AAAA"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, errs := compile(t, "import m from "+tc.operand+"\nfs default() { m.go; }", tc.opts)
			if len(errs) != 1 || errs[0].Code != tc.want {
				t.Errorf("got %v, want %s", errs, tc.want)
			}
		})
	}
}

func TestRepositoriesOverSSH(t *testing.T) {
	s := repository()
	mustCompile(t, "import m from \"git+ssh://me@h:22/r.git\"\nfs default() { m.go; }",
		Options{Solver: s, Profile: ProfileServer, KnownSSHHosts: "h ssh-ed25519 AAAA", SSH: []string{"default"}})
	if s.attrs["git.knownsshhosts"] != "h ssh-ed25519 AAAA\n" || s.attrs["git.mountsshsock"] != "default" ||
		s.attrs["git.fullurl"] != "ssh://me@h:22/r.git" {
		t.Errorf("attributes %v", s.attrs)
	}
	req := mustCompile(t, `fs default() { git "git@h:o/r.git" "main"; }`,
		Options{Profile: ProfileServer, KnownSSHHosts: "h ssh-ed25519 AAAA", SSH: []string{"default"}})
	if diff := cmp.Diff([]request.SSH{{ID: "default", Declared: true}}, req.Needs().SSH); diff != "" {
		t.Error(diff)
	}
}

// A server's program without files of its own finds its modules in the context, at the place where its local paths
// start.
func TestModulesFromTheContext(t *testing.T) {
	tree := &treeSolver{files: map[string]string{
		"lib.hlb":    "export go\nfs go() { image \"root\"; }",
		"ci/lib.hlb": "export go\nfs go() { image \"beside\"; }",
	}}
	context := llb.Scratch().File(llb.Mkfile("/x", 0o644, nil))
	for name, tc := range map[string]struct {
		apart bool
		want  string
	}{
		"the program lies in the context": {false, "beside"},
		"the context is another tree":     {true, "root"},
	} {
		t.Run(name, func(t *testing.T) {
			prog := Program{Filename: "ci/build.hlb",
				Source: []byte("import m from \"./lib.hlb\"\nfs default() { m.go; }")}
			req, found := Compile(t.Context(), prog,
				Options{Profile: ProfileServer, Solver: tree, Context: &context, ContextApart: tc.apart})
			if found.HasErrors() {
				t.Fatal(found)
			}
			if got := request.Text(req.Targets[0].Final.Definition); !strings.Contains(got, "library/"+tc.want+":") {
				t.Errorf("%s\nwant the image %q", got, tc.want)
			}
		})
	}
}
