// SPDX-License-Identifier: Apache-2.0

package check

import (
	"slices"
	"strings"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/builtin"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/spell"
)

// wanted is what a place accepts. No kinds at all means that it isn't known yet.
type wanted struct {
	kinds []ast.Kind
	// label stands for the kinds in messages, if they'd mislead: whatever a pipeline takes, it wants pipelines.
	label string
}

var (
	// importOperand: the address of a module or the filesystem that holds it.
	importOperand = wanted{kinds: []ast.Kind{ast.FS, ast.String}}
	// interpolated: what has a text.
	interpolated = wanted{kinds: []ast.Kind{ast.Bool, ast.Int, ast.String}}
	// pipelineArg: an argument of kind pipeline also takes a filesystem, which means "solve it", and values, which do
	// nothing.
	pipelineArg = wanted{kinds: []ast.Kind{ast.Pipeline, ast.FS, ast.String, ast.Int, ast.Bool}, label: "pipeline"}
	// pipelineLit: the literals a pipeline block accepts as statements.
	pipelineLit = wanted{kinds: []ast.Kind{ast.String, ast.Int, ast.Bool}, label: "pipeline"}
	// unknown: the argument of a function whose signature isn't known.
	unknown = wanted{}
)

func (w wanted) isUnknown() bool { return len(w.kinds) == 0 }

func (w wanted) has(k ast.Kind) bool { return w.isUnknown() || slices.Contains(w.kinds, k) }

// String lists the kinds for a message, sorted.
func (w wanted) String() string {
	if w.label != "" {
		return w.label
	}
	names := make([]string, len(w.kinds))
	for i, k := range w.kinds {
		names[i] = string(k)
	}
	slices.Sort(names)
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " or " + names[n-1]
	}
	return strings.Join(names, "")
}

// argument is what a parameter of kind k accepts. If k is no kind, which was reported where it is declared, anything
// will do.
func (c *checker) argument(k ast.Kind) wanted {
	switch {
	case k == ast.Pipeline:
		return pipelineArg
	case !c.isKind(k):
		return unknown
	default:
		return wanted{kinds: []ast.Kind{k}}
	}
}

func isBreakpoint(n *ast.Name) bool { return n.Member == nil && n.Ident.Name == builtin.Breakpoint }

// breaks reports whether n is a breakpoint, about whose call nothing is checked, and notes it as such. A parameter may
// have the name.
func (c *checker) breaks(n *ast.Name) bool {
	if !isBreakpoint(n) || c.locals[builtin.Breakpoint] != nil {
		return false
	}
	c.info.Callees[n] = breakpointObject
	return true
}

// lookup finds a name of the function or module, or returns nil.
func (c *checker) lookup(name string) *Object {
	if o := c.locals[name]; o != nil {
		return o
	}
	return c.info.Scope[name]
}

// Builtin returns the object that stands for a builtin.
func Builtin(f *builtin.Func) *Object { return builtinObject(f) }

// builtinObject wraps a builtin.
func builtinObject(f *builtin.Func) *Object { return builtinObjects[f] }

var builtinObjects = func() map[*builtin.Func]*Object {
	objects := map[*builtin.Func]*Object{}
	for _, f := range builtin.All() {
		objects[f] = &Object{
			What:    BuiltinObject,
			Name:    f.Name,
			Kind:    f.Kind,
			Builtin: f,
			Span:    f.Span(),
			params:  f.Params,
		}
	}
	return objects
}()

var breakpointObject = &Object{What: BreakpointObject, Name: builtin.Breakpoint}

// callee finds what n stands for in a place that wants w, or reports why it can't and returns nil. The result for a
// member of an import is a MemberObject, of which nothing is known yet. For an unknown w the result is also nil,
// without a report, if n is a builtin of several kinds or an extension. An extension exists only where one of its kind
// is wanted: elsewhere its name is as undefined as any other.
func (c *checker) callee(n *ast.Name, w wanted) *Object {
	o := c.find(n, w)
	if o != nil {
		c.info.Callees[n] = o
	}
	return o
}

func (c *checker) find(n *ast.Name, w wanted) *Object {
	name := n.Ident.Name
	o := c.lookup(name)
	if n.Member != nil {
		return c.member(n, o)
	}
	if o != nil && o.What != ImportObject && (w.has(o.Kind) || !c.isKind(o.Kind)) {
		return o
	}
	if o != nil {
		if f := firstOf(w, name, builtin.Extension); f != nil {
			return builtinObject(f)
		}
		if o.What == ImportObject {
			c.report(diag.Errorf(diag.ImportUsedDirectly, n.Span(), "`%s` is an import, not a value", name).
				WithHint("name one of its members, as in %s.name", name).
				WithLabel(o.Span, "imported here"))
			return nil
		}
		c.wrongKind(n.Span(), o.Kind, w).WithLabel(o.Span, "%s", definedHere(o))
		return nil
	}
	return c.findBuiltin(n, w)
}

