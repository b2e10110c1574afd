// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/module"
)

// Import is an import of a program or of a module, and the module it stands for.
type Import struct {
	// Name is how the import is called.
	Name string
	// File is how messages call the module's file.
	File string
	// Remote is the id of the filesystem or repository that the module was read from, "" for a file beside what imports
	// it and for what can't be vendored.
	Remote digest.Digest
	// Files are the texts of all modules read from the remote, by their path there; nil without a Remote.
	Files map[string][]byte
	// Again is true where the module was listed before, with its Imports; they are left out here.
	Again   bool
	Imports []*Import
}

// Imports reads every module that the program or a module of it makes use of, whatever the targets need, and returns
// what the program imports, in source order. It evaluates nothing but what imports are from. On failure the list holds
// what is wrong.
func Imports(ctx context.Context, prog Program, opts Options) ([]*Import, diag.List) {
	opts = opts.withDefaults()
	ctx, wall, cancel := withWall(ctx, opts.Limits.withDefaults(opts.Profile).Wall)
	defer cancel()
	e := newEvaluator(ctx, wall, opts)
	e.uniqueID = e.ids()
	m, found := e.program(prog)
	if m == nil {
		return nil, found
	}
	imports, err := e.importsOf(m, map[*module.Module]bool{})
	if err != nil {
		return nil, diag.ListOf(err)
	}
	return imports, nil
}

func (e *evaluator) importsOf(m *module.Module, seen map[*module.Module]bool) ([]*Import, error) {
	seen[m] = true
	var out []*Import
	for _, imp := range m.Info.Imports() {
		if err := e.resolveImport(m, imp, imp.Operand.Span()); err != nil {
			return nil, err
		}
		lib, err := e.modules.Home(m.Info.Imported(imp))
		if err != nil {
			return nil, err
		}
		i := &Import{Name: imp.Name.Name, File: lib.Name, Again: seen[lib]}
		if root, ok := lib.Dir.Root.(remoteRoot); ok && root.remote().id != "" {
			i.Remote, i.Files = root.remote().id, root.remote().files
		}
		if !i.Again {
			if i.Imports, err = e.importsOf(lib, seen); err != nil {
				return nil, err
			}
		}
		out = append(out, i)
	}
	return out, nil
}
