// SPDX-License-Identifier: Apache-2.0

// Package query answers what an editor asks about a program: what is wrong, what a name means and where else it is
// used, what can be written at a place. A File is a snapshot: one text with all that is known of it. Queries are pure
// functions of files, and none fails on a program that is half written.
//
// Places are offsets in bytes. Which lines and columns an editor counts is the business of package lsp.
package query

import (
	"context"
	"slices"
	"sync"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/link"
	"github.com/openllb/hlb-operator/hlb/lint"
	"github.com/openllb/hlb-operator/hlb/module"
	"github.com/openllb/hlb-operator/hlb/syntax"
)

// File is one program or module as an editor has it. It does not change once Link returned, and may then be used by
// many at once; one of an Editing only until the next version is analyzed.
type File struct {
	Name   string // that spans carry
	Source []byte
	// Found is what to show: errors, warnings and advice. Behind the first syntax error nothing else is known for
	// sure, so that there are no others.
	Found diag.List

	broken  bool // it does not parse
	imports bool // it has some
	info    func() *check.Info
	names   func() []Name
	tokens  func() []syntax.Token
}

// Analyze reads a file.
func Analyze(name string, src []byte) *File {
	f, _ := wholly(name, src)
	return f
}

// wholly reads a file. The tree is nil if it does not parse.
func wholly(name string, src []byte) (*File, *tree) {
	mod, errs := syntax.Parse(name, src, syntax.Limits{})
	if len(errs) > 0 {
		f := brokenFile(name, src, errs, func() *ast.Module { return mod })
		f.imports = hasImports(mod)
		return f, nil
	}
	fixed, warnings := lint.Fix(mod)
	t := &tree{mod: fixed, units: make([]unit, len(fixed.Decls))}
	t.warn(warnings)
	t.check()
	return t.file(), t
}

func hasImports(mod *ast.Module) bool {
	return slices.ContainsFunc(mod.Decls, func(d ast.Decl) bool { _, ok := d.(*ast.Import); return ok })
}

// brokenFile is one that does not parse. The tree is only made if something asks for it.
func brokenFile(name string, src []byte, errs diag.List, parsed func() *ast.Module) *File {
	f := newFile(name, src, errs, func() *check.Info {
		fixed, _ := lint.Fix(parsed())
		return check.Partial(fixed)
	})
	f.broken = true
	return f
}

func newFile(name string, src []byte, found diag.List, info func() *check.Info) *File {
	f := &File{Name: name, Source: src, Found: found, info: sync.OnceValue(info)}
	f.names = sync.OnceValue(func() []Name { return namesOf(f) })
	f.tokens = sync.OnceValue(func() []syntax.Token { return syntax.Scan(f.Source, syntax.Limits{}) })
	return f
}

// Info is what checking found out. It is never nil; of a program that is wrong it knows what the rest tells.
func (f *File) Info() *check.Info { return f.info() }

// Link reads the modules that the file imports from other files, and adds what is wrong with those that it uses. dir is
// the directory that its imports start from, opts say where those are that are no files. It must be called once at
// most, before any query.
func (f *File) Link(ctx context.Context, dir module.Dir, opts link.Options) {
	if !f.imports {
		return
	}
	opts.Unused = true
	if f.Found.HasErrors() { // imports are only read to tell what members mean, so that it has time
		info := f.info
		opts.Wrong = true
		f.info = sync.OnceValue(func() *check.Info {
			_, _ = link.Files(context.WithoutCancel(ctx), info(), dir, opts) // its own errors matter more
			return info()
		})
		return
	}
	_, errs := link.Files(ctx, f.Info(), dir, opts)
	f.Found = append(f.Found, errs...)
	f.Found.Sort()
}

// Module returns the tree of the file, with deprecated forms replaced.
func (f *File) Module() *ast.Module { return f.Info().Module }

// covers reports whether an offset is in a span or right behind it.
func covers(s diag.Span, offset int) bool {
	return s.Start.Offset <= offset && offset <= s.End.Offset && s.IsValid()
}

// text returns the source of a span of this file.
func (f *File) text(s diag.Span) string { return string(f.Source[s.Start.Offset:s.End.Offset]) }

// HasImports reports whether the file imports anything.
func (f *File) HasImports() bool { return f.imports }
