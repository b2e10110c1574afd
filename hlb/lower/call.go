// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"strconv"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/builtin"
	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/module"
)

// callSite is a call as written, with the value it is applied to.
type callSite struct {
	env   *env
	kind  ast.Kind // of the block or position
	name  *ast.Name
	args  []ast.Expr
	with  *ast.With
	span  diag.Span
	cur   value
	binds []bind
}

// call is a call of a builtin with everything evaluated.
type call struct {
	name  string
	args  []arg
	opts  []*option
	span  diag.Span
	cur   value
	binds []bind
	dir   module.Dir // where relative paths of the call start
}

func (c *call) str(i int) string { return c.args[i].str() }
func (c *call) int(i int) int    { return c.args[i].int() }

// key identifies the result of the call.
func (c *call) key(e *evaluator) key {
	parts := make([]key, 0, len(c.args)+len(c.opts)+1)
	parts = append(parts, c.cur.key())
	for _, a := range c.args {
		parts = append(parts, a.val.key())
	}
	opts := make([]key, len(c.opts))
	for i, o := range c.opts {
		opts[i] = o.k
	}
	k := e.keys.of("call", c.name, parts, opts)
	if relativePaths[c.name] {
		k = e.keys.of("in", k, c.dir.Root.Display(c.dir.Path))
	}
	return k
}

// relativePaths are the builtins whose paths start at the directory of the file the call is written in, so that equal
// calls in different directories are not the same. (Of local, the key says what it reads.)
var relativePaths = map[string]bool{
	"secret": true, "forward": true, "localPaths": true,
	"download": true, "downloadTarball": true, "downloadOCITarball": true, "downloadDockerTarball": true,
	"from": true, "to": true, "toLocal": true,
}

// invoke calls what a name stands for. Options are evaluated first, then arguments.
func (e *evaluator) invoke(s callSite, obj *check.Object) (value, error) {
	switch obj.What {
	case check.ParamObject:
		v, ok := s.env.params[obj.Param]
		if !ok {
			return nil, diag.Errorf(diag.Internal, s.span, "parameter %s has no value", obj.Name)
		}
		return v, nil
	case check.EffectObject:
		return e.empty(obj.Kind), nil
	case check.BuiltinObject:
		return e.callBuiltin(s, obj.Builtin)
	case check.FuncObject, check.AliasObject:
		return e.callFunc(s, obj)
	}
	return nil, diag.Errorf(diag.Internal, s.span, "%s can't be called", s.name)
}

func (e *evaluator) callBuiltin(s callSite, fn *builtin.Func) (value, error) {
	c := &call{name: fn.Name, span: s.span, cur: s.cur, binds: s.binds, dir: s.env.mod.Dir}
	var err error
	if c.opts, err = e.withOptions(s, fn); err != nil {
		return nil, err
	}
	if c.args, err = e.builtinArgs(s, fn); err != nil {
		return nil, err
	}
	switch s.cur = e.current(fn.Kind, s.cur); cur := s.cur.(type) {
	case *filesystem:
		return e.callFS(c, cur)
	case *options:
		return e.appendOptions(cur, e.newOption(c)), nil
	case *pipe:
		return e.stage(c, cur), nil
	}
	return e.callText(c)
}

// builtinArgs evaluates the arguments of a builtin. The cache of a cacheContext may be an image that is no more than
// a cache, which has no config to load: it is first evaluated without looking, and again if it turns out to be
// something that is built.
func (e *evaluator) builtinArgs(s callSite, fn *builtin.Func) ([]arg, error) {
	if fn.Name != "cacheContext" || len(s.args) == 0 {
		return e.args(s, fn.Params)
	}
	first, rest := s, s
	first.args, rest.args = s.args[:1], s.args[1:]
	e.lazyImages++
	cache, err := e.args(first, fn.Params)
	e.lazyImages--
	if err == nil && cache[0].fs().out != nil && cache[0].fs().origin.imageRef == "" {
		cache, err = e.args(first, fn.Params)
	}
	if err != nil {
		return nil, err
	}
	sections, err := e.args(rest, fn.Params[1:])
	return append(cache, sections...), err
}

// current returns cur if it is of the kind a builtin works on, else that kind's empty value.
func (e *evaluator) current(kind ast.Kind, cur value) value {
	switch empty := e.empty(kind); empty.(type) {
	case *filesystem:
		if _, ok := cur.(*filesystem); ok {
			return cur
		}
		return empty
	case *options:
		if _, ok := cur.(*options); ok {
			return cur
		}
		return empty
	case *pipe:
		if _, ok := cur.(*pipe); ok {
			return cur
		}
		return empty
	default:
		return empty
	}
}

