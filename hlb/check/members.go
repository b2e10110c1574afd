// SPDX-License-Identifier: Apache-2.0

package check

import (
	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/builtin"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/spell"
)

// use is a place where a member of an import is used, to be checked when the imported module is known.
type use struct {
	call
	fn *ast.Func // for the names visible in the arguments; nil in the operand of an import
}

// deferUse notes the use of a member of imp. Of its arguments, what doesn't depend on their kind is checked now.
func (c *checker) deferUse(imp *ast.Import, call call) {
	u := &use{call: call, fn: c.fn}
	c.info.members[imp] = append(c.info.members[imp], u)
	c.info.uses[call.name] = u
	for _, arg := range call.args {
		c.expr(arg, unknown)
	}
}

// Resolve checks all uses of members of imp against the module it stands for, lib, and puts what they stand for into
// Callees. imp must be one of Imports, and both modules must have passed Module without errors. Diagnostics are about
// the importing module. An import is resolved once; calling again returns what was found then. Resolve must not run
// at the same time as anything else that uses i.
func (i *Info) Resolve(imp *ast.Import, lib *Info) diag.List {
	if done, ok := i.imports[imp]; ok {
		return done.errs
	}
	c := newChecker(i)
	for _, u := range i.members[imp] {
		c.enter(u.fn)
		c.resolve(imp, lib, u)
	}
	c.errs.Sort()
	i.imports[imp] = resolved{module: lib, errs: c.errs}
	return c.errs
}

// resolved is an import that was resolved, and what was wrong with its uses.
type resolved struct {
	module *Info
	errs   diag.List
}

func (c *checker) resolve(imp *ast.Import, lib *Info, u *use) {
	o := c.exported(imp, lib, u)
	if o == nil {
		return
	}
	if !u.want.has(o.Kind) {
		c.wrongKind(u.name.Span(), o.Kind, u.want).
			WithLabel(o.Span, "%s", definedHere(o)).
			WithLabel(imp.Name.Span(), "imported here")
		return
	}
	c.info.Callees[u.name] = o
	if u.with != nil {
		c.with(o, u.call)
	}
	if !c.count(o, u.call) {
		return
	}
	params := o.Params()
	for i, arg := range u.args {
		kind := params[min(i, len(params)-1)].Kind
		w := wanted{kinds: []ast.Kind{kind}}
		if kind == ast.Pipeline {
			w = pipelineArg
		}
		c.refine(arg, w)
	}
}

// exported finds the member that u names among what lib exports.
func (c *checker) exported(imp *ast.Import, lib *Info, u *use) *Object {
	name := u.name.Member.Name
	o := lib.Scope[name]
	at := u.name.Member.Span()
	switch {
	case o == nil && builtin.IsReserved(name):
		c.report(diag.Errorf(diag.NotExported, at, "`%s` is a builtin, not exported by `%s`", name, imp.Name.Name).
			WithHint("use it as `%s`", name).
			WithLabel(imp.Name.Span(), "imported here"))
	case o == nil:
		var s spell.Nearest
		if c.afford(len(lib.Exported)) {
			for other := range lib.Exported {
				if u.want.has(lib.Scope[other].Kind) {
					s.Consider(name, other)
				}
			}
		}
		c.report(
			s.Replace(diag.Errorf(diag.Undefined, at, "`%s` is not defined in the module imported as `%s`", name,
				imp.Name.Name)).
				WithLabel(imp.Name.Span(), "imported here"),
		)
	case !lib.Exported[name]:
		c.report(diag.Errorf(diag.NotExported, at, "`%s` is not exported by `%s`", name, imp.Name.Name).
			WithHint("add `export %s` to that module", name).
			WithFix(startOf(o.Span.File), "export "+name+"\n", "Export `%s`", name).
			WithLabel(o.Span, "%s", definedHere(o)).
			WithLabel(imp.Name.Span(), "imported here"))
	case o.What == ImportObject:
		c.report(
			diag.Errorf(diag.ImportUsedDirectly, at, "`%s` is an import of the module imported as `%s`, not a value",
				name, imp.Name.Name).
				WithLabel(o.Span, "imported here"),
		)
	default:
		return o
	}
	return nil
}

// startOf is the place before the first line of a file.
func startOf(file string) diag.Span {
	start := diag.Position{Line: 1, Column: 1}
	return diag.Span{File: file, Start: start, End: start}
}

// refine checks the kind of an argument whose inside deferUse has checked already.
func (c *checker) refine(e ast.Expr, w wanted) {
	switch e := e.(type) {
	case *ast.BlockLit:
		if kind := optionOf(w); e.Kind() == ast.Option && kind != "" {
			c.info.BlockKinds[e] = kind
		} else if !w.has(e.Kind()) {
			c.wrongKind(e.Type.Span(), e.Kind(), w)
		}
	case *ast.CallExpr:
		c.refineCall(e, w)
	case ast.Literal:
		if !w.has(e.Kind()) {
			c.wrongKind(e.Span(), e.Kind(), w)
		}
	}
}

func (c *checker) refineCall(e *ast.CallExpr, w wanted) {
	o := c.info.Callees[e.Callee]
	switch {
	case o != nil && o.What == MemberObject:
		c.info.uses[e.Callee].want = w // that import isn't resolved yet
	case o != nil && (o.What == BreakpointObject || w.has(o.Kind)):
	case o != nil && e.Callee.Member != nil:
		c.wrongKind(e.Callee.Span(), o.Kind, w).WithLabel(o.Span, "%s", definedHere(o))
	default:
		// Now that the kind is known, another definition may be meant: a builtin of that kind, or an extension.
		c.expr(e, w)
	}
}
