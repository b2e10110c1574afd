// SPDX-License-Identifier: Apache-2.0

// Package check decides whether a parsed module is a program: every name stands for something, every value has the
// kind its place wants, every call has the arguments its signature asks for. What it finds out about names is kept in
// an Info, so that no later pass looks a name up again.
//
// It works in two passes. The first collects the names of the module, among them those bound by `as`, and stops the
// check if any is wrong: without them the second, which checks names, kinds and counts, would report nonsense.
//
// Imports aren't read here. A member of an import is accepted as it stands and checked by Info.Resolve once the
// imported module is known, because a program may import a module it never needs.
package check

import (
	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/builtin"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/spell"
)

// Module checks mod, whose deprecated forms must have been replaced (lint.Fix), and which must have parsed without
// errors. The Info is never nil; if the list has errors, it lacks what couldn't be found out. mod isn't changed.
func Module(mod *ast.Module) (*Info, diag.List) {
	c := newChecker(newInfo(mod))
	c.scope()
	if !c.errs.HasErrors() {
		c.decls()
		c.info.complete, c.info.sound, c.info.distances = true, !c.poor, c.distances
	}
	c.errs.Sort()
	return c.info, c.errs
}

// Partial finds out what it can about a module that is wrong or that parts are missing of, for editors.
func Partial(mod *ast.Module) *Info {
	c := newChecker(newInfo(mod))
	c.scope()
	c.decls()
	return c.info
}

// newInfo is an Info of which nothing is known yet.
func newInfo(mod *ast.Module) *Info {
	return &Info{
		Module:     mod,
		Scope:      map[string]*Object{},
		Exported:   map[string]bool{},
		Callees:    make(map[*ast.Name]*Object, len(mod.Source)/bytesPerName),
		BlockKinds: map[*ast.BlockLit]ast.Kind{},
		Aliases:    map[*ast.CallStmt][]*Object{},
		members:    map[*ast.Import][]*use{},
		uses:       map[*ast.Name]*use{},
		imports:    map[*ast.Import]resolved{},
		locals:     map[*ast.Func]map[string]*Object{},
	}
}

// bytesPerName is how many bytes of source there are for each name at least, in most programs.
const bytesPerName = 16

// checker is the state of one check.
type checker struct {
	info   *Info
	errs   diag.List
	fn     *ast.Func          // being checked; nil in the operand of an import
	locals map[string]*Object // parameters and effects of fn

	distances int  // left to compute for suggestions
	poor      bool // there were too few of them once
}

// maxDistances bounds the work spent on suggestions: a program full of undefined names gets them for the first ones
// only. A name among a thousand others takes a tenth of a millisecond.
const maxDistances = 1 << 18

// builtins is how many names every module sees besides its own.
var builtins = len(builtin.All())

func newChecker(info *Info) *checker { return &checker{info: info, distances: maxDistances} }

// afford takes n computations of a distance from what is left and reports whether there was enough. All candidates
// for a name are paid for at once, because they come in the random order of maps and the outcome must not depend on
// it.
func (c *checker) afford(n int) bool {
	if c.distances < n {
		c.poor = true
		return false
	}
	c.distances -= n
	return true
}

func (c *checker) report(d *diag.Diagnostic) { c.errs = append(c.errs, d) }

// enter makes the parameters and effects of f the local names. f may be nil. Entering where one is costs nothing.
func (c *checker) enter(f *ast.Func) {
	if f == c.fn {
		return
	}
	c.fn, c.locals = f, nil
	if f == nil {
		return
	}
	c.locals = map[string]*Object{}
	if f.Effects != nil {
		c.addLocals(f.Effects, EffectObject)
	}
	c.addLocals(f.Params, ParamObject)
}

func (c *checker) addLocals(list *ast.ParamList, what ObjectKind) {
	for _, p := range list.Params {
		name := p.Name.Name
		if o := c.locals[name]; o != nil && o.What == what {
			continue // a duplicate; the first one counts
		}
		c.locals[name] = &Object{
			What:   what,
			Name:   name,
			Kind:   p.Kind(),
			Func:   c.fn,
			Param:  p,
			Module: c.info,
			Span:   p.Name.Span(),
		}
	}
}

