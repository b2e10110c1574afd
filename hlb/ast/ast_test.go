// SPDX-License-Identifier: Apache-2.0

package ast_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/syntax"
	"github.com/openllb/hlb-operator/test/kit/hlbtest"
)

func TestHeredocModes(t *testing.T) {
	for name, tc := range map[string]struct {
		mode      ast.HeredocMode
		raw, want string
	}{
		"keep strips line feeds, and tabs at the end": {ast.HeredocKeep, "\n\n\ta\n  b\n\n\t\t", "\ta\n  b"},
		"keep leaves blanks at the end":               {ast.HeredocKeep, "\na \n ", "a \n "},
		"dedent removes what all lines share": {
			ast.HeredocDedent, "\n\t\ta\n\t\t\tb\n\t\tc\n\t", "a\n\tb\nc",
		},
		"dedent is led by the shortest indentation":     {ast.HeredocDedent, "\n\t\ta\n\tb\n", "\ta\nb"},
		"dedent empties blank lines, which don't count": {ast.HeredocDedent, "\n\t\ta\n \n\t\tb", "a\n\nb"},
		"dedent of tabs and spaces that differ removes nothing": {
			ast.HeredocDedent, "\n\t\tx\n\t y\n\t", "\t\tx\n\t y",
		},
		"a line at the margin leaves no margin": {ast.HeredocDedent, "\n\ta\nb", "\ta\nb"},
		"fold joins lines by one space":         {ast.HeredocFold, "\n\t a \n\t b\n\n c ", "a b  c"},
		"nothing is nothing":                    {ast.HeredocDedent, "\n\t", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.mode.Apply(tc.raw); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestConstText(t *testing.T) {
	for name, tc := range map[string]struct {
		src, want string
		ok        bool
	}{
		"a string":                     {`"a\tb"`, "a\tb", true},
		"an empty string":              {`""`, "", true},
		"a raw string":                 {"`a\\t`", `a\t`, true},
		"a heredoc":                    {"<<-X\n\ta\nX", "a", true},
		"a string that interpolates":   {`"${a}"`, "", false},
		"text before an interpolation": {`"x${a}"`, "", false},
		"a number":                     {"1", "", false},
		"a call":                       {"a", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			mod, errs := syntax.Parse("a.hlb", []byte("import a from "+tc.src), syntax.Limits{})
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			got, ok := ast.ConstText(mod.Decls[0].(*ast.Import).Operand)
			if got != tc.want && ok || ok != tc.ok {
				t.Errorf("got %q, %v; want %q, %v", got, ok, tc.want, tc.ok)
			}
		})
	}
}

func TestKinds(t *testing.T) {
	k := ast.OptionOf("run")
	if k.Primary() != ast.Option || k.Secondary() != "run" || ast.FS.Primary() != ast.FS || ast.FS.Secondary() != "" {
		t.Errorf("parts of %s: %s, %s", k, k.Primary(), k.Secondary())
	}
}

// TestCloneIsEqualAndSharesNothing: a clone is the same tree, and no node of it can be reached from the original.
func TestCloneIsEqualAndSharesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mod, _ := syntax.Parse("a.hlb", []byte(hlbtest.Module(t)), syntax.Limits{})
		clone := ast.Clone(mod)
		if diff := cmp.Diff(mod, clone); diff != "" {
			t.Fatalf("(-original +clone):\n%s", diff)
		}
		nodes := map[ast.Node]bool{}
		ast.Inspect(mod, func(n ast.Node) bool { nodes[n] = true; return true })
		ast.Inspect(clone, func(n ast.Node) bool {
			if _, text := n.(*ast.Text); nodes[n] && !text {
				t.Fatalf("%T is shared", n)
			}
			return true
		})
	})
}
