// SPDX-License-Identifier: Apache-2.0

package check

import (
	"fmt"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/builtin"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/spell"
)

// scope is the first pass: it fills Info.Scope and Info.Aliases and reports names defined twice and bindings that
// can't be.
func (c *checker) scope() {
	s := &scopePass{checker: c, defined: map[string][]*Object{}}
	s.collect(c.info.Module.Decls)
	for _, b := range s.bindings {
		c.enter(b.fn)
		s.bind(b)
	}
	s.duplicates()
}

// collect finds the names and bindings of declarations.
func (s *scopePass) collect(decls []ast.Decl) {
	for _, d := range decls {
		switch d := d.(type) {
		case *ast.Import:
			s.define(&Object{What: ImportObject, Name: d.Name.Name, Import: d, Span: d.Name.Span()})
			s.expr(d.Operand, place{})
		case *ast.Func:
			sig := signature(d)
			s.define(&Object{What: FuncObject, Name: d.Name.Name, Kind: d.Kind(), Func: d, Span: d.Name.Span(),
				params: sig})
			if d.Body != nil {
				s.body(d, sig)
			}
		}
	}
}

// scopePass collects what the first pass finds, in source order.
type scopePass struct {
	*checker
	names    []string // in the order of their first definition
	defined  map[string][]*Object
	bindings []binding
	kept     map[string]*Object // objects of names that are defined anew, to be used again
}

// place is where a statement stands, as far as `as` is concerned.
type place struct {
	fn    *ast.Func       // nil in the operand of an import
	sig   []builtin.Param // of fn
	kind  ast.Kind        // of the block
	typ   *ast.Ident      // the word that gives the block its kind
	stmt  ast.Stmt        // the statement of fn's body
	host  *ast.CallStmt   // the call whose `with` block this is; nil in other blocks
	block *ast.Block      // the block that holds host, or this block
	withs int             // `with` clauses between here and fn
	open  bool            // whether a binding here has a function to take its parameters from
}

// binding is one `as` and where it was found.
type binding struct {
	place
	call *ast.CallStmt
}

// define adds a name to the scope and returns the object that stands for it.
func (s *scopePass) define(o *Object) *Object {
	o.Module = s.info
	if old := s.kept[o.Name]; old != nil {
		*old = *o
		o = old
		delete(s.kept, o.Name)
	}
	if len(s.defined[o.Name]) == 0 {
		s.names = append(s.names, o.Name)
		s.info.Scope[o.Name] = o
	}
	s.defined[o.Name] = append(s.defined[o.Name], o)
	return o
}

func (s *scopePass) body(f *ast.Func, sig []builtin.Param) {
	p := place{fn: f, sig: sig, kind: f.Kind(), typ: f.Type, block: f.Body, open: f.Kind().Primary() != ast.Option}
	s.stmts(f.Body, p, true)
}

// stmts looks for bindings in a block. If top, it is the body of a function, whose statements are the p.stmt of all
// below.
func (s *scopePass) stmts(b *ast.Block, p place, top bool) {
	for _, stmt := range b.Stmts {
		if top {
			p.stmt = stmt
		}
		switch stmt := stmt.(type) {
		case *ast.LitStmt:
			s.expr(stmt.Value, p)
		case *ast.CallStmt:
			s.call(stmt, p)
		}
	}
}

func (s *scopePass) call(call *ast.CallStmt, p place) {
	if call.As != nil {
		s.found(call, p)
	}
	if isBreakpoint(call.Callee) {
		return
	}
	for _, arg := range call.Args {
		s.expr(arg, p)
	}
	if call.With == nil {
		return
	}
	p.withs++
	b, ok := call.With.Operand.(*ast.BlockLit)
	if !ok {
		s.expr(call.With.Operand, p)
		return
	}
	inside := p
	inside.kind, inside.typ, inside.host = ast.OptionOf(call.Callee.Ident.Name), b.Type, call
	inside.open = p.fn != nil && p.fn.Kind().Primary() != ast.Option && p.withs == 1
	s.stmts(b.Body, inside, false)
}

// expr looks for bindings in the block literals of e. None can be bound directly in one, but in the `with` blocks
// below it.
func (s *scopePass) expr(e ast.Expr, p place) {
	switch e := e.(type) {
	case *ast.BlockLit:
		p.kind, p.typ, p.block, p.host, p.open = e.Kind(), e.Type, e.Body, nil, false
		s.stmts(e.Body, p, false)
	case *ast.CallExpr:
		if isBreakpoint(e.Callee) {
			return
		}
		for _, arg := range e.Args() {
			s.expr(arg, p)
		}
	case *ast.StringLit:
		s.parts(e.Parts, p)
	case *ast.HeredocLit:
		s.parts(e.Parts, p)
	}
}

func (s *scopePass) parts(parts []ast.Part, p place) {
	for _, part := range parts {
		if in, ok := part.(*ast.Interp); ok {
			s.expr(in.Value, p)
		}
	}
}

