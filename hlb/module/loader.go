// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/lint"
	"github.com/openllb/hlb-operator/hlb/syntax"
)

// Limits bound the modules of one program.
type Limits struct {
	Bytes   int // of one module's text
	Modules int // that are read, besides the program itself
	Depth   int // of modules that import modules
}

// Module is a module that was read and checked.
type Module struct {
	Info *check.Info
	// Name is the name of its file in messages.
	Name string
	// Dir is where its own paths start.
	Dir Dir

	uses  []*Module // that imports of it were resolved to
	depth int       // of imports from the program to here
}

// Loader reads the modules of one program, each file once, and refuses those that import each other. Its errors are
// diagnostics but where a method names others.
type Loader struct {
	// Sources are the texts of the files read, by the name that their spans have.
	Sources map[string][]byte

	limits  Limits
	files   map[fileKey]*Module // nil for a file that does not check
	homes   map[*check.Info]*Module
	pending map[*ast.Import]bool
}

// fileKey identifies a file: tree is empty for the program's own tree.
type fileKey struct{ tree, name string }

func keyOf(root Root, name string) fileKey {
	if b, ok := root.(interface{ tree() string }); ok {
		return fileKey{b.tree(), name}
	}
	return fileKey{name: name}
}

// ReadError is a failure to read a file that may exist, such as a lost connection to the daemon that has it.
type ReadError struct {
	Path string // as the program has it
	Err  error
}

func (e *ReadError) Error() string { return fmt.Sprintf("can't read %s: %v", e.Path, e.Err) }

// Unwrap returns the tree's error.
func (e *ReadError) Unwrap() error { return e.Err }

// NewLoader returns a loader that has read nothing.
func NewLoader(limits Limits) *Loader {
	return &Loader{
		limits: limits, Sources: map[string][]byte{}, files: map[fileKey]*Module{}, homes: map[*check.Info]*Module{},
		pending: map[*ast.Import]bool{},
	}
}

// Program parses and checks the program itself. The list has errors, then the module is nil, and warnings.
func (l *Loader) Program(name string, src []byte, dir Dir) (*Module, diag.List) {
	return l.parse(name, src, dir, 0)
}

// Add adds the program itself after it was checked elsewhere without errors. Sources lack its text.
func (l *Loader) Add(info *check.Info, name string, dir Dir) *Module {
	return l.add(&Module{Info: info, Name: name, Dir: dir})
}

// Home returns the module that a check was about.
func (l *Loader) Home(info *check.Info) (*Module, error) {
	if m := l.homes[info]; m != nil {
		return m, nil
	}
	return nil, diag.Errorf(diag.Internal, diag.Span{}, "a definition has no module")
}

func (l *Loader) add(m *Module) *Module {
	l.files[keyOf(m.Dir.Root, m.Name)] = m
	l.homes[m.Info] = m
	return m
}

func (l *Loader) parse(name string, src []byte, dir Dir, depth int) (*Module, diag.List) {
	info, found := lint.Program(name, src, syntax.Limits{MaxBytes: l.limits.Bytes})
	l.Sources[name] = src
	if found.HasErrors() {
		l.files[keyOf(dir.Root, name)] = nil
		return nil, found
	}
	return l.add(&Module{Info: info, Name: name, Dir: dir, depth: depth}), found
}

// Import resolves an import of in, unless that was done, to the module that find returns. Where find returns neither a
// module nor an error, the import stays as it is. at is the place that needs the import. The error is one of find, or
// a diagnostic.
func (l *Loader) Import(in *Module, imp *ast.Import, at diag.Span, find func() (*Module, error)) error {
	if in.Info.Imported(imp) != nil {
		return nil
	}
	if l.pending[imp] {
		return diag.Errorf(diag.ImportCycle, at, "what `%s` imports depends on itself", imp.Name.Name).
			WithLabel(imp.Name.Span(), "imported here")
	}
	l.pending[imp] = true
	defer delete(l.pending, imp)
	if in.depth >= l.limits.Depth {
		return diag.Errorf(diag.LimitImportDepth, imp.Span(), "modules import modules deeper than %d", l.limits.Depth)
	}
	m, err := find()
	if m == nil || err != nil {
		return err
	}
	if chain := usesOf(m, in, map[*Module]bool{}); chain != nil {
		return cycle(in, chain, imp)
	}
	in.uses = append(in.uses, m)
	if errs := in.Info.Resolve(imp, m.Info); errs.HasErrors() {
		return errs
	}
	return nil
}

