// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/opencontainers/go-digest"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/module"
)

// remote is a filesystem or repository that modules are read from.
type remote struct {
	id    digest.Digest     // "" for one that can't be vendored
	files map[string][]byte // texts of the modules read, by path
	build func() (*image, error)
	built *image // what build returned, nil before
}

// image is the filesystem itself, evaluated when it is first needed.
func (r *remote) image() (*image, error) {
	if r.built != nil {
		return r.built, nil
	}
	img, err := r.build()
	r.built = img
	return img, err
}

// remoteRoot is a root of modules that come from a remote.
type remoteRoot interface {
	remote() *remote
}

// builtRoot is a remote that a daemon has built. No two of them have the same name.
type builtRoot struct {
	module.Built
	of *remote
}

func (r builtRoot) remote() *remote { return r.of }

// Read implements module.Root and remembers what was read.
func (r builtRoot) Read(ctx context.Context, name string, limit int) ([]byte, error) {
	text, err := r.Built.Read(ctx, name, limit)
	return r.of.keep(name, text, err)
}

// vendoredRoot is a remote whose modules are vendored.
type vendoredRoot struct {
	module.Vendored
	of *remote
}

func (r vendoredRoot) remote() *remote { return r.of }

// Read implements module.Root and remembers what was read.
func (r vendoredRoot) Read(ctx context.Context, name string, limit int) ([]byte, error) {
	text, err := r.Vendored.Read(ctx, name, limit)
	return r.of.keep(name, text, err)
}

// localRoot is a directory of this machine that modules come from as from any other filesystem.
type localRoot struct {
	module.Local
	of *remote
}

func (r localRoot) remote() *remote { return r.of }

// keep passes on what was read from the file name, and remembers it.
func (r *remote) keep(name string, text []byte, err error) ([]byte, error) {
	if err == nil {
		r.files[name] = text
	}
	return text, err
}

// vendoring is what one compile knows of remotes.
type vendoring struct {
	remotes map[digest.Digest]*remote // by id; nil before the first
	vendor  *module.Vendor            // nil where there are no vendored modules
}

// remote returns the remote with this id, which all its imports share; build evaluates it.
func (v *vendoring) remote(id digest.Digest, build func() (*image, error)) *remote {
	if r := v.remotes[id]; r != nil {
		return r
	}
	r := &remote{id: id, files: map[string][]byte{}, build: build}
	if v.remotes == nil {
		v.remotes = map[digest.Digest]*remote{}
	}
	if id != "" {
		v.remotes[id] = r
	}
	return r
}

// vendorOf is where the vendored modules of a program with this root are, nil for nowhere.
func vendorOf(opts Options, root module.Root) *module.Vendor {
	if module.IsMachine(root) || opts.Vendor != nil {
		return opts.Vendor
	}
	return &module.Vendor{Dir: module.Dir{Root: root, Path: module.VendorDir}}
}

// importVendored reads a module that is vendored. It reports false, without an error, if it isn't and need not be.
func (e *evaluator) importVendored(
	in *module.Module, imp *ast.Import, from *remote, name, file string,
) (*module.Module, bool, error) {
	v := e.modules.vendor
	if v == nil || from.id == "" {
		return nil, false, nil
	}
	at := imp.Operand.Span()
	root := vendoredRoot{module.Vendored{Vendor: v, ID: from.id, Name: name}, from}
	clean, err := root.Resolve(".", file)
	if err != nil {
		return nil, false, diag.Errorf(diag.ImportNotFound, at, "%v", err)
	}
	complete, err := v.Complete(e.ctx)
	if err != nil {
		return nil, false, e.failed(at, err, "can't read the vendored modules")
	}
	if _, err := root.Read(e.ctx, clean, e.limits.SourceBytes); errors.Is(err, fs.ErrNotExist) {
		if !complete {
			return nil, false, nil
		}
		return nil, false, diag.Errorf(NotVendored, at, "`%s` is not among the vendored modules: there is no %s",
			imp.Name.Name, path.Join(module.VendorDir, module.VendorPath(from.id), clean)).
			WithHint("run `hlb module vendor`")
	}
	m, err := e.modules.FileIn(e.ctx, in, imp, root, clean, file)
	m, err = e.imported(m, imp, err)
	return m, true, err
}

// operand evaluates the operand of an import without looking image configs up, which takes a network. If that fails,
// it is evaluated with them, and reports false.
func (e *evaluator) operand(in *module.Module, imp *ast.Import) (v value, unresolved bool, err error) {
	reached := e.reached
	e.lazyImages++
	v, err = e.expr(&env{mod: in}, imp.Operand, ast.String)
	e.lazyImages--
	if err == nil {
		if _, ok := v.(*filesystem); ok {
			e.reached = reached // its exports are not what they would be with configs
		}
		return v, true, nil
	}
	v, err = e.expr(&env{mod: in}, imp.Operand, ast.String)
	return v, false, err
}

// RemoteRoots returns, for programs with the vendored modules, nil for none, what finds the files that an import of in
// is from where that takes no daemon: a vendored filesystem, or a directory of this machine. Nothing is evaluated but
// the operand. loader has the modules that it uses.
func RemoteRoots(vendor *module.Vendor) func(
	context.Context, *module.Loader, *module.Module, *ast.Import,
) (module.Root, bool) {
	return func(ctx context.Context, loader *module.Loader, in *module.Module, imp *ast.Import) (module.Root, bool) {
		return filesOfImport(ctx, loader, in, imp, Options{Vendor: vendor})
	}
}

func filesOfImport(
	ctx context.Context, loader *module.Loader, in *module.Module, imp *ast.Import, opts Options,
) (module.Root, bool) {
	opts = opts.withDefaults()
	ctx, wall, cancel := withWall(ctx, opts.Limits.withDefaults(opts.Profile).Wall)
	defer cancel()
	e := newEvaluator(ctx, wall, opts)
	e.uniqueID = e.ids()
	e.modules.Loader = loader
	v, unresolved, err := e.operand(in, imp)
	f, ok := v.(*filesystem)
	if err != nil || !ok {
		return nil, false
	}
	if f.origin.localDir != "" {
		return module.Local{Path: f.origin.localDir}, true
	}
	from, err := e.remoteFS(in, imp, f, unresolved)
	if err != nil || from.id == "" || opts.Vendor == nil {
		return nil, false
	}
	name := f.origin.imageRef
	if name == "" {
		name = fmt.Sprintf("<%s %.12s>", imp.Name.Name, from.id.Encoded())
	}
	return module.Vendored{Vendor: opts.Vendor, ID: from.id, Name: name}, true
}

// remoteFS returns the remote that an import of the filesystem f is. Its id is that of its last build step, for which
// no image config was looked up, so that it is the same with and without a network. A directory beside the program has
// none: it is there anyway, and its step differs from machine to machine.
func (e *evaluator) remoteFS(in *module.Module, imp *ast.Import, f *filesystem, unresolved bool) (*remote, error) {
	var id digest.Digest
	if unresolved && !f.origin.beside {
		s, err := e.solveOf(f.image, imp.Operand.Span())
		if err != nil {
			return nil, err
		}
		id = s.Head()
	}
	return e.modules.remote(id, func() (*image, error) {
		v, err := e.expr(&env{mod: in}, imp.Operand, ast.String)
		if err != nil {
			return nil, err
		}
		return v.(*filesystem).image, nil
	}), nil
}