// found defines the names of a binding. Whether there is something to bind is decided once all names are known.
func (s *scopePass) found(call *ast.CallStmt, p place) {
	s.bindings = append(s.bindings, binding{place: p, call: call})
	host := p.host
	if host == nil {
		host = call
	}
	alias := func(target *ast.Ident) {
		o := &Object{What: AliasObject, Name: target.Name, Func: p.fn, Span: target.Span(), params: p.sig}
		o.Alias = &Alias{Func: p.fn, Stmt: p.stmt, Host: host, Block: p.block, Call: call, Target: target}
		s.info.Aliases[call] = append(s.info.Aliases[call], s.define(o))
	}
	switch as := call.As; {
	case as.Name != nil:
		alias(as.Name)
	case as.List != nil:
		for _, b := range as.List.Binds {
			alias(b.Target)
		}
	}
}

// bind checks one binding and completes its aliases.
func (s *scopePass) bind(b binding) {
	as := b.call.As
	switch {
	case as.Name == nil && as.List == nil:
		s.report(diag.Errorf(diag.BindNoTarget, as.Word, "`as` needs a name to bind to").
			WithHint("write `as name` or `as (effect name)`"))
		return
	case !b.open:
		err := diag.Errorf(diag.BindNoClosure, as.Word,
			"nothing can be bound here, because there is no function to take parameters from").
			WithHint("bind in the body of a function, or in the options of a call there")
		if b.typ != nil {
			err.WithLabel(b.typ.Span(), "in this block")
		}
		s.report(err)
		return
	}
	callee := s.effectful(b)
	if callee == nil {
		return
	}
	aliases := s.info.Aliases[b.call]
	if as.Name != nil {
		aliases[0].Alias.Effect = &callee.Effects[0]
		aliases[0].Kind = callee.Effects[0].Kind
		return
	}
	for i, bind := range as.List.Binds {
		effect := callee.Effect(bind.Effect.Name)
		if effect == nil {
			s.unknownEffect(bind.Effect, callee)
			continue
		}
		aliases[i].Alias.Effect = effect
		aliases[i].Kind = effect.Kind
	}
}

func (s *scopePass) unknownEffect(effect *ast.Ident, callee *builtin.Func) {
	var near spell.Nearest
	for _, e := range callee.Effects {
		near.Consider(effect.Name, e.Name)
	}
	s.report(
		near.Replace(
			diag.Errorf(diag.BindUnknownEffect, effect.Span(), "`%s` has no effect `%s`", callee.Name, effect.Name).
				WithLabel(callee.Span(), "defined here"),
		),
	)
}

// effectful returns the callee of a binding if it has effects, and reports it if not.
func (s *scopePass) effectful(b binding) *builtin.Func {
	name := b.call.Callee
	none := diag.Errorf(diag.BindNoEffect, b.call.As.Word, "`%s` has nothing to bind", name)
	if o := s.lookup(name.Ident.Name); o != nil {
		s.report(none.WithLabel(o.Span, "%s", definedHere(o)))
		return nil
	}
	f := s.builtinFor(b.kind, name.Ident.Name)
	switch {
	case f != nil && name.Member == nil && len(f.Effects) > 0:
		return f
	case f != nil:
		s.report(none.WithLabel(f.Span(), "defined here"))
	case isBreakpoint(name):
		s.report(none)
	default:
		s.undefined(name, wanted{kinds: []ast.Kind{b.kind}})
	}
	return nil
}

// builtinFor finds the builtin a statement of a block of kind means: if there is none of that kind, one of another,
// for the second pass to say that the kind is wrong.
func (s *scopePass) builtinFor(kind ast.Kind, name string) *builtin.Func {
	if f := builtin.Lookup(kind, name); f != nil {
		return f
	}
	if f := builtin.Extension(kind, name); f != nil {
		return f
	}
	var other *builtin.Func
	for _, f := range builtin.Named(name) {
		if other == nil || len(other.Effects) == 0 && len(f.Effects) > 0 {
			other = f
		}
	}
	return other
}

// duplicates reports every name with several definitions once, however many there are. A builtin counts as the first
// definition.
func (s *scopePass) duplicates() {
	for _, name := range s.names {
		defs := s.defined[name]
		first, what := defs[0].Span, "first defined here"
		if builtin.IsReserved(name) {
			first, what = diag.Span{}, ""
			if named := builtin.Named(name); len(named) > 0 {
				first, what = named[0].Span(), "a builtin"
			}
		} else {
			defs = defs[1:]
		}
		if len(defs) == 0 {
			continue
		}
		err := diag.Errorf(diag.Duplicate, defs[0].Span, "`%s` is already defined", name).WithLabel(first, "%s", what)
		if len(defs) > 1 {
			err.Message = fmt.Sprintf("`%s` is defined %d times", name, 1+len(defs))
		}
		for _, again := range defs[1:] {
			err.WithLabel(again.Span, "and here")
		}
		if builtin.IsReserved(name) {
			err.Message = fmt.Sprintf("`%s` is the name of a builtin", name)
			err.WithHint("only parameters can have the name of a builtin")
		}
		s.report(err)
	}
}
