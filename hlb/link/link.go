// SPDX-License-Identifier: Apache-2.0

// Package link reads the modules that a program imports from files and checks what the program uses of them, without
// evaluating anything but where filesystems come from. Modules of repositories and filesystems are read where they are
// vendored, and those of directories; others need a daemon and are left to the evaluator.
package link

import (
	"context"
	"errors"
	"io/fs"
	"strings"

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

// Options direct Files. The zero value is good for a check.
type Options struct {
	Limits syntax.Limits
	// Vendor has the vendored modules, nil if there are none.
	Vendor *module.Vendor
	// Remote returns the files that an import is from whose operand is an fs, as lower.RemoteRoots does, and false if
	// there is no way to read them. Nil reads none.
	Remote func(context.Context, *module.Loader, *module.Module, *ast.Import) (module.Root, bool)
	// Unused resolves imports of the program that nothing uses yet, so that an editor can offer their members. What is
	// wrong with those is left out.
	Unused bool
	// Wrong says that the check of the program found errors. Only imports that are texts are resolved then: others
	// can't be evaluated.
	Wrong bool
}

// Files resolves the imports of info that are files, and those of the modules they name, as far as something uses
// them. dir is the directory of the file info was made from. Warnings about imported modules are for their authors
// and left out.
func Files(ctx context.Context, info *check.Info, dir module.Dir, opts Options) (*Linked, diag.List) {
	l := newLinker(ctx, opts)
	m := l.loader.Add(info, info.Module.File, dir)
	l.module(m)
	errs := l.errs
	if !opts.Unused {
		return &l.out, errs
	}
	for _, d := range info.Module.Decls {
		if imp, ok := d.(*ast.Import); ok {
			l.link(m, imp)
		}
	}
	return &l.out, errs
}

func newLinker(ctx context.Context, opts Options) *linker {
	loader := module.NewLoader(module.Limits{
		Bytes: opts.Limits.WithDefaults().MaxBytes, Modules: maxModules, Depth: maxDepth,
	})
	return &linker{
		ctx: ctx, vendor: opts.Vendor, remote: opts.Remote, wrong: opts.Wrong, loader: loader,
		linked: map[*module.Module]bool{}, tried: map[*ast.Import]bool{}, out: Linked{Sources: loader.Sources},
	}
}

type linker struct {
	ctx    context.Context
	vendor *module.Vendor
	remote func(context.Context, *module.Loader, *module.Module, *ast.Import) (module.Root, bool)
	wrong  bool
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
	operand := l.operand(in, imp)
	if !operand.Known {
		return l.filesystem(in, imp)
	}
	uri, err := module.Operand(imp, operand.Text)
	if err != nil {
		return nil, err
	}
	if uri.Scheme != "" {
		return l.vendored(in, imp, uri)
	}
	m, err := l.loader.File(l.ctx, in, imp, uri.Path)
	var outside *module.OutsideError
	var failed *module.ReadError
	if errors.As(err, &outside) || errors.As(err, &failed) {
		err = diag.Errorf(diag.ImportNotFound, imp.Operand.Span(), "%v", err)
	}
	return m, err
}

// operand returns the text that says where the module of an import is, as far as it can be known.
func (l *linker) operand(in *module.Module, imp *ast.Import) analyze.Value {
	if l.wrong {
		text, known := ast.ConstText(imp.Operand)
		return analyze.Value{Text: text, Known: known}
	}
	for _, other := range importsIn(in.Info, imp.Operand) {
		l.link(in, other)
	}
	return analyze.Text(in.Info, imp.Operand)
}

// unread leaves an import to the evaluator.
func (l *linker) unread(imp *ast.Import) (*module.Module, error) {
	l.out.Unread = append(l.out.Unread, imp)
	return nil, nil
}

// filesystem returns the module of a filesystem that is vendored or a directory; another one is not read.
func (l *linker) filesystem(in *module.Module, imp *ast.Import) (*module.Module, error) {
	for _, other := range importsIn(in.Info, imp.Operand) {
		if in.Info.Imported(other) == nil {
			return l.unread(imp)
		}
	}
	if l.remote == nil || l.wrong {
		return l.unread(imp)
	}
	root, ok := l.remote(l.ctx, l.loader, in, imp)
	if !ok {
		return l.unread(imp)
	}
	return l.read(in, imp, root, module.FSFile)
}

// vendored returns a module of a repository that is vendored; one that isn't is not read.
func (l *linker) vendored(in *module.Module, imp *ast.Import, uri module.URI) (*module.Module, error) {
	if l.vendor == nil {
		return l.unread(imp)
	}
	root := module.Vendored{Vendor: l.vendor, ID: uri.Digest(), Name: uri.Host + uri.Path}
	return l.read(in, imp, root, strings.TrimPrefix(uri.File, "/"))
}

// read returns a module of a filesystem or repository. One that isn't vendored is not read.
func (l *linker) read(in *module.Module, imp *ast.Import, root module.Root, file string) (*module.Module, error) {
	at := imp.Operand.Span()
	clean, err := root.Resolve(".", file)
	if err != nil {
		return l.unread(imp)
	}
	_, vendored := root.(module.Vendored)
	if _, err := root.Read(l.ctx, clean, 0); vendored && errors.Is(err, fs.ErrNotExist) {
		return l.unread(imp)
	}
	m, err := l.loader.FileIn(l.ctx, in, imp, root, clean, file)
	var changed *module.ChecksumError
	var failed *module.ReadError
	switch {
	case errors.As(err, &changed):
		err = diag.Errorf(diag.ModuleChecksum, at, "%v", changed).
			WithHint("restore it, or run `hlb module vendor` to have what is there now")
	case errors.As(err, &failed):
		err = diag.Errorf(diag.ImportNotFound, at, "%v", failed)
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
