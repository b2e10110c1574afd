// SPDX-License-Identifier: Apache-2.0

package check_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/syntax"
	"github.com/openllb/hlb-operator/test/kit/hlbtest"
)

// TestHostileProgramsAreCheckedInLinearTime: programs whose parts could make each other expensive. A quadratic check
// takes minutes for each.
func TestHostileProgramsAreCheckedInLinearTime(t *testing.T) {
	const n = 50_000
	numbered := func(format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	for name, src := range map[string]string{
		"many parameters and many bindings": "fs a(" + numbered("fs p%d ") + ") { " +
			numbered("dockerPush \"r\" as b%d; ") + " }",
		"many parameters and many members": "import m from \"x\"\nfs a(" + numbered("fs p%d ") + ") { " +
			numbered("m.f%d; ") + " }",
		"many unknown kinds":      "fs a(" + numbered("fss p%d ") + ") {}",
		"many unknown names":      numbered("fs f%[1]d() { g%[1]d; }\n"),
		"many exports of nothing": numbered("export e%[1]d\nfs f%[1]d() {}\n"),
		"many unknown imports":    numbered("import i%[1]d from \"x\"\nfs f%[1]d() { j%[1]d.x; }\n"),
		"one name many times":     strings.Repeat("fs a() {}\n", n),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			info, errs := module(t, src)
			if !errs.HasErrors() {
				for _, imp := range info.Imports() {
					_ = info.Resolve(imp, info) // the time it takes matters here, not what it finds
				}
			}
			if spent := time.Since(start); spent > 30*time.Second {
				t.Errorf("took %s", spent)
			}
		})
	}
}

// checkAny holds the checker against its promises: no panic, a result, and every callee of a program that checks is
// known.
func checkAny(t interface{ Fatalf(string, ...any) }, src []byte) {
	mod, errs := syntax.Parse("a.hlb", src, syntax.Limits{})
	if len(errs) > 0 {
		return
	}
	info, errs := check.Module(mod)
	if info == nil {
		t.Fatalf("%q: no info", src)
	}
	if len(errs) > 0 {
		return
	}
	ast.Inspect(mod, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallStmt:
			if info.Callee(n.Callee) == nil {
				t.Fatalf("%q: %s is unknown", src, n.Callee)
			}
			return info.Callee(n.Callee).What < check.MemberObject
		case *ast.CallExpr:
			if info.Callee(n.Callee) == nil {
				t.Fatalf("%q: %s is unknown", src, n.Callee)
			}
			return info.Callee(n.Callee).What < check.MemberObject
		}
		return true
	})
	for _, imp := range info.Imports() {
		_ = info.Resolve(imp, info) // it may find errors, not panic
	}
}

func TestNoProgramPanics(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkAny(t, []byte(hlbtest.Module(t))) })
}

func FuzzCheck(f *testing.F) {
	for _, seed := range append(hlbtest.Seeds(), strings.Split(lib, "\n\n")...) {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, src []byte) { checkAny(t, src) })
}
