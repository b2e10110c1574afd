// SPDX-License-Identifier: Apache-2.0

package query

import (
	"fmt"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/cachedir"
	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/diag"
)

// Action is a change that an editor offers at a place.
type Action struct {
	Title string
	Edits []diag.Edit      // some may be of another file
	Of    *diag.Diagnostic // that it mends, nil if it mends nothing
}

// ActionsAt lists changes for a stretch of the file: what the hints of its diagnostics say, and the sharing modes of a
// cache mount that names none.
func (f *File) ActionsAt(start, end int) []Action {
	var out []Action
	for _, d := range f.Found {
		if d.Fix != nil && d.Primary.Start.Offset <= end && start <= d.Primary.End.Offset {
			out = append(out, Action{Title: d.Fix.Title, Edits: d.Fix.Edits, Of: d})
		}
	}
	for _, m := range f.cacheMounts() {
		if m.stmt != nil && m.stmt.With == nil && covers(m.stmt.Span(), start) {
			out = append(out, f.sharingActions(m)...)
		}
	}
	return out
}

func (f *File) sharingActions(m cacheMount) []Action {
	last := m.args[len(m.args)-1].Span()
	at := diag.Span{File: f.Name, Start: last.End, End: last.End}
	var out []Action
	for _, mode := range []cachedir.Sharing{cachedir.Shared, cachedir.Private, cachedir.Locked} {
		out = append(out, Action{
			Title: fmt.Sprintf("Share the mount as `%s`", mode),
			Edits: []diag.Edit{{Span: at, Text: fmt.Sprintf(" with sharing(%q)", mode)}},
		})
	}
	return out
}

// cacheMount is a call of the option cacheMount.
type cacheMount struct {
	stmt *ast.CallStmt // nil for an expression
	args []ast.Expr    // the target alone
	with *ast.With
}

// cacheMounts lists the complete calls of cacheMount.
func (f *File) cacheMounts() []cacheMount {
	var out []cacheMount
	is := func(n *ast.Name, args []ast.Expr) bool {
		o := f.Info().Callee(n)
		return o != nil && o.What == check.BuiltinObject && o.Name == "cacheMount" && len(args) == len(o.Params())
	}
	ast.Inspect(f.Info().Module, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallStmt:
			if is(n.Callee, n.Args) {
				out = append(out, cacheMount{stmt: n, args: n.Args, with: n.With})
			}
		case *ast.CallExpr:
			if is(n.Callee, n.Args()) {
				out = append(out, cacheMount{args: n.Args()})
			}
		}
		return true
	})
	return out
}

// option reports whether the mount has an option of a name; other calls than of builtins may hide one.
func (m cacheMount) option(name string) bool {
	if m.with == nil {
		return false
	}
	found := false
	ast.Inspect(m.with, func(n ast.Node) bool {
		if id, ok := n.(*ast.Name); ok && id.Member == nil && id.Ident.Name == name {
			found = true
		}
		return true
	})
	return found
}
