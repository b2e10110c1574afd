// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client/llb"

	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/link"
	"github.com/openllb/hlb-operator/hlb/lint"
	"github.com/openllb/hlb-operator/hlb/module"
	"github.com/openllb/hlb-operator/hlb/request"
	"github.com/openllb/hlb-operator/hlb/syntax"
)

// importing is a program whose modules come from an image, a filesystem that is built, and a repository. One of them
// has files beside it, and uses its own filesystem.
const importing = `import img from image("org/m.hlb")
import made from fs { image "base"; run "make"; }
import repo from "git://h/o/r@v1:sub/x.hlb"
import other from "git://h/o/r@v1"
fs default() { img.go; made.go; repo.go; }
fs unused() { other.go; }
`

// vendorDir writes the modules that the program imports into a directory and returns it.
func vendorDir(t *testing.T, src string) string {
	t.Helper()
	imports, errs := Imports(t.Context(), Program{Filename: "build.hlb", Source: []byte(src)},
		Options{Solver: repository(), Resolver: &countingResolver{}})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	files := map[string][]byte{}
	var collect func([]*Import)
	collect = func(imports []*Import) {
		for _, i := range imports {
			for name, text := range i.Files {
				files[path.Join(module.VendorPath(i.Remote), name)] = text
			}
			collect(i.Imports)
		}
	}
	collect(imports)
	dir := t.TempDir()
	if _, err := module.WriteVendor(dir, files, false); err != nil {
		t.Fatal(err)
	}
	return dir
}

func vendorIn(dir string) *module.Vendor {
	return &module.Vendor{Dir: module.Dir{Root: module.Machine{}, Path: dir}, Strict: true}
}

// TestVendoredProgramsCompileOffline: what was vendored with a daemon that has image configs gives the same LLB
// without a daemon.
func TestVendoredProgramsCompileOffline(t *testing.T) {
	dir := vendorDir(t, importing)
	online := mustCompile(t, importing, Options{Solver: repository()})
	offline := mustCompile(t, importing, Options{Vendor: vendorIn(dir)})
	want := request.Text(online.Targets[0].Final.Definition)
	if diff := cmp.Diff(want, request.Text(offline.Targets[0].Final.Definition)); diff != "" {
		t.Errorf("(-online +offline):\n%s", diff)
	}
	if !strings.Contains(want, "of %2 to / contents-only") {
		t.Errorf("the module's own filesystem isn't used:\n%s", want)
	}
}

// TestVendoredModulesGoBeforeTheNetwork: the daemon isn't asked for modules that are vendored.
func TestVendoredModulesGoBeforeTheNetwork(t *testing.T) {
	s := repository()
	mustCompile(t, importing, Options{Solver: s, Vendor: vendorIn(vendorDir(t, importing))})
	if len(s.sources) > 0 {
		t.Errorf("asked for %v", s.sources)
	}
}

func TestAServerReadsTheVendoredModulesOfItsSource(t *testing.T) {
	dir := vendorDir(t, importing)
	files := map[string]string{}
	for name, text := range readAll(t, dir) {
		files[module.VendorDir+"/"+name] = text
	}
	s := &treeSolver{files: files}
	st := llb.Git("https://h/program", "main")
	mustCompile(t, importing, Options{Profile: ProfileServer, Solver: s, Context: &st})
	if diff := cmp.Diff([]string{"git://h/program#main"}, s.sources); diff != "" {
		t.Errorf("solved (-want +got):\n%s", diff)
	}
}

func TestProgramsWithFilesHaveVendoredModulesAmongThem(t *testing.T) {
	tree := fstest.MapFS{}
	for name, text := range readAll(t, vendorDir(t, importing)) {
		tree[module.VendorDir+"/"+name] = &fstest.MapFile{Data: []byte(text)}
	}
	prog := Program{Filename: "sub/build.hlb", Source: []byte(importing), Files: tree}
	if _, errs := Compile(t.Context(), prog, Options{Profile: ProfileServer}); len(errs) > 0 {
		t.Error(errs)
	}
}

func readAll(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path.Join(dir, name))
		files[name] = string(text)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return files
}

