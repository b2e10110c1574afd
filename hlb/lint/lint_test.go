// SPDX-License-Identifier: Apache-2.0

package lint_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/lint"
	"github.com/openllb/hlb-operator/hlb/syntax"
	"github.com/openllb/hlb-operator/test/kit/hlbtest"
)

func TestAdvise(t *testing.T) {
	const mount = `fs a(string m) { run "x" with option { mount scratch `
	for name, tc := range map[string]struct {
		src  string
		opts lint.Options
		want []string
	}{
		"apt's lists can't be shared": {
			mount + `"/var/lib/apt" with cache("i", "shared"); }; }`, lint.Options{}, []string{"UNSAFE-SHARING 1:85"},
		},
		"also not in a block": {
			mount + `"/var/cache/apt" with option { readonly; cache "i" "shared"; }; }; }`, lint.Options{},
			[]string{"UNSAFE-SHARING 1:105"},
		},
		"but locked": {
			mount + `"/var/lib/apt" with cache("i", "locked"); }; }`, lint.Options{}, nil,
		},
		"Go's cache can be shared": {
			mount + `"/root/.cache/go-build" with cache("i", "shared"); }; }`, lint.Options{}, nil,
		},
		"a mode that isn't known is let pass": {
			mount + `"/var/lib/apt" with cache("i", m); }; }`, lint.Options{}, nil,
		},
		"a mount without a cache is let pass": {mount + `"/var/lib/apt" with readonly; }; }`, lint.Options{}, nil},
		"cacheMount without a mode is safe": {
			`fs a() { run "x" with option { cacheMount "/var/lib/apt"; }; }`, lint.Options{}, nil,
		},
		"the last mode counts": {
			`fs a() { run "x" with option { cacheMount "/var/lib/apt" with option { sharing "locked"; sharing "shared"; }; }; }`,
			lint.Options{}, []string{"UNSAFE-SHARING 1:98"},
		},
		"extensions are reported if asked for": {
			`fs a() { run "x" with option { cacheMount "/c" with sharing("locked"); }; }`,
			lint.Options{Portable: true}, []string{"NOT-PORTABLE 1:32", "NOT-PORTABLE 1:53"},
		},
		"a user's function isn't an extension": {"fs base() {}\nfs a() { base; }", lint.Options{Portable: true}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			info, errs := lint.Program("a.hlb", []byte(tc.src), syntax.Limits{})
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			if diff := cmp.Diff(tc.want, hlbtest.Places(lint.Advise(info, tc.opts))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFix(t *testing.T) {
	for name, tc := range map[string]struct {
		src  string
		want []string
	}{
		"kinds everywhere": {
			"group a(group b) binds (group c) { stage group {}; }",
			[]string{"DEPRECATED 1:1", "DEPRECATED 1:9", "DEPRECATED 1:25", "DEPRECATED 1:42"},
		},
		"a member called parallel is none": {"import m from \"x\"\npipeline a() { m.parallel; }", nil},
		"an escape in a word of a heredoc": {
			"string a() {\n\t<<X\n\té\\${b} c\n\tX\n}", []string{"HEREDOC-ESCAPE 3:3"},
		},
		"escapes that begin a word":          {"string a() { <<X\n\\${b} \\n\\${b} $\\${b} \\\\\\${c}\nX\n}", nil},
		"a pair of backslashes is no escape": {"string b() { \"\"; }\nstring a() { <<X\nx\\\\${b}\nX\n}", nil},
		"a raw heredoc has no escapes":       {"string a() { <<`X`\na\\${b} X }", nil},
		"the old form of an import":          {"import a \"b\"", []string{"DEPRECATED 1:10"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, errs := lint.Program("a.hlb", []byte(tc.src), syntax.Limits{})
			if diff := cmp.Diff(tc.want, hlbtest.Places(errs)); diff != "" {
				t.Errorf("(-want +got):\n%s\n%v", diff, errs)
			}
		})
	}
}

// TestFixLeavesTheTreeAlone: the tree that was parsed stays as it was, and fixing what was fixed finds nothing
// deprecated.
func TestFixLeavesTheTreeAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mod, _ := syntax.Parse("a.hlb", []byte(hlbtest.Module(t)), syntax.Limits{})
		before := ast.Clone(mod)
		fixed, _ := lint.Fix(mod)
		if diff := cmp.Diff(before, mod); diff != "" {
			t.Fatalf("(-before +after):\n%s", diff)
		}
		again, found := lint.Fix(fixed)
		for _, d := range found {
			if d.Code == diag.Deprecated {
				t.Fatalf("still there: %v", d)
			}
		}
		if again != fixed {
			t.Fatal("a tree without findings was copied")
		}
	})
}
