// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"

	"github.com/moby/buildkit/identity"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/module"
	"github.com/openllb/hlb-operator/hlb/request"
	"github.com/openllb/hlb-operator/hlb/spell"
)

// errWall is the cause of a context that ran out of Limits.Wall.
var errWall = errors.New("compiling takes too long")

// Compile checks and evaluates a program. See hlb.Compile.
func Compile(ctx context.Context, prog Program, opts Options) (*request.Request, diag.List) {
	if len(opts.Targets) == 0 {
		opts.Targets = []string{"default"}
	}
	opts = opts.withDefaults()
	ctx, wall, cancel := withWall(ctx, opts.Limits.withDefaults(opts.Profile).Wall)
	defer cancel()
	e := newEvaluator(ctx, wall, opts)
	m, found := e.program(prog)
	if m == nil {
		return nil, found
	}
	e.warnings = found
	args, errs := bindArgs(m.Info, opts)
	if len(errs) > 0 {
		return nil, errs
	}
	req, err := e.targets(m, args)
	if err != nil {
		return nil, diag.ListOf(err)
	}
	return req, nil
}

func (o Options) withDefaults() Options {
	if o.Host == nil {
		o.Host = machine{}
	}
	if o.IDSource == nil {
		o.IDSource = identity.NewID
	}
	return o
}

// program parses and checks the program itself.
func (e *evaluator) program(prog Program) (*module.Module, diag.List) {
	dir := e.programDir(prog)
	e.modules.vendor = vendorOf(e.opts, dir.Root)
	return e.modules.Program(prog.Filename, prog.Source, dir)
}

// targets evaluates the targets and builds the request.
func (e *evaluator) targets(m *module.Module, args map[*ast.Param]string) (*request.Request, error) {
	e.uniqueID = e.ids()
	req := &request.Request{Warnings: e.warnings}
	var roots []*request.Node
	for _, name := range e.opts.Targets {
		t, err := e.target(m, name, args)
		if err != nil {
			return nil, err
		}
		req.Targets = append(req.Targets, t)
		roots = append(roots, t.Root)
	}
	req.Root = request.Group(request.Parallel, roots...)
	req.CacheMounts = e.mounts
	req.Sources = e.modules.Sources
	return req, nil
}

func (e *evaluator) target(m *module.Module, name string, given map[*ast.Param]string) (request.Target, error) {
	t := request.Target{Name: name}
	obj := m.Info.Scope[name]
	var args []arg
	for _, p := range obj.Func.Params.Params {
		if text, ok := given[p]; ok {
			args = append(args, arg{e.argValue(p.Kind(), text), p.Span()})
		}
	}
	e.reached, e.traced = nil, name
	act := e.activate(m, obj.Func, e.empty(obj.Func.Kind()), args)
	var v value
	var err error
	if obj.What == check.AliasObject {
		v, err = act.effect(e, obj, obj.Span)
	} else {
		v, err = act.finish(e, obj.Span)
	}
	if err != nil {
		return t, err
	}
	switch v := v.(type) {
	case *filesystem:
		if t.Root, err = e.fsTree(v, obj.Span); err != nil {
			return t, err
		}
		t.Final, err = e.solveOf(v.image, obj.Span)
	case *pipe:
		t.Root, err = e.tree(v, obj.Span)
	}
	if err != nil {
		return t, err
	}
	t.Root, err = e.withDropped(t.Root)
	return t, err
}

// withDropped adds exports that the target reached but whose filesystems it then dropped: they were asked for all the
// same.
func (e *evaluator) withDropped(root *request.Node) (*request.Node, error) {
	have := map[*request.Node]bool{}
	for _, leaf := range root.Leaves() {
		have[leaf] = true
	}
	nodes := []*request.Node{root}
	for _, x := range e.reached {
		n, err := e.exportNode(x)
		if err != nil {
			return nil, err
		}
		if !have[n] {
			nodes = append(nodes, n)
		}
	}
	return request.Group(request.Parallel, nodes...), nil
}

func (e *evaluator) argValue(kind ast.Kind, s string) value {
	switch kind {
	case ast.Int:
		n, _ := strconv.ParseInt(s, 0, 64) // bindArgs has checked it
		return e.number(n)
	case ast.Bool:
		return e.truth(s == "true")
	}
	return e.text(s)
}

// bindArgs checks the targets and gives their parameters the values asked for.
func bindArgs(info *check.Info, opts Options) (map[*ast.Param]string, diag.List) {
	var errs, targets diag.List
	bound := map[*ast.Param]string{}
	known := map[string]bool{}
	for _, name := range opts.Targets {
		obj, d := findTarget(info, name)
		if d != nil {
			targets = append(targets, d)
			continue
		}
		for _, p := range obj.Func.Params.Params {
			s, given := opts.Args[p.Name.Name]
			known[p.Name.Name] = true
			if d := checkArg(name, p, s, given, len(opts.Args) > 0); d != nil {
				errs = append(errs, d)
			} else if given {
				bound[p] = s
			}
		}
	}
	if len(targets) > 0 { // which may have the parameters that nothing else has
		return nil, append(targets, errs...)
	}
	return bound, append(unknownArgs(opts.Args, known), errs...)
}

// unknownArgs reports the values for parameters that no target has. A parameter that has its value already is no
// suggestion.
func unknownArgs(given map[string]string, known map[string]bool) diag.List {
	var free []string
	for name := range known {
		if _, taken := given[name]; !taken {
			free = append(free, name)
		}
	}
	var errs diag.List
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !known[name] {
			d := diag.Errorf(BadArgument, diag.Span{}, "no target has a parameter `%s`", name)
			errs = append(errs, spell.Among(name, free).Hint(d))
		}
	}
	return errs
}

// checkArg checks the value for one parameter of a target.
func checkArg(target string, p *ast.Param, s string, given, anyArgs bool) *diag.Diagnostic {
	at := p.Span()
	switch kind := p.Kind(); {
	case p.Variadic != nil && !given:
		return nil
	case kind != ast.String && kind != ast.Int && kind != ast.Bool:
		return diag.Errorf(diag.ArgCount, at, "target %s takes %s %s, which can't be given from outside", target, kind,
			p.Name.Name).
			WithHint("only string, int and bool parameters can")
	case !given:
		code := diag.ArgCount
		if anyArgs {
			code = BadArgument
		}
		return diag.Errorf(code, at, "target %s needs a value for %s %s", target, kind, p.Name.Name).
			WithHint("give it as an argument of the build")
	case kind == ast.Int:
		if _, err := strconv.ParseInt(s, 0, 64); err != nil {
			return diag.Errorf(BadArgument, at, "%s = %q is not a whole number", p.Name.Name, s)
		}
	case kind == ast.Bool && s != "true" && s != "false":
		return diag.Errorf(BadArgument, at, "%s = %q is neither true nor false", p.Name.Name, s)
	}
	return nil
}

func findTarget(info *check.Info, name string) (*check.Object, *diag.Diagnostic) {
	obj := info.Scope[name]
	at := diag.Span{File: info.Module.File}
	if obj == nil {
		d := diag.Errorf(diag.NoTarget, at, "%s has no target `%s`", info.Module.File, name)
		return nil, spell.Among(name, info.Targets()).Hint(d)
	}
	if obj.What != check.FuncObject && obj.What != check.AliasObject {
		return nil, diag.Errorf(diag.NoTarget, obj.Span, "`%s` is not a target: an import can't be built", name).
			WithHint("declare a function that uses %s", name)
	}
	return obj, nil
}
