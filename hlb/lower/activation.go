// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"strings"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/module"
)

// actKey identifies a call of a function.
type actKey struct {
	fn  *ast.Func
	key key // of the current value and the arguments
	// lazy calls load no image configs, so their values are not those of others.
	lazy bool
}

// activation is one call of a function, run as far as somebody needed.
type activation struct {
	fn      *ast.Func
	env     *env
	cur     value
	done    int // statements run
	effects map[*check.Object]*effect
	reached []*export // exports evaluated so far
	err     error     // what stopped it; it can't be taken further
	start   value
	partial bool // a call was evaluated for its effects alone, so cur is not the function's value
}

// onlyEffect reports whether a call is evaluated just because one of its effects is wanted, and marks its activation
// so.
func (e *evaluator) onlyEffect(binds []bind) bool {
	for _, b := range binds {
		if e.seeking != nil && b.alias == e.seeking {
			b.act.partial = true
			return true
		}
	}
	return false
}

// bind says that a call's effect gets a name.
type bind struct {
	alias *check.Object
	act   *activation
}

// effect is the value of an alias, computed when first asked for.
type effect struct {
	get  func() (value, error)
	val  value
	err  error
	done bool
}

// set records the effect called name of a call for those aliases that bind it.
func setEffect(binds []bind, name string, get func() (value, error)) {
	for _, b := range binds {
		if b.act != nil && b.alias.Alias.Effect.Name == name {
			b.act.effects[b.alias] = &effect{get: get}
		}
	}
}

func (e *evaluator) activate(home *module.Module, fn *ast.Func, cur value, args []arg) *activation {
	keys := make([]key, 0, len(args)+1)
	keys = append(keys, cur.key())
	for _, a := range args {
		keys = append(keys, a.val.key())
	}
	k := actKey{fn, e.keys.of("act", keys), e.lazyImages > 0}
	if act := e.acts[k]; act != nil {
		return act
	}
	act := &activation{fn: fn, cur: cur, start: cur, effects: map[*check.Object]*effect{}}
	act.env = &env{mod: home, fn: fn, params: e.bindParams(fn, args), act: act}
	e.acts[k] = act
	return act
}

func (e *evaluator) bindParams(fn *ast.Func, args []arg) map[*ast.Param]value {
	params := make(map[*ast.Param]value, len(fn.Params.Params))
	for i, p := range fn.Params.Params {
		if p.Variadic == nil {
			params[p] = args[i].val
			continue
		}
		var values []value
		for _, a := range args[i:] {
			values = append(values, a.val)
		}
		params[p] = e.spread(values)
	}
	return params
}

// finish runs the rest of the body and returns the function's value.
func (a *activation) finish(e *evaluator, at diag.Span) (value, error) {
	defer func(outer *check.Object) { e.seeking = outer }(e.seeking)
	e.seeking = nil
	if a.partial {
		a.cur, a.done, a.partial = a.start, 0, false
	}
	n := 0
	if a.fn.Body != nil {
		n = len(a.fn.Body.Stmts)
	}
	if err := a.advance(e, n, at); err != nil {
		return nil, err
	}
	return a.cur, nil
}

// effect runs the body as far as the statement that binds the alias and returns the alias' value.
func (a *activation) effect(e *evaluator, alias *check.Object, at diag.Span) (value, error) {
	if a.effects[alias] == nil {
		defer func(outer *check.Object) { e.seeking = outer }(e.seeking)
		e.seeking = alias
		n := 0
		for i, s := range a.fn.Body.Stmts {
			if s == alias.Alias.Stmt {
				n = i + 1
			}
		}
		if err := a.advance(e, n, at); err != nil {
			return nil, err
		}
	}
	eff := a.effects[alias]
	if eff == nil {
		return nil, diag.Errorf(diag.Internal, at, "%s was never bound", alias.Name)
	}
	e.note(a.reached)
	if !eff.done {
		eff.val, eff.err = eff.get()
		eff.done = true
	}
	return eff.val, eff.err
}

// advance runs statements until n are done.
func (a *activation) advance(e *evaluator, n int, at diag.Span) error {
	if a.err != nil {
		return a.err
	}
	if a.done >= n {
		e.note(a.reached)
		return nil
	}
	// There are no conditions, so whatever led from a statement back to it will do so again.
	for _, i := range e.running[a.fn] {
		if i < n {
			return e.recursion(a.fn, at)
		}
	}
	outer := e.reached
	e.reached = a.reached
	for a.done < n && a.err == nil {
		a.step(e)
	}
	a.reached, e.reached = e.reached, outer
	e.note(a.reached)
	return a.err
}

// step runs the next statement.
func (a *activation) step(e *evaluator) {
	e.running[a.fn] = append(e.running[a.fn], a.done)
	next, err := e.stmt(a.env, a.fn.Kind(), a.fn.Body.Stmts[a.done], a.cur)
	stack := e.running[a.fn]
	e.running[a.fn] = stack[:len(stack)-1]
	if err != nil {
		a.err = err
		return
	}
	a.cur, a.done = next, a.done+1
}

// note remembers exports that the activation in progress has reached.
func (e *evaluator) note(exports []*export) {
	e.reached = joinUnique(e.reached, exports)
}

// recursion reports the chain of calls from fn back to fn.
func (e *evaluator) recursion(fn *ast.Func, at diag.Span) error {
	start := 0
	for i, f := range e.stack {
		if f.name == fn.Name.Name {
			start = i
			break
		}
	}
	var names []string
	for _, f := range e.stack[start:] {
		names = append(names, f.name)
	}
	if len(names) < 2 || names[len(names)-1] != fn.Name.Name {
		names = append(names, fn.Name.Name)
	}
	d := diag.Errorf(diag.Recursion, at, "%s calls itself and would never end: %s", fn.Name.Name,
		strings.Join(names, " → ")).
		WithLabel(fn.Name.Span(), "defined here")
	for _, f := range e.stack[start:] {
		d.WithLabel(f.span, "%s is called here", f.name)
	}
	return d
}
