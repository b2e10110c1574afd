// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestNoClockIsRead looks for calls that read a clock: imports alone don't show them.
func TestNoClockIsRead(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" {
				calls++
				switch s.Sel.Name {
				case "Now", "Since", "Until", "After", "NewTimer", "NewTicker", "Sleep":
					t.Errorf("%s reads a clock: time.%s", name, s.Sel.Name)
				}
			}
			return true
		})
	}
	if calls == 0 {
		t.Error("no use of package time was found, so nothing was checked")
	}
}
