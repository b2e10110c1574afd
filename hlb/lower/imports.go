// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/module"
	"github.com/openllb/hlb-operator/hlb/request"
)

// modules are the modules of one compile.
type modules struct {
	*module.Loader
	vendoring
	trees map[string]key // the filesystems read from, by name
	// counted are those whose text counts among the strings.
	counted map[*module.Module]bool
}

func newModules(limits Limits) *modules {
	return &modules{
		Loader: module.NewLoader(module.Limits{
			Bytes: limits.SourceBytes, Modules: limits.Imports, Depth: limits.ImportDepth,
		}),
		trees: map[string]key{}, counted: map[*module.Module]bool{},
	}
}

// treeName names the filesystem k in messages: as proposed, or with a number behind it if another has that name.
func (m *modules) treeName(proposed string, k key) string {
	name := proposed
	for i := 2; ; i++ {
		if other, taken := m.trees[name]; !taken || other == k {
			m.trees[name] = k
			return name
		}
		name = fmt.Sprintf("%s (%d)", proposed, i)
	}
}

// resolveImport reads the module that an import stands for, when the first of its members is needed.
func (e *evaluator) resolveImport(in *module.Module, imp *ast.Import, at diag.Span) error {
	return e.modules.Import(in, imp, at, func() (*module.Module, error) {
		v, unresolved, err := e.operand(in, imp)
		if err != nil {
			return nil, err
		}
		switch v := v.(type) {
		case text:
			return e.importURI(in, imp, v.s)
		case *filesystem:
			return e.importFS(in, imp, v, unresolved)
		default:
			return nil, diag.Errorf(diag.WrongKind, imp.Operand.Span(), "an import is from a string or an fs")
		}
	})
}

// importURI imports from a path or a git repository.
func (e *evaluator) importURI(in *module.Module, imp *ast.Import, operand string) (*module.Module, error) {
	u, err := module.Operand(imp, operand)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "" {
		return e.importGit(in, imp, u)
	}
	m, err := e.modules.File(e.ctx, in, imp, u.Path)
	return e.imported(m, imp, err)
}

// imported counts the text of a module that the loader has read, or makes a diagnostic of its error.
func (e *evaluator) imported(m *module.Module, imp *ast.Import, err error) (*module.Module, error) {
	if err != nil {
		return nil, e.importError(imp, err)
	}
	if m == nil || e.modules.counted[m] {
		return m, nil
	}
	e.modules.counted[m] = true
	size := len(e.modules.Sources[m.Name])
	e.reqBytes += size // definitions have the texts of modules, and share them
	return m, e.chargeText(size, imp.Operand.Span())
}

// importError makes a diagnostic of an error of the loader.
func (e *evaluator) importError(imp *ast.Import, err error) error {
	at := imp.Operand.Span()
	var outside *module.OutsideError
	if errors.As(err, &outside) {
		return diag.Errorf(NotHere, at, "can't import: %v", err).
			WithHint("import by a path relative to the program, from git or from an image")
	}
	var changed *module.ChecksumError
	if errors.As(err, &changed) {
		return diag.Errorf(ModuleChecksum, at, "%v", changed).
			WithHint("restore it, or run `hlb module vendor` to have what is there now")
	}
	var failed *module.ReadError
	if errors.As(err, &failed) {
		return e.failed(at, failed.Err, "can't read %s", failed.Path)
	}
	return err
}

func (e *evaluator) importGit(in *module.Module, imp *ast.Import, u module.URI) (*module.Module, error) {
	at := imp.Operand.Span()
	ssh := u.Scheme == "git+ssh" || u.Scheme == "git" && !e.server() && e.opts.Host.Environ("SSH_AUTH_SOCK") != ""
	remote := u.Remote(ssh)
	name := remote
	if u.Ref != "" {
		name += "@" + u.Ref
	}
	name = e.modules.treeName(name, e.keys.of("git module", remote, u.Ref))
	from := e.modules.remote(u.Digest(), func() (*image, error) {
		if err := e.standalone(at, "import from git"); err != nil {
			return nil, err
		}
		st, needs, err := e.gitState(remote, u.Ref, at, []llb.GitOption{llb.KeepGitDir()})
		if err != nil {
			return nil, err
		}
		return &image{out: st.Output(), meta: st, platform: e.platform, needs: needs}, nil
	})
	return e.importRemote(in, imp, from, name, strings.TrimPrefix(u.File, "/"))
}