func TestVendorTrouble(t *testing.T) {
	const one = "import m from image(\"org/m.hlb\")\nfs default() { m.go; }"
	const two = "import m from image(\"org/other.hlb\")\nfs default() { m.go; }"
	for name, tc := range map[string]struct {
		src    string
		change func(dir, file string) error
		strict bool
		want   []diag.Code // without a daemon
	}{
		"nothing changed": {src: one, want: nil},
		"a module that isn't vendored": {
			src: two, strict: true, want: []diag.Code{NotVendored},
		},
		"a lock alone makes it an error": {src: two, want: []diag.Code{NotVendored}},
		"a module that was changed": {
			src:    one,
			change: func(_, file string) error { return os.WriteFile(file, []byte("export go\nfs go() {}"), 0o600) },
			want:   []diag.Code{ModuleChecksum},
		},
		"a module that the lock doesn't have": {
			src: one,
			change: func(dir, _ string) error {
				return os.WriteFile(path.Join(dir, module.LockFile), nil, 0o600)
			},
			want: []diag.Code{ModuleChecksum},
		},
		"no lock, as others vendor": {
			src:    one,
			change: func(dir, _ string) error { return os.Remove(path.Join(dir, module.LockFile)) },
		},
		"no lock and not all modules": {
			src:    two,
			change: func(dir, _ string) error { return os.Remove(path.Join(dir, module.LockFile)) },
			want:   []diag.Code{NeedsDaemon},
		},
		"a broken lock": {
			src: one,
			change: func(dir, _ string) error {
				return os.WriteFile(path.Join(dir, module.LockFile), []byte("x"), 0o600)
			},
			want: []diag.Code{Lookup},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := vendorDir(t, one)
			if tc.change != nil {
				names := slices.Sorted(maps.Keys(readAll(t, dir)))
				if err := tc.change(dir, path.Join(dir, names[len(names)-1])); err != nil {
					t.Fatal(err)
				}
			}
			v := vendorIn(dir)
			v.Strict = tc.strict
			_, errs := Compile(t.Context(), Program{Filename: "build.hlb", Source: []byte(tc.src)}, Options{Vendor: v})
			var got []diag.Code
			for _, d := range errs {
				got = append(got, d.Code)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s\n%v", diff, errs)
			}
		})
	}
}

// TestADirectoryBesideTheProgramIsNotVendored: it is part of the program, and read without a daemon. What the module
// calls local is that directory.
func TestADirectoryBesideTheProgramIsNotVendored(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("go", 0o755); err != nil {
		t.Fatal(err)
	}
	const text = "export go\nfs go() { image \"x\"; copy local(\"sub\") \"a\" \"/a\"; }\n"
	if err := os.WriteFile("go/module.hlb", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	const src = "import m from fs { local \"go\"; }\nfs default() { m.go; }"
	dir := vendorDir(t, src)
	if files := readAll(t, dir); len(files) != 0 {
		t.Errorf("vendored %v", files)
	}
	req := mustCompile(t, src, Options{Vendor: vendorIn(dir)})
	got := request.Text(req.Targets[0].Final.Definition)
	if !strings.Contains(got, "copy /sub of ") {
		t.Errorf("local is another directory:\n%s", got)
	}
	for name, text := range map[string]string{"a link that leads out": "link", "no file": ""} {
		t.Run(name, func(t *testing.T) {
			if err := os.Remove("go/module.hlb"); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if text != "" {
				if err := os.Symlink("../../module.hlb", "go/module.hlb"); err != nil {
					t.Fatal(err)
				}
			}
			_, errs := Compile(t.Context(), Program{Filename: "build.hlb", Source: []byte(src)}, Options{})
			if len(errs) != 1 || errs[0].Code != diag.ImportNotFound {
				t.Errorf("%v", errs)
			}
		})
	}
}

// TestADirectoryOfTheContextIsNotVendored: a server reads it with the context, also where other modules are vendored.
func TestADirectoryOfTheContextIsNotVendored(t *testing.T) {
	const src = "import m from fs { local \"sub\"; }\nfs default() { m.go; }"
	s := &treeSolver{files: map[string]string{
		module.VendorDir + "/" + module.LockFile: "", "module.hlb": "export go\nfs go() { image \"x\"; }",
	}}
	st := llb.Git("https://h/program", "main")
	mustCompile(t, src, Options{Profile: ProfileServer, Solver: s, Context: &st})
}

// TestVendoredFilesystemsAreLinked: modules of images and other filesystems are found without evaluating what uses
// them.
func TestVendoredFilesystemsAreLinked(t *testing.T) {
	v := vendorIn(vendorDir(t, importing))
	unread := func(src string) (int, diag.List) {
		info, errs := lint.Program("build.hlb", []byte(src), syntax.Limits{})
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		dir := module.Dir{Root: module.Machine{}, Path: "."}
		linked, errs := link.Files(t.Context(), info, dir, link.Options{Vendor: v, Remote: RemoteRoots(v)})
		return len(linked.Unread), errs
	}
	if n, errs := unread(importing); n != 0 || len(errs) > 0 {
		t.Errorf("%d unread, %v", n, errs)
	}
	if _, errs := unread(importing + "fs wrong() { img.gone; }"); len(errs) != 1 || errs[0].Code != diag.Undefined {
		t.Errorf("misuse of a vendored module: %v", errs)
	}
	if n, errs := unread("import m from image(\"org/other\")\nfs default() { m.go; }"); n != 1 || len(errs) > 0 {
		t.Errorf("one that isn't vendored: %d unread, %v", n, errs)
	}
}
