// SPDX-License-Identifier: Apache-2.0

package link_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/hlb/link"
	"github.com/openllb/hlb-operator/hlb/lint"
	"github.com/openllb/hlb-operator/hlb/module"
	"github.com/openllb/hlb-operator/hlb/syntax"
)

func TestFiles(t *testing.T) {
	files := map[string]string{
		"a.hlb":       "export path\nexport f\nstring path(string p) { \"sub/${p}\"; }\nfs f() {}",
		"sub/b.hlb":   "import up from \"../a.hlb\"\nexport g\nfs g() { up.f; }",
		"x.hlb":       "import y from \"y.hlb\"\nexport f\nfs f() { y.g; }",
		"y.hlb":       "import x from \"x.hlb\"\nexport g\nfs g() { x.f; }",
		"self.hlb":    "import b from \"build.hlb\"\nexport f\nfs f() { b.f; }",
		"broken.hlb":  "fs {",
		"old.hlb":     "export f\ngroup f() { parallel scratch; }",
		"missing.hlb": "import m from \"gone.hlb\"\nexport f\nfs f() {}",
	}
	for name, tc := range map[string]struct {
		src    string
		want   []string
		unread int
	}{
		"a path may come from another import": {
			"import a from \"a.hlb\"\nimport b from a.path(\"b.hlb\")\nfs c() { b.g; }", nil, 0,
		},
		"paths start at the importing file": {"import b from \"./sub/b.hlb\"\nfs c() { b.g; }", nil, 0},
		"an unused import isn't read": {
			"import a from \"gone.hlb\"\nimport b from \"missing.hlb\"\nfs c() { b.f; }", nil, 0,
		},
		"a used one must exist": {
			"import a from \"gone.hlb\"\nfs c() { a.f; }", []string{"build.hlb IMPORT-NOT-FOUND 1:15"}, 0,
		},
		"modules in a circle": {
			"import x from \"x.hlb\"\nfs c() { x.f; }", []string{"y.hlb IMPORT-CYCLE 1:15"}, 0,
		},
		"a module that imports the program": {
			"import s from \"self.hlb\"\nexport f\nfs f() { s.f; }", []string{"self.hlb IMPORT-CYCLE 1:15"}, 0,
		},
		"an import that needs itself": {
			"import a from a.path(\"x\")\nfs c() { a.f; }", []string{"build.hlb IMPORT-CYCLE 1:15"}, 1,
		},
		"an unknown scheme": {
			"import a from \"ftp://h/x\"\nfs c() { a.f; }", []string{"build.hlb IMPORT-SCHEME 1:15"}, 0,
		},
		"errors of the module are reported there": {
			"import a from \"broken.hlb\"\nfs c() { a.f; }", []string{"broken.hlb SYNTAX 1:4"}, 0,
		},
		"its old forms are its author's business": {"import a from \"old.hlb\"\npipeline c() { a.f; }", nil, 0},
		"misuse of a member": {
			"import a from \"a.hlb\"\nfs c() { a.path \"x\"; }", []string{"build.hlb WRONG-KIND 2:10"}, 0,
		},
		"repositories and filesystems are left alone": {
			"import a from \"git://h/r\"\nimport b from fs { image \"x\"; }\nfs c() { a.f; b.f; }", nil, 2,
		},
		"a repository that gives the path of another module is no circle": {
			"import a from \"git://h/r\"\nimport b from a.path(\"b.hlb\")\nfs c() { a.f; b.g; }", nil, 2,
		},
		"a missing file is reported once": {
			"import a from \"gone.hlb\"\nimport b from a.path(\"b.hlb\")\nfs c() { a.f; b.g; }",
			[]string{"build.hlb IMPORT-NOT-FOUND 1:15"}, 1,
		},
		"a broken module is reported once": {
			"import a from \"broken.hlb\"\nimport b from \"./broken.hlb\"\nfs c() { a.f; b.g; }",
			[]string{"broken.hlb SYNTAX 1:4"}, 0,
		},
		"a file imported twice is one module": {
			"import a from \"a.hlb\"\nimport b from \"./a.hlb\"\nfs c() { a.f; b.f; b.nope; }",
			[]string{"build.hlb UNDEFINED 3:22"}, 0,
		},
		"out of the tree leads nothing": {
			"import a from \"../a.hlb\"\nfs c() { a.f; }", []string{"build.hlb IMPORT-NOT-FOUND 1:15"}, 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			tree := fstest.MapFS{}
			for name, text := range files {
				tree[name] = &fstest.MapFile{Data: []byte(text)}
			}
			info, errs := lint.Program("build.hlb", []byte(tc.src), syntax.Limits{})
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			linked, errs := link.Files(context.Background(), info, module.Dir{Root: module.Tree{FS: tree}, Path: "."},
				link.Options{})
			var got []string
			for _, d := range errs {
				got = append(got,
					fmt.Sprintf("%s %s %d:%d", d.Primary.File, d.Code, d.Primary.Start.Line, d.Primary.Start.Column))
			}
			slices.Sort(got)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s\n%v", diff, errs)
			}
			if len(linked.Unread) != tc.unread {
				t.Errorf("unread: %v", linked.Unread)
			}
			for name := range linked.Sources {
				if files[name] == "" {
					t.Errorf("a source called %s", name)
				}
			}
		})
	}
}

// TestFilesOfAProgramWithErrors: editors link what has errors too, as names that are bound outside of functions.
func TestFilesOfAProgramWithErrors(t *testing.T) {
	for _, src := range []string{
		"import a from b\nimport c from fs { dockerPush \"x\" as b; }\nfs f() { a.x; c.x; }",
		"import a from \"${b}\"\nimport c from fs { dockerPush \"x\" as b; }\nfs f() { a.x; }",
	} {
		info, errs := lint.Program("build.hlb", []byte(src), syntax.Limits{})
		if len(errs) == 0 {
			t.Fatalf("no error in %s", src)
		}
		dir := module.Dir{Root: module.Tree{}, Path: "."}
		linked, _ := link.Files(t.Context(), info, dir, link.Options{Unused: true})
		if len(linked.Unread) == 0 {
			t.Errorf("%s: all is read", src)
		}
	}
}