func (e *evaluator) importFS(
	in *module.Module, imp *ast.Import, f *filesystem, unresolved bool,
) (*module.Module, error) {
	name := f.origin.imageRef
	if name == "" {
		name = "<" + imp.Name.Name + ">"
	}
	from, err := e.remoteFS(in, imp, f, unresolved)
	if err != nil {
		return nil, err
	}
	if f.origin.localDir != "" {
		root := localRoot{module.Local{Path: f.origin.localDir}, from}
		m, err := e.modules.FileIn(e.ctx, in, imp, root, module.FSFile, module.FSFile)
		return e.imported(m, imp, err)
	}
	return e.importRemote(in, imp, from, e.modules.treeName(name, f.k), module.FSFile)
}

// importRemote reads a module out of a filesystem: a vendored one, or one that is solved now.
func (e *evaluator) importRemote(
	in *module.Module, imp *ast.Import, from *remote, name, file string,
) (*module.Module, error) {
	at := imp.Operand.Span()
	if m, found, err := e.importVendored(in, imp, from, name, file); found || err != nil {
		return m, err
	}
	img, err := from.image()
	if err != nil {
		return nil, err
	}
	s, err := e.solveOf(img, at)
	if err != nil {
		return nil, err
	}
	if s.Empty() {
		return nil, diag.Errorf(diag.ImportNotFound, at, "there is no file %s: the filesystem is empty", file)
	}
	ref, err := e.solveNow(at, s.Needs, gateway.SolveRequest{Definition: s.Definition.ToPB()})
	if err != nil {
		return nil, err
	}
	root := builtRoot{module.Built{Ref: ref, Name: name}, from}
	clean, err := root.Resolve(".", file)
	if err != nil {
		return nil, diag.Errorf(diag.ImportNotFound, at, "%v", err)
	}
	m, err := e.modules.FileIn(e.ctx, in, imp, root, clean, file)
	return e.imported(m, imp, err)
}

// solveNow solves while compiling.
func (e *evaluator) solveNow(at diag.Span, needs request.Needs, req gateway.SolveRequest) (gateway.Reference, error) {
	res, err := e.solveResult(at, needs, req)
	if err != nil {
		return nil, err
	}
	ref, err := res.SingleRef()
	if err == nil && ref == nil {
		err = errors.New("the result is empty")
	}
	if err != nil {
		return nil, e.conversion(Lookup, at, "%v", err)
	}
	return ref, nil
}

func (e *evaluator) solveResult(at diag.Span, needs request.Needs, req gateway.SolveRequest) (*gateway.Result, error) {
	if e.opts.Solver == nil {
		return nil, diag.Errorf(NeedsDaemon, at, "this is built while compiling, which needs a daemon").
			WithHint("compile with a daemon at hand, not offline")
	}
	if s, ok := e.opts.Solver.(NeedsSolver); ok {
		if err := s.Need(needs); err != nil {
			return nil, e.conversion(Lookup, at, "%v", err)
		}
	}
	e.noteMounts(e.opts.Solver)
	resume := e.wall.stop()
	res, err := e.opts.Solver.Solve(e.ctx, req)
	resume()
	if err != nil {
		return nil, e.failed(at, err, "can't build this while compiling")
	}
	return res, nil
}

// contextRoot reads modules from the build's context, for servers whose programs come with no files of their own.
type contextRoot struct {
	module.Tree
	e   *evaluator
	ref gateway.Reference
}

// Read implements module.Root.
func (r *contextRoot) Read(ctx context.Context, name string, limit int) ([]byte, error) {
	if r.ref == nil {
		img := &image{
			out:      r.e.opts.Context.Output(),
			meta:     *r.e.opts.Context,
			platform: r.e.platform,
			needs:    r.e.opts.ContextNeeds,
		}
		s, err := r.e.solveOf(img, diag.Span{})
		if err != nil {
			return nil, err
		}
		if r.ref, err = r.e.solveNow(diag.Span{}, s.Needs,
			gateway.SolveRequest{Definition: s.Definition.ToPB()}); err != nil {
			return nil, err
		}
	}
	return module.Built{Ref: r.ref}.Read(ctx, name, limit)
}

// programDir is the directory that the program's own paths start from.
func (e *evaluator) programDir(p Program) module.Dir {
	switch {
	case p.Files != nil:
		return module.Dir{Root: module.Tree{FS: p.Files}, Path: path.Dir(p.Filename)}
	case !e.server():
		dir := path.Dir(p.Filename)
		if strings.HasPrefix(p.Filename, "<") {
			dir = "."
		}
		return module.Dir{Root: module.Machine{HomeDir: e.opts.Host.Home}, Path: dir}
	case e.opts.Context != nil && e.opts.Solver != nil:
		dir := path.Dir(p.Filename)
		if e.opts.ContextApart { // the program's name says nothing about places in it
			dir = "."
		}
		return module.Dir{Root: &contextRoot{e: e}, Path: dir}
	}
	return module.Dir{Root: module.Tree{}, Path: path.Dir(p.Filename)}
}
