// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/diag"
)

// broken is a tree whose files can't be read.
type broken struct{ Tree }

func (broken) Read(context.Context, string, int) ([]byte, error) {
	return nil, errors.New("connection lost")
}

// resolve reads a program and resolves each import of a used module, and those of the modules, whose operands are
// literals.
func resolve(t *testing.T, l *Loader, src string, root Root) error {
	t.Helper()
	program, errs := l.Program("build.hlb", []byte(src), Dir{Root: root, Path: "."})
	if program == nil {
		t.Fatal(errs)
	}
	var all func(m *Module) error
	all = func(m *Module) error {
		for _, imp := range m.Info.Imports() {
			var lib *Module
			err := l.Import(m, imp, imp.Span(), func() (_ *Module, err error) {
				lib, err = l.File(t.Context(), m, imp, literal(imp))
				return lib, err
			})
			if err != nil {
				return err
			}
			if err := all(lib); err != nil {
				return err
			}
		}
		return nil
	}
	return all(program)
}

// literal is the text of an operand without interpolations.
func literal(imp *ast.Import) string {
	return imp.Operand.(*ast.StringLit).Parts[0].(*ast.Text).Value
}

func TestImports(t *testing.T) {
	const use = "export f\nfs f() { m.f; }\n"
	files := fstest.MapFS{}
	for name, text := range map[string]string{
		"leaf.hlb":     "export f\nfs f() {}",
		"one.hlb":      "import m from \"two.hlb\"\n" + use,
		"two.hlb":      "import m from \"leaf.hlb\"\n" + use,
		"left.hlb":     "import m from \"right.hlb\"\n" + use,
		"right.hlb":    "import m from \"left.hlb\"\n" + use,
		"ancestor.hlb": "import m from \"build.hlb\"\n" + use,
		"long.hlb":     strings.Repeat("# a comment\n", 20),
		"wrong.hlb":    "fs {",
	} {
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	cases := map[string]struct {
		path string
		root Root
		want string // in the error, empty for none
	}{
		"modules import modules":          {"one.hlb", Tree{FS: files}, ""},
		"a file that is not there":        {"gone.hlb", Tree{FS: files}, "IMPORT-NOT-FOUND: there is no file gone.hlb"},
		"a file that is too long":         {"long.hlb", Tree{FS: files}, "SOURCE-TOO-LARGE"},
		"a file that does not parse":      {"wrong.hlb", Tree{FS: files}, "SYNTAX"},
		"a path that leads out":           {"../x.hlb", Tree{FS: files}, "leads out"},
		"a tree that can't be read":       {"leaf.hlb", broken{}, "can't read leaf.hlb: connection lost"},
		"modules that import each other":  {"left.hlb", Tree{FS: files}, "right.hlb → left.hlb → right.hlb"},
		"a module that imports its user":  {"ancestor.hlb", Tree{FS: files}, "ancestor.hlb → build.hlb → ancestor.hlb"},
		"a directory is no file":          {".", Tree{FS: files}, "IMPORT-NOT-FOUND"},
		"modules as deep as the bound":    {"two.hlb", Tree{FS: files}, ""},
		"a file of the machine, by a dir": {t.TempDir(), Machine{}, "IMPORT-NOT-FOUND"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			l := NewLoader(Limits{Bytes: 200, Modules: 3, Depth: 3})
			err := resolve(t, l, fmt.Sprintf("import m from %q\n%s", tc.path, use), tc.root)
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("the error is %v", err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("the error is %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestModulesAreBounded(t *testing.T) {
	files := fstest.MapFS{}
	const depth = 4
	for i := range depth {
		text := fmt.Sprintf("import m from \"m%d.hlb\"\nexport f\nfs f() { m.f; }", i+1)
		if i == depth-1 {
			text = "export f\nfs f() {}"
		}
		files[fmt.Sprintf("m%d.hlb", i)] = &fstest.MapFile{Data: []byte(text)}
	}
	cases := map[string]struct {
		limits Limits
		want   diag.Code // empty for none
	}{
		"as many and as deep as wanted": {Limits{Bytes: 200, Modules: depth, Depth: depth}, ""},
		"one too many":                  {Limits{Bytes: 200, Modules: depth - 1, Depth: depth}, diag.LimitImports},
		"one too deep":                  {Limits{Bytes: 200, Modules: depth, Depth: depth - 1}, diag.LimitImportDepth},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			err := resolve(t, NewLoader(tc.limits), "import m from \"m0.hlb\"\nfs f() { m.f; }", Tree{FS: files})
			if tc.want == "" && err == nil {
				return
			}
			if got := diag.ListOf(err); len(got) != 1 || got[0].Code != tc.want {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}
