// SPDX-License-Identifier: Apache-2.0

//go:build integration

package solve

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openllb/hlb-operator/hlb/lower"
	"github.com/openllb/hlb-operator/hlb/module"
	"github.com/openllb/hlb-operator/hlb/request"
)

func TestModulesInFilesystems(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.run(t, `
fs default() {
	scratch
	mkfile "module.hlb" 0o644 <<-HLB
		import sub from "./dir/sub.hlb"
		export go
		fs go() { sub.data; }
		HLB
	mkdir "dir" 0o755
	mkfile "dir/sub.hlb" 0o644 <<-HLB
		export data
		fs data() { local "files"; }
		HLB
	mkdir "dir/files" 0o755
	mkfile "dir/files/f" 0o644 "in the module"
	dockerPush "$REG/module:1"
}`, lower.Options{}, Options{})
	dir := t.TempDir()
	s.run(t, fmt.Sprintf(`
import m from image("$REG/module:1")
fs default() { m.go; download %q; }`, dir), lower.Options{}, Options{})
	if dt, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || string(dt) != "in the module" {
		t.Errorf("%q, %v", dt, err)
	}
}

// The most usual import of a filesystem: a directory beside the program, whose module has files of its own.
func TestAModuleInALocalDirectory(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go/module.hlb": "export go\nfs go() { local \"data\"; }", "go/data/f": "beside the module", "secret": "s3cret",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	src := strings.ReplaceAll(`
import go from fs { local "./go"; }
import made from fs { image "$BASE"; run "echo \"export word string word() { \\\"$(cat /s)\\\"; }\" > /module.hlb" with secret("secret", "/s"); }
fs default() { go.go; mkfile "word" 0o644 made.word; download "got"; }`, "$BASE", s.base)
	prog := lower.Program{Filename: filepath.Join(dir, "build.hlb"), Source: []byte(src)}
	req, found, err := Compile(t.Context(), s.client, prog, lower.Options{}, Options{})
	if err != nil || found.HasErrors() {
		t.Fatal(err, found)
	}
	if _, err := Run(t.Context(), s.client, req, Options{}); err != nil {
		fatal(t, err)
	}
	for name, want := range map[string]string{"f": "beside the module", "word": "s3cret"} {
		if dt, err := os.ReadFile(filepath.Join(dir, "got", name)); err != nil || string(dt) != want {
			t.Errorf("%s: got %q, %v", name, dt, err)
		}
	}
}

// TestVendoringAModule: a module of an image whose config changes the environment of what is built on it is vendored
// with the daemon, and the program then compiles to the same without one.
func TestVendoringAModule(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.run(t, `
fs default() {
	scratch
	env "A" "B"
	mkfile "module.hlb" 0o644 <<-HLB
		import sub from "./sub.hlb"
		export go
		fs go() { sub.data; }
		HLB
	mkfile "sub.hlb" 0o644 <<-HLB
		export data
		fs data() { mkfile "f" 0o644 "vendored"; }
		HLB
	dockerPush "$REG/vendor:1"
}`, lower.Options{}, Options{})
	prog := lower.Program{Filename: filepath.Join(t.TempDir(), "build.hlb"), Source: []byte(strings.ReplaceAll(`
import m from fs { image "$REG/vendor:1"; mkdir "d" 0o755; }
fs default() { m.go; }`, "$REG", s.registry))}
	imports, found, err := Imports(t.Context(), s.client, prog, lower.Options{}, Options{})
	if err != nil || len(found) > 0 {
		t.Fatal(err, found)
	}
	files := map[string][]byte{}
	for name, text := range imports[0].Files {
		files[module.VendorPath(imports[0].Remote)+"/"+name] = text
	}
	dir := t.TempDir()
	if _, err := module.WriteVendor(dir, files, false); err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	vendor := &module.Vendor{Dir: module.Dir{Root: module.Machine{}, Path: dir}, Strict: true}
	req, errs := lower.Compile(t.Context(), prog, lower.Options{Vendor: vendor})
	if req == nil || !strings.Contains(request.Text(req.Root.Leaves()[0].Solve.Definition), `"vendored"`) {
		t.Error(errs)
	}
}
