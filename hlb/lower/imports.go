// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/lint"
	"github.com/openllb/hlb-operator/hlb/module"
	"github.com/openllb/hlb-operator/hlb/request"
	"github.com/openllb/hlb-operator/hlb/syntax"
)

// source is a module that was read and checked.
type source struct {
	info *check.Info
	name string // how messages call the file
	dir  module.Dir
	// uses are the modules it has taken members of.
	uses  []*source
	depth int // of imports from the program to here
}

// builtRoot is a filesystem that modules were read from, with the state it was built from. No two of them have the
// same name.
type builtRoot struct {
	module.Built
	state llb.State
	needs request.Needs
}

// loader reads modules, each file once.
type loader struct {
	files   map[string]*source
	homes   map[*check.Info]*source
	pending map[*ast.Import]bool
	trees   map[string]key // the filesystems read from, by name
}

func newLoader() *loader {
	return &loader{
		files:   map[string]*source{},
		homes:   map[*check.Info]*source{},
		pending: map[*ast.Import]bool{},
		trees:   map[string]key{},
	}
}

// treeName names the filesystem k in messages: as proposed, or with a number behind it if another has that name.
func (l *loader) treeName(proposed string, k key) string {
	name := proposed
	for i := 2; ; i++ {
		if other, taken := l.trees[name]; !taken || other == k {
			l.trees[name] = k
			return name
		}
		name = fmt.Sprintf("%s (%d)", proposed, i)
	}
}

// home returns the module that defines something.
func (l *loader) home(info *check.Info) (*source, error) {
	if m := l.homes[info]; m != nil {
		return m, nil
	}
	return nil, diag.Errorf(diag.Internal, diag.Span{}, "a definition has no module")
}

// parse checks the text of a module and remembers it.
func (e *evaluator) parse(name string, src []byte, dir module.Dir, depth int) (*source, diag.List) {
	info, found := lint.Program(name, src, syntax.Limits{MaxBytes: e.limits.SourceBytes})
	e.sources[name] = src
	e.reqBytes += len(src) // definitions have the texts of modules, and share them
	if found.HasErrors() {
		return nil, found
	}
	m := &source{info: info, name: name, dir: dir, depth: depth}
	e.modules.files[fileKey(dir.Root, name)] = m
	e.modules.homes[info] = m
	return m, found
}

// fileKey identifies a file across trees.
func fileKey(root module.Root, name string) string {
	if b, ok := root.(builtRoot); ok {
		return b.Name + "\x00" + name
	}
	return "\x00" + name
}

// resolveImport reads the module that an import stands for, when the first of its members is needed.
func (e *evaluator) resolveImport(in *source, imp *ast.Import, at diag.Span) error {
	if in.info.Imported(imp) != nil {
		return nil
	}
	if e.modules.pending[imp] {
		return diag.Errorf(diag.ImportCycle, at, "what %s imports depends on itself", imp.Name.Name).
			WithLabel(imp.Name.Span(), "imported here")
	}
	e.modules.pending[imp] = true
	defer delete(e.modules.pending, imp)
	if in.depth >= e.limits.ImportDepth {
		return diag.Errorf(LimitImportDepth, imp.Span(), "modules import modules deeper than %d", e.limits.ImportDepth)
	}
	v, err := e.expr(&env{mod: in}, imp.Operand, ast.String)
	if err != nil {
		return err
	}
	var m *source
	switch v := v.(type) {
	case text:
		m, err = e.importURI(in, imp, v.s)
	case *filesystem:
		m, err = e.importFS(in, imp, v)
	default:
		err = diag.Errorf(diag.WrongKind, imp.Operand.Span(), "an import is from a string or an fs")
	}
	if err != nil {
		return err
	}
	if chain := usesOf(m, in, map[*source]bool{}); chain != nil {
		return cycle(in, chain, imp)
	}
	in.uses = append(in.uses, m)
	if errs := in.info.Resolve(imp, m.info); errs.HasErrors() {
		return errs
	}
	return nil
}

// usesOf returns the chain of modules from m to target along what they use, nil if there is none.
func usesOf(m, target *source, seen map[*source]bool) []*source {
	if m == target {
		return []*source{m}
	}
	seen[m] = true
	for _, u := range m.uses {
		if seen[u] {
			continue
		}
		if chain := usesOf(u, target, seen); chain != nil {
			return append([]*source{m}, chain...)
		}
	}
	return nil
}

func cycle(in *source, chain []*source, imp *ast.Import) error {
	names := []string{in.name}
	for _, m := range chain {
		names = append(names, m.name)
	}
	return diag.Errorf(
		diag.ImportCycle,
		imp.Operand.Span(),
		"modules import each other in a circle: %s",
		strings.Join(names, " → "),
	)
}

