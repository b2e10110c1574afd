// SPDX-License-Identifier: Apache-2.0

package check

import (
	"slices"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/builtin"
	"github.com/openllb/hlb-operator/hlb/diag"
)

// Replace makes i what Module would find out about its module with the declarations of old replaced by those of new,
// which Module.Decls has already, and returns what is wrong with the latter. It only looks at these, so it does nothing
// and returns false where the others could mean something else now: if a name, a kind or a signature changes, with
// imports, exports and names that are wrong. Module must check all of it then; i must not be used any more.
//
// Objects of names that stay are the same ones with a new content, so that what refers to them still does.
func (i *Info) Replace(old, new []ast.Decl) (diag.List, bool) {
	if !i.sound || !onlyFuncs(old) || !onlyFuncs(new) || len(i.members) > 0 {
		return nil, false
	}
	c := newChecker(i)
	c.distances = i.distances
	before := i.defined(old)
	s := &scopePass{checker: c, defined: map[string][]*Object{}, kept: map[string]*Object{}}
	for name := range before {
		s.kept[name] = i.Scope[name]
	}
	i.forget(old)
	s.collect(new)
	for name, list := range s.defined {
		if _, same := before[name]; !same || len(list) > 1 {
			return nil, false
		}
	}
	for _, b := range s.bindings {
		c.enter(b.fn)
		s.bind(b)
	}
	if len(s.defined) != len(before) || len(c.errs) > 0 || !i.unchanged(before) {
		return nil, false
	}
	for _, d := range new {
		c.function(d.(*ast.Func))
	}
	i.distances = c.distances
	c.errs.Sort()
	return c.errs, !c.poor && len(i.members) == 0
}

func onlyFuncs(decls []ast.Decl) bool {
	return !slices.ContainsFunc(decls, func(d ast.Decl) bool { _, ok := d.(*ast.Func); return !ok })
}

// meaning is what others see of a name.
type meaning struct {
	what   ObjectKind
	kind   ast.Kind
	params []builtin.Param
}

// defined returns the names that declarations define.
func (i *Info) defined(decls []ast.Decl) map[string]meaning {
	names := map[string]meaning{}
	add := func(name string) {
		if o := i.Scope[name]; o != nil {
			names[name] = meaning{o.What, o.Kind, o.params}
		}
	}
	for _, d := range decls {
		add(d.(*ast.Func).Name.Name)
		ast.Inspect(d, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallStmt); ok {
				for _, alias := range i.Aliases[call] {
					add(alias.Name)
				}
			}
			return true
		})
	}
	return names
}

// unchanged reports whether names still mean what they did.
func (i *Info) unchanged(before map[string]meaning) bool {
	for name, was := range before {
		o := i.Scope[name]
		if o.What != was.what || o.Kind != was.kind || !slices.Equal(o.params, was.params) {
			return false
		}
	}
	return true
}

// forget drops what is known of declarations that are no more.
func (i *Info) forget(decls []ast.Decl) {
	for _, d := range decls {
		delete(i.locals, d.(*ast.Func))
		ast.Inspect(d, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Name:
				delete(i.Callees, n)
			case *ast.BlockLit:
				delete(i.BlockKinds, n)
			case *ast.CallStmt:
				delete(i.Aliases, n)
			}
			return true
		})
	}
}

// Moved notes that declarations of the module were moved by ast.Shift.
func (i *Info) Moved() {
	for _, o := range i.Scope {
		switch o.What {
		case FuncObject:
			o.Span = o.Func.Name.Span()
		case AliasObject:
			o.Span = o.Alias.Target.Span()
		case ImportObject:
			o.Span = o.Import.Name.Span()
		}
	}
	for _, list := range i.locals {
		for _, o := range list {
			o.Span = o.Param.Name.Span()
		}
	}
}