func (c *checker) findBuiltin(n *ast.Name, w wanted) *Object {
	name := n.Ident.Name
	if f := firstOf(w, name, builtin.Lookup); f != nil {
		return builtinObject(f)
	}
	if f := firstOf(w, name, builtin.Extension); f != nil {
		return builtinObject(f)
	}
	others := builtin.Named(name)
	switch {
	case len(others) == 0 && w.isUnknown() && len(builtin.ExtensionsNamed(name)) > 0:
	case len(others) == 0:
		c.undefined(n, w)
	case !w.isUnknown():
		d := c.wrongKind(n.Span(), others[0].Kind, w)
		for _, f := range others {
			d.WithLabel(f.Span(), "defined here")
		}
	case len(others) == 1:
		return builtinObject(others[0])
	}
	return nil
}

// firstOf returns what find has for the first kind of w it has anything for.
func firstOf(w wanted, name string, find func(ast.Kind, string) *builtin.Func) *builtin.Func {
	for _, k := range w.kinds {
		if f := find(k, name); f != nil {
			return f
		}
	}
	return nil
}

// member finds the import that n.Ident names.
func (c *checker) member(n *ast.Name, o *Object) *Object {
	if o != nil && o.What == ImportObject {
		return &Object{What: MemberObject, Name: n.Member.Name, Import: o.Import, Module: c.info, Span: o.Span}
	}
	notImport := diag.Errorf(
		diag.NotAnImport,
		n.Dot,
		"`%s` is not an import, so it has no `%s`",
		n.Ident.Name,
		n.Member.Name,
	)
	if o != nil {
		c.report(notImport.WithLabel(o.Span, "%s", definedHere(o)))
		return nil
	}
	if named := builtin.Named(n.Ident.Name); len(named) > 0 {
		c.report(notImport.WithLabel(named[0].Span(), "defined here"))
		return nil
	}
	var s spell.Nearest
	if c.afford(len(c.info.Scope)) {
		for name, o := range c.info.Scope {
			if o.What == ImportObject {
				s.Consider(n.Ident.Name, name)
			}
		}
	}
	c.report(s.Replace(diag.Errorf(diag.Undefined, n.Ident.Span(), "`%s` is not defined", n.Ident.Name)))
	return nil
}

// undefined reports a name that nothing defines, with the nearest visible one whose kind fits.
func (c *checker) undefined(n *ast.Name, w wanted) {
	name := n.Ident.Name
	near := c.nearest(name, w)
	d := near.Replace(diag.Errorf(diag.Undefined, n.Ident.Span(), "`%s` is not defined", name))
	if f := builtin.Extended(name); f != nil && !near.Found() {
		if f.Kind.Primary() == ast.Option {
			d.WithHint("it is an option of `%s`", f.Kind.Secondary())
		} else {
			d.WithHint("it is of kind %s", f.Kind)
		}
	}
	c.report(d)
}

// nearest returns the suggestion for a name in a place that wants w.
func (c *checker) nearest(name string, w wanted) *spell.Nearest {
	s := &spell.Nearest{}
	if !c.afford(len(c.locals) + len(c.info.Scope) + builtins) {
		return s
	}
	for _, scope := range []map[string]*Object{c.locals, c.info.Scope} {
		for other, o := range scope {
			if o.What != ImportObject && w.has(o.Kind) {
				s.Consider(name, other)
			}
		}
	}
	for _, f := range builtin.All() {
		// Among the options of all calls one is always near, so where the kind isn't known, they don't count.
		if w.has(f.Kind) && !(w.isUnknown() && f.Kind.Primary() == ast.Option) {
			s.Consider(name, f.Name)
		}
	}
	return s
}

// wrongKind reports that a value of kind got stands where w is wanted.
func (c *checker) wrongKind(at diag.Span, got ast.Kind, w wanted) *diag.Diagnostic {
	d := diag.Errorf(diag.WrongKind, at, "cannot use %s as %s", got, w)
	c.report(d)
	return d
}

// definedHere is the label for the definition of o.
func definedHere(o *Object) string {
	switch o.What {
	case ImportObject:
		return "imported here"
	case AliasObject:
		return "bound here"
	case ParamObject:
		return "a parameter"
	default:
		return "defined here"
	}
}