// usesOf returns the chain of modules from m to target along what they use, nil if there is none.
func usesOf(m, target *Module, seen map[*Module]bool) []*Module {
	if m == target {
		return []*Module{m}
	}
	seen[m] = true
	for _, u := range m.uses {
		if seen[u] {
			continue
		}
		if chain := usesOf(u, target, seen); chain != nil {
			return append([]*Module{m}, chain...)
		}
	}
	return nil
}

func cycle(in *Module, chain []*Module, imp *ast.Import) error {
	names := []string{in.Name}
	for _, m := range chain {
		names = append(names, m.Name)
	}
	return diag.Errorf(
		diag.ImportCycle,
		imp.Operand.Span(),
		"modules import each other in a circle: %s",
		strings.Join(names, " → "),
	)
}

// Operand takes the text of an import's operand apart.
func Operand(imp *ast.Import, text string) (URI, error) {
	u, err := Parse(text)
	var scheme *SchemeError
	switch {
	case errors.As(err, &scheme):
		return URI{}, diag.Errorf(diag.ImportScheme, imp.Operand.Span(), "%v", err)
	case err != nil:
		return URI{}, diag.Errorf(diag.Conversion, imp.Operand.Span(), "%v", err)
	}
	return u, nil
}

// File reads the module that an import of in names by a path of its own tree. The error is as for FileIn, or an
// *OutsideError.
func (l *Loader) File(ctx context.Context, in *Module, imp *ast.Import, name string) (*Module, error) {
	file, err := in.Dir.Resolve(name)
	var outside *OutsideError
	switch {
	case errors.As(err, &outside):
		return nil, err
	case err != nil:
		return nil, diag.Errorf(diag.ImportNotFound, imp.Operand.Span(), "%v", err)
	}
	return l.FileIn(ctx, in, imp, in.Dir.Root, file, name)
}

// FileIn reads the module that an import of in names in the tree root: its clean path file, which messages show as
// the program has it. Warnings are for the module's own author and left out; its errors are returned once, later the
// module is nil. The error may be a *ReadError.
func (l *Loader) FileIn(
	ctx context.Context, in *Module, imp *ast.Import, root Root, file, shown string,
) (*Module, error) {
	display := root.Display(file)
	if m, read := l.files[keyOf(root, display)]; read {
		return m, nil
	}
	at := imp.Operand.Span()
	if len(l.files) > l.limits.Modules {
		return nil, diag.Errorf(diag.LimitImports, at, "the program reads more than %d modules", l.limits.Modules)
	}
	src, err := root.Read(ctx, file, l.limits.Bytes)
	if err != nil {
		return nil, readError(imp, root, shown, err)
	}
	m, found := l.parse(display, src, Dir{Root: root, Path: path.Dir(file)}, in.depth+1)
	if m != nil {
		return m, nil
	}
	var errs diag.List
	for _, d := range found {
		if d.Severity == diag.Error {
			errs = append(errs, d.WithLabel(at, "imported here"))
		}
	}
	return nil, errs
}

// readError is the error of an import whose file can't be read. A *ReadError is only one of a tree that is not on this
// machine.
func readError(imp *ast.Import, root Root, shown string, err error) error {
	at := imp.Operand.Span()
	var large *TooLargeError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return diag.Errorf(diag.ImportNotFound, at, "there is no file %s", shown).
			WithLabel(imp.Name.Span(), "imported as %s", imp.Name.Name)
	case errors.As(err, &large):
		return diag.Errorf(diag.SourceTooLarge, at, "%v", err)
	}
	failed := &ReadError{Path: shown, Err: err}
	if _, ok := root.(interface{ onMachine() }); !ok {
		return failed
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		failed.Err = pe.Err // without the path, which the program has otherwise
	}
	return diag.Errorf(diag.ImportNotFound, at, "%v", failed)
}