func (e *evaluator) newOption(c *call) *option {
	o := &option{name: c.name, args: c.args, with: c.opts, span: c.span, dir: c.dir, binds: c.binds}
	if c.name == "ignoreCache" {
		o.args = []arg{{e.text(e.ids()), c.span}} // no two of them are the same
	}
	o.size = sizeOfArgs(o.args)
	for _, w := range o.with {
		o.size += w.size
	}
	keyed := *c
	keyed.cur, keyed.args = e.noOptions, o.args
	o.k = keyed.key(e)
	if len(c.binds) > 0 {
		o.k = e.keys.of("bound", o.k)
	}
	return o
}

// withOptions evaluates the `with` of a builtin's call.
func (e *evaluator) withOptions(s callSite, fn *builtin.Func) ([]*option, error) {
	if s.with == nil {
		return nil, nil
	}
	v, err := e.expr(s.env, s.with.Operand, ast.OptionOf(fn.Name))
	if err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case *options:
		return v.list(), nil
	case spread:
		var all []*option
		for _, o := range v.values {
			all = append(all, o.(*options).list()...)
		}
		return all, nil
	}
	return nil, diag.Errorf(diag.Internal, s.with.Span(), "the operand of with is not an option")
}

// args evaluates arguments for a signature. Variadic parameters given where a variadic one is wanted are spread in
// place.
func (e *evaluator) args(s callSite, params []builtin.Param) ([]arg, error) {
	out := make([]arg, 0, len(s.args))
	for i, x := range s.args {
		p := paramAt(params, i)
		if p == nil {
			return nil, diag.Errorf(diag.Internal, x.Span(), "too many arguments for %s", s.name)
		}
		v, err := e.expr(s.env, x, p.Kind)
		if err != nil {
			return nil, err
		}
		values := []value{v}
		if sp, ok := v.(spread); ok {
			values = sp.values
			if !p.Variadic && len(values) != 1 {
				return nil, notOne(x.Span(), len(values))
			}
			if err := e.burnMany(len(values), x.Span()); err != nil {
				return nil, err
			}
		}
		for _, v := range values {
			out = append(out, arg{e.convert(v, p.Kind, x.Span()), x.Span()})
		}
	}
	return out, nil
}

// convert adapts a value to a parameter: where a pipeline is wanted, a filesystem means its solve and other values
// nothing.
func (e *evaluator) convert(v value, want ast.Kind, at diag.Span) value {
	if want != ast.Pipeline {
		return v
	}
	switch v := v.(type) {
	case *pipe:
		return v
	case *filesystem:
		return e.solving(v, at)
	}
	return e.nothing
}

// paramAt returns the parameter that argument i is for, nil if there is none.
func paramAt(params []builtin.Param, i int) *builtin.Param {
	if n := len(params); n > 0 && params[n-1].Variadic && i >= n-1 {
		return &params[n-1]
	}
	if i < len(params) {
		return &params[i]
	}
	return nil
}

// callFunc calls a function or an alias of the program or of a module.
func (e *evaluator) callFunc(s callSite, obj *check.Object) (value, error) {
	args, err := e.args(s, obj.Params())
	if err != nil {
		return nil, err
	}
	home, err := e.modules.Home(obj.Module)
	if err != nil {
		return nil, err
	}
	if len(e.stack) >= e.limits.CallDepth {
		return nil, diag.Errorf(LimitDepth, s.span, "calls nest deeper than %d", e.limits.CallDepth)
	}
	e.stack = append(e.stack, frame{s.span, obj.Name})
	defer func() { e.stack = e.stack[:len(e.stack)-1] }()
	cur := s.cur
	if obj.What == check.AliasObject {
		cur = e.aliasStart(obj.Func, cur)
	}
	act := e.activate(home, obj.Func, cur, args)
	if obj.What == check.FuncObject {
		return act.finish(e, s.span)
	}
	v, err := act.effect(e, obj, s.span)
	if err != nil {
		return nil, err
	}
	if next, ok := v.(*filesystem); ok {
		if prev, ok := s.cur.(*filesystem); ok {
			return e.replace(prev, next), nil
		}
	}
	return v, nil
}

// aliasStart is the value that an alias' function starts from: the current one if the function can go on from it.
func (e *evaluator) aliasStart(fn *ast.Func, cur value) value {
	return e.current(fn.Kind(), cur)
}

// render turns a value into text for an interpolation.
func render(v value, at diag.Span) (string, error) {
	switch v := v.(type) {
	case text:
		return v.s, nil
	case number:
		return strconv.FormatInt(v.n, 10), nil
	case truth:
		return strconv.FormatBool(v.b), nil
	case spread:
		if len(v.values) == 1 {
			return render(v.values[0], at)
		}
		return "", notOne(at, len(v.values))
	}
	return "", diag.Errorf(diag.Internal, at, "the value has no text")
}
