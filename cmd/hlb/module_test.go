// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/hlb/module"
)

// vendoredSite makes a working directory with a program, whose module from a repository is vendored beside another one
// that nothing uses, and returns the names of the two in the vendor directory.
func vendoredSite(t *testing.T) (used, unused string) {
	t.Helper()
	t.Chdir(t.TempDir())
	t.Setenv("SSH_AUTH_SOCK", "") // with an agent, git:// means ssh
	repo := func(operand string) string {
		u, err := module.Parse(operand)
		if err != nil {
			t.Fatal(err)
		}
		return module.VendorPath(u.Digest())
	}
	used, unused = repo("git://h/o/r@v1"), repo("git://h/o/old")
	if err := os.WriteFile("build.hlb", []byte(`import lib from "lib.hlb"
import m from "git://h/o/r@v1:sub/m.hlb"
fs default() { m.go; lib.f; }
`), 0o600); err != nil {
		t.Fatal(err)
	}
	lib := "import n from \"git://h/o/r@v1:sub/n.hlb\"\nexport f\nfs f() { n.go; }"
	if err := os.WriteFile("lib.hlb", []byte(lib), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := module.WriteVendor(module.VendorDir, map[string][]byte{
		used + "/sub/m.hlb": []byte("import n from \"./n.hlb\"\nexport go\nfs go() { n.go; }"),
		used + "/sub/n.hlb": []byte("export go\nfs go() { image \"vendored\"; }"),
		unused + "/x.hlb":   []byte("export go"),
	}, false)
	if err != nil {
		t.Fatal(err)
	}
	return used, unused
}

func hlbHere(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func TestCompileOfAVendoredProgram(t *testing.T) {
	vendoredSite(t)
	code, stdout, stderr := hlbHere(t, "compile", "--offline", "build.hlb")
	if code != 0 || !strings.Contains(stdout, "library/vendored:") {
		t.Errorf("%d, %s%s", code, stdout, stderr)
	}
	if err := os.WriteFile(filepath.Join(module.VendorDir, module.LockFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr = hlbHere(t, "compile", "--offline", "build.hlb")
	if code != 1 || !strings.Contains(stderr, "error[MODULE-CHECKSUM]") {
		t.Errorf("without a checksum: %d, %s", code, stderr)
	}
}

func TestModuleTree(t *testing.T) {
	used, _ := vendoredSite(t)
	want := `build.hlb
├── lib: lib.hlb
│   └── n: https://h/o/r@v1:sub/n.hlb ` + used + `
└── m: https://h/o/r@v1:sub/m.hlb ` + used + `
    └── n: https://h/o/r@v1:sub/n.hlb ` + used + ` (*)
`
	code, stdout, stderr := hlbHere(t, "module", "tree", "--offline", "build.hlb")
	if diff := cmp.Diff(want, stdout); diff != "" || code != 0 {
		t.Errorf("%d (-want +got):\n%s\n%s", code, diff, stderr)
	}
}

func TestModuleTidy(t *testing.T) {
	used, unused := vendoredSite(t)
	code, stdout, stderr := hlbHere(t, "module", "tidy", "--offline", "build.hlb")
	if want := "- " + unused + "/x.hlb\n"; code != 0 || stdout != want {
		t.Errorf("%d, %q, want %q\n%s", code, stdout, want, stderr)
	}
	if _, err := os.Stat(filepath.Join(module.VendorDir, used, "sub", "m.hlb")); err != nil {
		t.Error(err)
	}
	if code, stdout, stderr := hlbHere(t, "compile", "--offline", "build.hlb"); code != 0 {
		t.Errorf("%d, %s%s", code, stdout, stderr)
	}
}

// TestModuleTidyMissing: a module that is missing is fetched, which takes a daemon; nothing is removed without it.
func TestModuleTidyMissing(t *testing.T) {
	used, unused := vendoredSite(t)
	if err := os.RemoveAll(filepath.Join(module.VendorDir, used)); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := hlbHere(t, "module", "tidy", "--offline", "build.hlb")
	if code != 1 || !strings.Contains(stderr, "error[NEEDS-DAEMON]") {
		t.Errorf("%d, %s", code, stderr)
	}
	if _, err := os.Stat(filepath.Join(module.VendorDir, unused, "x.hlb")); err != nil {
		t.Error(err)
	}
}

func TestModuleVendorWithoutADaemon(t *testing.T) {
	vendoredSite(t)
	code, _, stderr := hlbHere(t, "module", "vendor", "--addr", "unix:///nonexistent/sock", "build.hlb")
	if code != 2 || !strings.Contains(stderr, "nonexistent") {
		t.Errorf("%d, %s", code, stderr)
	}
}

// TestCheckReadsVendoredModules: what a program uses of a vendored repository is checked, and followed by keys.
func TestCheckReadsVendoredModules(t *testing.T) {
	used, _ := vendoredSite(t)
	code, stdout, stderr := hlbHere(t, "check", "--resolve", "build.hlb")
	if code != 0 {
		t.Errorf("%d, %s%s", code, stdout, stderr)
	}
	code, stdout, stderr = hlbHere(t, "keys", "build.hlb")
	if code != 0 || !strings.Contains(stdout, `"ref": "vendored"`) || !strings.Contains(stdout, `"complete": true`) {
		t.Errorf("%d, %s%s", code, stdout, stderr)
	}
	wrong := strings.NewReader("import m from \"git://h/o/r@v1:sub/m.hlb\"\nfs default() { m.gone; }\n")
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"check", "--resolve", "-"}, wrong, &out, &errs); code != 1 ||
		!strings.Contains(errs.String(), "error[UNDEFINED]") {
		t.Errorf("%d, %s", code, errs.String())
	}
	file := filepath.Join(module.VendorDir, used, "sub", "m.hlb")
	if err := os.WriteFile(file, []byte("export go\nfs go() {}"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr = hlbHere(t, "check", "--resolve", "build.hlb")
	if code != 1 || !strings.Contains(stderr, "error[MODULE-CHECKSUM]") {
		t.Errorf("with a changed file: %d, %s", code, stderr)
	}
}

// TestModulesOfDirectoriesNeedNoDaemon: check, keys and compile read them, and their own paths start there.
func TestModulesOfDirectoriesNeedNoDaemon(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("m", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"build.hlb":    "import m from fs { local \"m\"; }\nfs default() { m.go; }\n",
		"m/module.hlb": "import n from \"n.hlb\"\nexport go\nfs go() { n.go; }\n",
		"m/n.hlb":      "export go\nfs go() { image \"inner\"; }\n",
		"bad.hlb":      "import m from fs { local \"m\"; }\nfs default() { m.gone; }\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for args, want := range map[string]string{
		"check --resolve build.hlb":   "",
		"keys build.hlb":              `"ref": "inner"`,
		"compile --offline build.hlb": "library/inner:",
		"module tree build.hlb":       "m/n.hlb",
	} {
		code, stdout, stderr := hlbHere(t, strings.Fields(args)...)
		if code != 0 || !strings.Contains(stdout, want) {
			t.Errorf("%s: %d, %s%s", args, code, stdout, stderr)
		}
	}
	code, _, stderr := hlbHere(t, "check", "--resolve", "bad.hlb")
	if code != 1 || !strings.Contains(stderr, "error[UNDEFINED]") {
		t.Errorf("misuse of the module: %d, %s", code, stderr)
	}
}