// decls checks every declaration.
func (c *checker) decls() {
	for _, d := range c.info.Module.Decls {
		switch d := d.(type) {
		case *ast.Import:
			c.enter(nil)
			c.expr(d.Operand, importOperand)
		case *ast.Export:
			c.export(d)
		case *ast.Func:
			c.function(d)
		}
	}
}

func (c *checker) export(d *ast.Export) {
	name := d.Name.Name
	if c.info.Scope[name] != nil {
		c.info.Exported[name] = true
		return
	}
	err := diag.Errorf(diag.Undefined, d.Name.Span(), "`%s` is not defined in this module", name)
	var s spell.Nearest
	if c.afford(len(c.info.Scope)) {
		for other := range c.info.Scope {
			s.Consider(name, other)
		}
	}
	if named := builtin.Named(name); len(named) > 0 {
		err.WithLabel(named[0].Span(), "a builtin, which needs no export")
	}
	c.report(s.Replace(err))
}

func (c *checker) function(f *ast.Func) {
	c.enter(f)
	c.info.locals[f] = c.locals
	ok := c.validKind(f.Type, unknown)
	c.paramList(f.Params, "parameter")
	if f.Effects != nil {
		c.paramList(f.Effects, "effect")
	}
	if ok && f.Body != nil {
		c.block(f.Body, f.Kind())
	}
}

// paramList checks kinds, uniqueness of names, and that only the last parameter is variadic.
func (c *checker) paramList(list *ast.ParamList, what string) {
	first := map[string]*ast.Param{}
	for i, p := range list.Params {
		c.validKind(p.Type, unknown)
		if before := first[p.Name.Name]; before != nil {
			c.report(diag.Errorf(diag.Duplicate, p.Name.Span(), "%s `%s` is defined twice", what, p.Name.Name).
				WithLabel(before.Name.Span(), "first defined here"))
		} else {
			first[p.Name.Name] = p
		}
		if p.Variadic != nil && i != len(list.Params)-1 {
			c.report(diag.Errorf(diag.Syntax, p.Variadic.Span(), "only the last %s can be variadic", what))
		}
	}
}

// validKind reports whether kind names a kind, and says so if it doesn't. Kinds that w wants are suggested first.
func (c *checker) validKind(kind *ast.Ident, w wanted) bool {
	if c.isKind(ast.Kind(kind.Name)) {
		return true
	}
	err := diag.Errorf(diag.Undefined, kind.Span(), "`%s` is not a kind", kind.Name)
	if kind.Name == string(ast.Option) {
		c.report(err.WithHint("say of which call, as in option::run"))
		return false
	}
	c.report(c.nearestKind(kind.Name, w).Replace(err))
	return false
}

// nearestKind returns the suggestion for the kind of a declaration or of a block that stands where w is wanted.
func (c *checker) nearestKind(written string, w wanted) *spell.Nearest {
	s := &spell.Nearest{}
	if !c.afford(builtins) {
		return s
	}
	for _, k := range w.kinds {
		s.Consider(written, string(k))
		if k.Primary() == ast.Option {
			s.Consider(written, string(ast.Option))
		}
	}
	if s.Found() {
		return s
	}
	for _, k := range valueKinds {
		s.Consider(written, string(k))
	}
	for _, b := range builtin.All() {
		if b.Kind.Primary() == ast.Option {
			s.Consider(written, string(b.Kind))
		}
	}
	return s
}

var valueKinds = []ast.Kind{ast.FS, ast.String, ast.Int, ast.Bool, ast.Pipeline}

// isKind reports whether k is the kind of a value. Options exist for every builtin, and for functions of the module,
// though those have none to give.
func (c *checker) isKind(k ast.Kind) bool {
	switch k {
	case ast.FS, ast.String, ast.Int, ast.Bool, ast.Pipeline:
		return true
	}
	if k.Primary() != ast.Option {
		return false
	}
	call := k.Secondary()
	return call != "" && (builtin.IsCall(call) || c.info.Scope[call] != nil)
}
