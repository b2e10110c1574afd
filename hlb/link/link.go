// SPDX-License-Identifier: Apache-2.0

// Package link reads the modules that a program imports from files and checks what the program uses of them, without
// evaluating anything. Modules in filesystems and repositories need a daemon; they are left to the evaluator.
package link

import (
	"context"
	"errors"

	"github.com/openllb/hlb-operator/hlb/analyze"
	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/module"
	"github.com/openllb/hlb-operator/hlb/syntax"
)

// maxModules and maxDepth bound the modules that one program may read, as those of a compile on a user's machine are.
const (
	maxModules = 1000
	maxDepth   = 100
)

// Linked is the result of Files.
type Linked struct {
	Sources map[string][]byte // text of each module, by the file name its spans carry
	Unread  []*ast.Import     // imports whose module isn't a file, or whose path isn't known without evaluating
}

// Files resolves the imports of info that are files, and those of the modules they name, as far as something uses
// them. dir is the directory of the file info was made from. Warnings about imported modules are for their authors
// and left out.
func Files(ctx context.Context, info *check.Info, dir module.Dir, limits syntax.Limits) (*Linked, diag.List) {
	l := newLinker(ctx, limits)
	l.module(l.loader.Add(info, info.Module.File, dir))
	return &l.out, l.errs
}

// Editor does what Files does, and resolves imports of info that nothing uses yet, so that their members can be
// offered. What is wrong with those is left out.
func Editor(ctx context.Context, info *check.Info, dir module.Dir, limits syntax.Limits) (*Linked, diag.List) {
	l := newLinker(ctx, limits)
	m := l.loader.Add(info, info.Module.File, dir)
	l.module(m)
	errs := l.errs
	for _, d := range info.Module.Decls {
		if imp, ok := d.(*ast.Import); ok {
			l.link(m, imp)
		}
	}
	return &l.out, errs
}

func newLinker(ctx context.Context, limits syntax.Limits) *linker {
	loader := module.NewLoader(module.Limits{
		Bytes: limits.WithDefaults().MaxBytes, Modules: maxModules, Depth: maxDepth,
	})
	return &linker{
		ctx: ctx, loader: loader, linked: map[*module.Module]bool{}, tried: map[*ast.Import]bool{},
		out: Linked{Sources: loader.Sources},
	}
}

type linker struct {
	ctx    context.Context
	loader *module.Loader
	linked map[*module.Module]bool // modules whose imports were resolved or are being so
	tried  map[*ast.Import]bool    // imports that were resolved, or can't be
	out    Linked
	errs   diag.List
}

// module resolves the imports of a module, once.
func (l *linker) module(m *module.Module) {
	if l.linked[m] {
		return
	}
	l.linked[m] = true
	for _, imp := range m.Info.Imports() {
		l.link(m, imp)
	}
}

// link resolves one import, after those its operand makes use of, and then the imports of the module it stands for.
func (l *linker) link(in *module.Module, imp *ast.Import) {
	if l.tried[imp] {
		return
	}
	var m *module.Module
	err := l.loader.Import(in, imp, imp.Operand.Span(), func() (_ *module.Module, err error) {
		m, err = l.find(in, imp)
		return m, err
	})
	l.tried[imp] = true
	if err != nil {
		l.errs = append(l.errs, diag.ListOf(err)...)
	}
	if m != nil {
		l.module(m)
	}
}

// find returns the module that an import of in stands for. It is nil, without an error, if only evaluation finds it, or
// if its errors were reported before.
func (l *linker) find(in *module.Module, imp *ast.Import) (*module.Module, error) {
	for _, other := range importsIn(in.Info, imp.Operand) {
		l.link(in, other)
	}
	operand := analyze.Text(in.Info, imp.Operand)
	if !operand.Known {
		l.out.Unread = append(l.out.Unread, imp)
		return nil, nil
	}
	uri, err := module.Operand(imp, operand.Text)
	if err != nil {
		return nil, err
	}
	if uri.Scheme != "" {
		l.out.Unread = append(l.out.Unread, imp)
		return nil, nil
	}
	m, err := l.loader.File(l.ctx, in, imp, uri.Path)
	var outside *module.OutsideError
	var failed *module.ReadError
	if errors.As(err, &outside) || errors.As(err, &failed) {
		err = diag.Errorf(diag.ImportNotFound, imp.Operand.Span(), "%v", err)
	}
	return m, err
}

// importsIn returns the imports that e uses members of.
func importsIn(info *check.Info, e ast.Expr) []*ast.Import {
	var used []*ast.Import
	ast.Inspect(e, func(n ast.Node) bool {
		if name, ok := n.(*ast.Name); ok && name.Member != nil {
			if o := info.Scope[name.Ident.Name]; o != nil && o.Import != nil {
				used = append(used, o.Import)
			}
		}
		return true
	})
	return used
}
