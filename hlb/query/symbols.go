// SPDX-License-Identifier: Apache-2.0

package query

import (
	"slices"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/diag"
)

// Outline is a declaration, with the names that are bound in it.
type Outline struct {
	Object   *check.Object
	Span     diag.Span // of all of it
	Children []Outline
}

// Outline lists the functions and imports of the file.
func (f *File) Outline() []Outline {
	var out []Outline
	for _, d := range f.Info().Module.Decls {
		switch d := d.(type) {
		case *ast.Import:
			if o := f.Info().Scope[d.Name.Name]; o != nil && o.Span == d.Name.Span() {
				out = append(out, Outline{Object: o, Span: d.Span()})
			}
		case *ast.Func:
			if o := f.Info().Scope[d.Name.Name]; o != nil && o.Span == d.Name.Span() {
				out = append(out, Outline{Object: o, Span: d.Span(), Children: f.bound(d)})
			}
		}
	}
	return out
}

// bound lists the aliases of a function.
func (f *File) bound(fn *ast.Func) []Outline {
	var out []Outline
	ast.Inspect(fn, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallStmt); ok {
			for _, alias := range f.Info().Aliases[call] {
				out = append(out, Outline{Object: alias, Span: call.Span()})
			}
		}
		return true
	})
	return out
}

// Fold is lines that can be hidden.
type Fold struct {
	Start, End int  // lines, from 1; the last one stays visible where something is closed on it
	Comment    bool // lines of comments
}

// Folds lists what can be hidden: blocks, lists and texts of several lines, and groups of comments.
func (f *File) Folds() []Fold {
	var out []Fold
	add := func(s diag.Span, closer int) {
		if end := s.End.Line - closer; end > s.Start.Line {
			out = append(out, Fold{Start: s.Start.Line, End: end})
		}
	}
	comments := append([]*ast.Comment{}, f.Info().Module.Comments...)
	ast.Inspect(f.Info().Module, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Block:
			add(n.Span(), 1)
			comments = append(comments, n.Comments...)
		case *ast.ParamList:
			add(n.Span(), 1)
		case *ast.ArgList:
			add(n.Span(), 1)
		case *ast.HeredocLit:
			add(n.Span(), 1)
		case *ast.RawStringLit:
			add(n.Span(), 0)
		case *ast.StringLit:
			add(n.Span(), 0)
		}
		return true
	})
	out = append(out, commentFolds(comments)...)
	slices.SortStableFunc(out, func(a, b Fold) int { return a.Start - b.Start })
	return out
}

// commentFolds joins comments of consecutive lines.
func commentFolds(comments []*ast.Comment) []Fold {
	slices.SortFunc(comments, func(a, b *ast.Comment) int { return a.Span().Start.Offset - b.Span().Start.Offset })
	var out []Fold
	for i := 0; i < len(comments); {
		j := i
		for j+1 < len(comments) && comments[j+1].Span().Start.Line == comments[j].Span().Start.Line+1 {
			j++
		}
		if j > i {
			out = append(out, Fold{comments[i].Span().Start.Line, comments[j].Span().Start.Line, true})
		}
		i = j + 1
	}
	return out
}
