// SPDX-License-Identifier: Apache-2.0

// Package link reads the modules that a program imports from files and checks what the program uses of them, without
// evaluating anything. Modules in filesystems and repositories need a daemon; they are left to the evaluator.
package link

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/openllb/hlb-operator/hlb/analyze"
	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/lint"
	"github.com/openllb/hlb-operator/hlb/module"
	"github.com/openllb/hlb-operator/hlb/syntax"
)

// maxModules bounds how many files one program may pull in.
const maxModules = 1000

// Linked is what Files has read.
type Linked struct {
	Sources map[string][]byte // text of each module, by the file name its spans carry
	Unread  []*ast.Import     // imports whose module isn't a file, or whose path isn't known without evaluating
}

// Files resolves the imports of info that are files, and those of the modules they name, as far as something uses
// them. dir is the directory of the file info was made from. Warnings about imported modules are for their authors
// and left out.
func Files(ctx context.Context, info *check.Info, dir module.Dir, limits syntax.Limits) (*Linked, diag.List) {
	l := &linker{ctx: ctx, limits: limits, modules: map[string]*unit{}, pending: map[*ast.Import]bool{}}
	l.out.Sources = map[string][]byte{}
	l.unit(&unit{info: info, dir: dir, name: info.Module.File})
	return &l.out, l.errs
}

// unit is one module.
type unit struct {
	info *check.Info // nil if it doesn't check
	dir  module.Dir
	name string
	open bool // its imports are being resolved
}

type linker struct {
	ctx     context.Context
	limits  syntax.Limits
	modules map[string]*unit // by file name
	pending map[*ast.Import]bool
	chain   []string // names of the open units
	out     Linked
	errs    diag.List
}

func (l *linker) unit(u *unit) {
	u.open = true
	l.chain = append(l.chain, u.name)
	for _, imp := range u.info.Imports() {
		l.link(u, imp)
	}
	l.chain = l.chain[:len(l.chain)-1]
	u.open = false
}

// link resolves one import, after those its operand makes use of.
func (l *linker) link(u *unit, imp *ast.Import) {
	if u.info.Imported(imp) != nil {
		return
	}
	if l.pending[imp] {
		l.errs = append(
			l.errs,
			diag.Errorf(diag.ImportCycle, imp.Operand.Span(), "what `%s` imports depends on itself", imp.Name.Name),
		)
		return
	}
	l.pending[imp] = true
	for _, other := range importsIn(u.info, imp.Operand) {
		l.link(u, other)
	}
	path := analyze.Text(u.info, imp.Operand)
	if !path.Known {
		l.out.Unread = append(l.out.Unread, imp)
		return
	}
	lib, err := l.read(u, imp, path.Text)
	switch {
	case err != nil:
		l.errs = append(l.errs, err)
	case lib == nil:
		l.out.Unread = append(l.out.Unread, imp)
	case lib.open:
		chain := strings.Join(append(l.chain, lib.name), " → ")
		l.errs = append(
			l.errs,
			diag.Errorf(diag.ImportCycle, imp.Operand.Span(), "modules import each other in a circle: %s", chain),
		)
	case lib.info != nil:
		l.errs = append(l.errs, u.info.Resolve(imp, lib.info)...)
	}
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

// read returns the module at a path, with its own imports resolved. It is nil, without an error, if the path isn't
// one of a file.
func (l *linker) read(u *unit, imp *ast.Import, operand string) (*unit, *diag.Diagnostic) {
	at := imp.Operand.Span()
	uri, err := module.Parse(operand)
	var scheme *module.SchemeError
	switch {
	case errors.As(err, &scheme):
		return nil, diag.Errorf(diag.ImportScheme, at, "%v", err)
	case err != nil:
		return nil, diag.Errorf(diag.Conversion, at, "%v", err)
	case uri.Scheme != "":
		return nil, nil
	}
	file, err := u.dir.Resolve(uri.Path)
	if err != nil {
		return nil, diag.Errorf(diag.ImportNotFound, at, "%v", err)
	}
	name := u.dir.Root.Display(file)
	if lib := l.modules[name]; lib != nil {
		return lib, nil
	}
	if name == l.chain[0] {
		return &unit{name: name, open: true}, nil // the program itself
	}
	if len(l.modules) >= maxModules {
		return nil, diag.Errorf(diag.SourceTooLarge, at, "the program imports more than %d modules", maxModules)
	}
	src, err := u.dir.Root.Read(l.ctx, file, l.limits.WithDefaults().MaxBytes)
	var large *module.TooLargeError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, diag.Errorf(diag.ImportNotFound, at, "there is no file %s", uri.Path)
	case errors.As(err, &large):
		return nil, diag.Errorf(diag.SourceTooLarge, at, "%v", err)
	case err != nil:
		return nil, diag.Errorf(diag.ImportNotFound, at, "can't read %s: %v", uri.Path, err)
	}
	return l.parse(name, src, module.Dir{Root: u.dir.Root, Path: path.Dir(file)}, at), nil
}

func (l *linker) parse(name string, src []byte, dir module.Dir, at diag.Span) *unit {
	lib := &unit{dir: dir, name: name}
	l.modules[name] = lib
	l.out.Sources[name] = src
	info, found := lint.Program(name, src, l.limits)
	for _, d := range found {
		if d.Severity == diag.Error {
			l.errs = append(l.errs, d.WithLabel(at, "imported here"))
		}
	}
	if !found.HasErrors() {
		lib.info = info
		l.unit(lib)
	}
	return lib
}
