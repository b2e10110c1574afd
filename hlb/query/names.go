// SPDX-License-Identifier: Apache-2.0

package query

import (
	"slices"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/diag"
)

// Name is one place of a file where something is named.
type Name struct {
	Span   diag.Span
	Object *check.Object // what is named
	Def    bool          // the place defines it
}

// Symbol identifies what a name stands for, over all files and all analyses of the same texts: the place where it is
// defined.
type Symbol struct {
	File   string
	Offset int
}

// symbolOf returns the symbol of an object; false for what has no place, as a breakpoint.
func symbolOf(o *check.Object) (Symbol, bool) {
	if o == nil || !o.Span.IsValid() {
		return Symbol{}, false
	}
	return Symbol{o.Span.File, o.Span.Start.Offset}, true
}

// namesOf lists the names of a file in the order of the source.
func namesOf(f *File) []Name {
	c := &nameCollector{info: f.Info()}
	ast.Inspect(f.Info().Module, c.node)
	slices.SortStableFunc(c.names, func(a, b Name) int { return a.Span.Start.Offset - b.Span.Start.Offset })
	return c.names
}

type nameCollector struct {
	info  *check.Info
	names []Name
}

func (c *nameCollector) add(at diag.Span, o *check.Object, def bool) {
	if o != nil {
		c.names = append(c.names, Name{Span: at, Object: o, Def: def})
	}
}

func (c *nameCollector) node(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.Import:
		c.define(n.Name)
	case *ast.Export:
		c.add(n.Name.Span(), c.info.Scope[n.Name.Name], false)
	case *ast.Func:
		c.define(n.Name)
		c.params(n, n.Params, check.ParamObject)
		if n.Effects != nil {
			c.params(n, n.Effects, check.EffectObject)
		}
	case *ast.CallStmt:
		for _, alias := range c.info.Aliases[n] {
			c.add(alias.Span, alias, true)
		}
	case *ast.Name:
		c.use(n)
	}
	return true
}

// define adds the name of a function or import. Of several with one name the scope has the first.
func (c *nameCollector) define(id *ast.Ident) {
	o := c.info.Scope[id.Name]
	c.add(id.Span(), o, o != nil && o.Span == id.Span())
}

func (c *nameCollector) params(f *ast.Func, list *ast.ParamList, what check.ObjectKind) {
	for _, p := range list.Params {
		c.add(p.Name.Span(), &check.Object{
			What: what, Name: p.Name.Name, Kind: p.Kind(), Func: f, Param: p, Module: c.info, Span: p.Name.Span(),
		}, true)
	}
}

func (c *nameCollector) use(n *ast.Name) {
	callee := c.info.Callee(n)
	if n.Member == nil {
		c.add(n.Ident.Span(), callee, false)
		return
	}
	if o := c.info.Scope[n.Ident.Name]; o != nil && o.What == check.ImportObject {
		c.add(n.Ident.Span(), o, false)
	}
	if callee != nil && callee.What != check.MemberObject {
		c.add(n.Member.Span(), callee, false)
	}
}

// NameAt returns the name at an offset, or right before it.
func (f *File) NameAt(offset int) (Name, bool) {
	names := f.names()
	i, _ := slices.BinarySearchFunc(names, offset, func(n Name, offset int) int {
		return n.Span.End.Offset - offset
	})
	if i < len(names) && covers(names[i].Span, offset) {
		if i+1 < len(names) && names[i+1].Span.Start.Offset == offset { // of two that touch, the one that begins
			i++
		}
		return names[i], true
	}
	return Name{}, false
}

// SymbolAt returns what the name at an offset stands for.
func (f *File) SymbolAt(offset int) (Symbol, bool) {
	n, ok := f.NameAt(offset)
	if !ok {
		return Symbol{}, false
	}
	return symbolOf(n.Object)
}

// Definition returns where the thing that is named at an offset is defined: for the operand of an import, and for the
// name of one, that is the module's file as far as it was read. Builtins have no place.
func (f *File) Definition(offset int) (diag.Span, bool) {
	if n, ok := f.NameAt(offset); ok {
		if n.Object.What == check.BuiltinObject || !n.Object.Span.IsValid() {
			return diag.Span{}, false
		}
		if n.Object.What != check.ImportObject || !n.Def {
			return n.Object.Span, true
		}
	}
	for _, d := range f.Info().Module.Decls {
		imp, ok := d.(*ast.Import)
		if !ok || !covers(imp.Span(), offset) {
			continue
		}
		if lib := f.Info().Imported(imp); lib != nil {
			start := diag.Position{Line: 1, Column: 1}
			return diag.Span{File: lib.Module.File, Start: start, End: start}, true
		}
	}
	return diag.Span{}, false
}

// References returns the places of the file that name a symbol, its definition too if it is here and wanted.
func (f *File) References(s Symbol, definition bool) []Name {
	var found []Name
	for _, n := range f.names() {
		if of, ok := symbolOf(n.Object); ok && of == s && (definition || !n.Def) {
			found = append(found, n)
		}
	}
	return found
}