// importURI imports from a path or a git repository.
func (e *evaluator) importURI(in *source, imp *ast.Import, operand string) (*source, error) {
	at := imp.Operand.Span()
	u, err := module.Parse(operand)
	var scheme *module.SchemeError
	if errors.As(err, &scheme) {
		return nil, diag.Errorf(diag.ImportScheme, at, "%v", err)
	}
	if err != nil {
		return nil, diag.Errorf(diag.Conversion, at, "%v", err)
	}
	if u.Scheme != "" {
		return e.importGit(in, imp, u)
	}
	name, err := in.dir.Resolve(u.Path)
	if err != nil {
		var outside *module.OutsideError
		if errors.As(err, &outside) {
			return nil, diag.Errorf(NotHere, at, "can't import: %v", err).
				WithHint("import by a path relative to the program, from git or from an image")
		}
		return nil, diag.Errorf(diag.ImportNotFound, at, "%v", err)
	}
	return e.importFile(in, imp, in.dir.Root, name, u.Path)
}

// importFile reads one file of a tree.
func (e *evaluator) importFile(in *source, imp *ast.Import, root module.Root, name, shown string) (*source, error) {
	display := root.Display(name)
	if m := e.modules.files[fileKey(root, display)]; m != nil {
		return m, nil
	}
	at := imp.Operand.Span()
	if len(e.modules.files) > e.limits.Imports {
		return nil, diag.Errorf(LimitImports, at, "the program reads more than %d modules", e.limits.Imports)
	}
	src, err := root.Read(e.ctx, name, e.limits.SourceBytes)
	var large *module.TooLargeError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, diag.Errorf(diag.ImportNotFound, at, "there is no file %s", shown).
			WithLabel(imp.Name.Span(), "imported as %s", imp.Name.Name)
	case errors.As(err, &large):
		return nil, diag.Errorf(diag.SourceTooLarge, at, "%v", err)
	case err != nil:
		if _, ok := root.(module.Machine); ok {
			return nil, diag.Errorf(diag.ImportNotFound, at, "can't read %s: %v", shown, reason(err))
		}
		return nil, e.failed(at, err, "can't read %s", shown)
	}
	if err := e.chargeText(len(src), at); err != nil {
		return nil, err
	}
	m, found := e.parse(display, src, module.Dir{Root: root, Path: path.Dir(name)}, in.depth+1)
	if m == nil {
		for _, d := range found {
			d.WithLabel(at, "imported here")
		}
		return nil, found
	}
	return m, nil // findings of the linter are for the module's own author
}

func (e *evaluator) importGit(in *source, imp *ast.Import, u module.URI) (*source, error) {
	at := imp.Operand.Span()
	if err := e.standalone(at, "import from git"); err != nil {
		return nil, err
	}
	ssh := u.Scheme == "git+ssh" || u.Scheme == "git" && !e.server() && e.opts.Host.Environ("SSH_AUTH_SOCK") != ""
	remote := u.Remote(ssh)
	st, needs, err := e.gitState(remote, u.Ref, at, []llb.GitOption{llb.KeepGitDir()})
	if err != nil {
		return nil, err
	}
	name := remote
	if u.Ref != "" {
		name += "@" + u.Ref
	}
	img := &image{out: st.Output(), meta: st, platform: e.platform, needs: needs}
	name = e.modules.treeName(name, e.keys.of("git module", remote, u.Ref))
	return e.importBuilt(in, imp, img, name, strings.TrimPrefix(u.File, "/"))
}

func (e *evaluator) importFS(in *source, imp *ast.Import, f *filesystem) (*source, error) {
	name := f.origin.imageRef
	if name == "" {
		name = "<" + imp.Name.Name + ">"
	}
	return e.importBuilt(in, imp, f.image, e.modules.treeName(name, f.k), module.FSFile)
}

// importBuilt solves a filesystem and reads a module out of it.
func (e *evaluator) importBuilt(in *source, imp *ast.Import, img *image, name, file string) (*source, error) {
	at := imp.Operand.Span()
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
	root := builtRoot{Built: module.Built{Ref: ref, Name: name}, state: img.state(), needs: img.needs}
	clean, err := root.Resolve(".", file)
	if err != nil {
		return nil, diag.Errorf(diag.ImportNotFound, at, "%v", err)
	}
	return e.importFile(in, imp, root, clean, file)
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
	res, err := e.opts.Solver.Solve(e.ctx, req)
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
