// SPDX-License-Identifier: Apache-2.0

// Package lower evaluates a checked program to a request tree.
//
// A block threads one current value through its statements. Calls of functions are activations: they run their body
// statement by statement, remember how far they came, and can be taken further later. An alias takes the activation
// of its function as far as the statement that binds it and no further, which is why an alias may be used later in
// its own function. Activations are remembered by function, current value and arguments, so equal calls are evaluated
// once and yield one LLB vertex.
//
// Nothing is solved here but what must be known while compiling (see Solver), and nothing is exported. Evaluation is
// sequential and its result depends on program and options alone.
package lower

import (
	"context"
	"slices"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/module"
	"github.com/openllb/hlb-operator/hlb/request"
)

// evaluator is one compile.
type evaluator struct {
	ctx      context.Context
	opts     Options
	limits   Limits
	platform ocispecs.Platform
	keys     *keys

	scratch   *filesystem
	nothing   *pipe
	noOptions *options

	modules *modules
	acts    map[actKey]*activation
	running map[*ast.Func][]int // indexes of the statements in progress, innermost last
	stack   []frame
	budget
	ids func() string

	maps        map[string]*llb.SourceMap // by file
	places      map[diag.Span]llb.ConstraintsOpt
	images      map[string]resolved // image configs by reference and platform
	allowed     map[usage]error     // the answers of Options.Allow
	wall        *wall
	frontends   map[key]built
	uniqueID    string    // of local sources that have no id of their own
	reached     []*export // exports evaluated by the activation in progress
	exports     map[key]*export
	scopes      map[key]*scope
	mounts      []request.CacheMount
	mountsSeen  map[request.CacheMount]bool
	warnings    diag.List
	solves      map[*image]*request.Solve
	scopeSolves map[*scope]*request.Scope
	seeking     *check.Object // the alias that the activation in progress runs for
	lazyImages  int           // > 0 while image configs must not be looked up
	traced      string        // the target being evaluated
}

// frame is a call in progress.
type frame struct {
	span diag.Span
	name string
}

// newEvaluator makes an evaluator for a compile in a context of withWall.
func newEvaluator(ctx context.Context, wall *wall, opts Options) *evaluator {
	e := &evaluator{
		ctx: ctx, opts: opts, limits: opts.Limits.withDefaults(opts.Profile), keys: newKeys(),
		acts: map[actKey]*activation{}, running: map[*ast.Func][]int{}, ids: opts.IDSource,
		maps: map[string]*llb.SourceMap{}, places: map[diag.Span]llb.ConstraintsOpt{},
		images: map[string]resolved{}, allowed: map[usage]error{}, wall: wall,
		frontends: map[key]built{}, exports: map[key]*export{}, scopes: map[key]*scope{},
		mountsSeen: map[request.CacheMount]bool{}, budget: budget{ops: map[digest.Digest][]byte{}},
		solves: map[*image]*request.Solve{}, scopeSolves: map[*scope]*request.Scope{},
	}
	e.modules = newModules(e.limits)
	e.platform = defaultPlatform(opts)
	st := llb.Scratch()
	e.scratch = &filesystem{image: &image{meta: st, platform: e.platform}, k: e.keys.of("scratch")}
	e.nothing = &pipe{k: e.keys.of("nothing")}
	e.noOptions = &options{k: e.keys.of("no options")}
	return e
}

// scope of names and effects that a piece of code is evaluated in.
type env struct {
	mod    *module.Module
	fn     *ast.Func // nil in the operand of an import
	params map[*ast.Param]value
	act    *activation // where `as` binds; nil outside functions
}

// maxPlaces is how many calls around an op are kept as its places: with all of them, a request would grow with the
// square of the depth.
const maxPlaces = 32

// locations returns the source locations of an op: the call itself, then the calls around it, innermost first.
func (e *evaluator) locations(at diag.Span) []llb.ConstraintsOpt {
	around := e.stack[max(0, len(e.stack)-maxPlaces):]
	out := make([]llb.ConstraintsOpt, 0, len(around)+1)
	out = append(out, e.location(at))
	for _, f := range slices.Backward(around) {
		out = append(out, e.location(f.span))
	}
	return out
}

func (e *evaluator) location(s diag.Span) llb.ConstraintsOpt {
	if l, ok := e.places[s]; ok {
		return l
	}
	m := e.maps[s.File]
	if m == nil {
		m = llb.NewSourceMap(nil, s.File, "HLB", e.modules.Sources[s.File])
		e.maps[s.File] = m
	}
	l := m.Location([]*pb.Range{{
		Start: &pb.Position{Line: int32(s.Start.Line), Character: int32(s.Start.Column)},
		End:   &pb.Position{Line: int32(s.End.Line), Character: int32(s.End.Column)},
	}})
	e.places[s] = l
	return l
}

// block runs statements over cur and returns the last value. done is how many statements to run, len(b.Stmts) for all.
func (e *evaluator) block(en *env, kind ast.Kind, b *ast.Block, cur value) (value, error) {
	for _, s := range b.Stmts {
		next, err := e.stmt(en, kind, s, cur)
		if err != nil {
			return nil, err
		}
		cur = next
	}
	return cur, nil
}

func (e *evaluator) stmt(en *env, kind ast.Kind, s ast.Stmt, cur value) (value, error) {
	if err := e.burn(s.Span()); err != nil {
		return nil, err
	}
	stop, err := e.enter(en, kind, s, cur)
	if err != nil {
		return nil, err
	}
	v, err := e.untraced(en, kind, s, cur)
	if err == nil && stop != nil {
		err = e.leave(stop, v)
	}
	return v, err
}

func (e *evaluator) untraced(en *env, kind ast.Kind, s ast.Stmt, cur value) (value, error) {
	switch s := s.(type) {
	case *ast.LitStmt:
		v, err := e.expr(en, s.Value, kind)
		if err != nil || kind.Primary() == ast.Pipeline {
			return cur, err // a literal adds nothing to a pipeline
		}
		return v, nil
	case *ast.CallStmt:
		return e.callStmt(en, kind, s, cur)
	}
	return nil, diag.Errorf(diag.Internal, s.Span(), "unknown statement")
}

func (e *evaluator) callStmt(en *env, kind ast.Kind, s *ast.CallStmt, cur value) (value, error) {
	obj, err := e.callee(en, s.Callee)
	if err != nil {
		return nil, err
	}
	if obj.What == check.BreakpointObject {
		return cur, nil
	}
	site := callSite{env: en, kind: kind, name: s.Callee, args: s.Args, with: s.With, span: s.Span(), cur: cur}
	for _, alias := range en.mod.Info.Aliases[s] {
		site.binds = append(site.binds, bind{alias: alias, act: en.act})
	}
	v, err := e.invoke(site, obj)
	if err != nil {
		return nil, err
	}
	return e.combine(cur, v, obj, s.Span())
}

// combine makes the new current value of a block out of what a statement yielded. Names of values replace the current
// one, or are added to it in options and pipelines; calls have already built on it.
func (e *evaluator) combine(cur, v value, obj *check.Object, at diag.Span) (value, error) {
	if obj.What != check.ParamObject && obj.What != check.EffectObject {
		return v, nil
	}
	values := []value{v}
	if s, ok := v.(spread); ok {
		values = s.values
		if _, lists := cur.(*options); !lists && obj.Kind != ast.Pipeline && len(values) != 1 {
			return nil, notOne(at, len(values))
		}
	}
	for _, v := range values {
		if err := e.burnMany(sizeOfList(v), at); err != nil {
			return nil, err
		}
		switch v := v.(type) {
		case *options:
			cur = e.appendOptions(cur.(*options), v.list()...)
		case *pipe:
			cur = e.sequence(cur.(*pipe), v)
		case *filesystem:
			cur = e.replace(cur.(*filesystem), v)
		default:
			cur = v
		}
	}
	return cur, nil
}

// notOne reports a variadic parameter of n values in a place for one.
func notOne(at diag.Span, n int) error {
	return diag.Errorf(diag.ArgCount, at, "one value is wanted here, but there are %d", n).
		WithHint("a variadic parameter stands for all its values")
}

// replace returns next with the exports of cur still pending.
func (e *evaluator) replace(cur, next *filesystem) *filesystem {
	if len(cur.pending) == 0 {
		return next
	}
	return &filesystem{image: next.image, pending: joinUnique(cur.pending, next.pending),
		k: e.keys.of("after", next.k, pendingKeys(cur.pending))}
}

// callee returns what a name stands for, loading the module of an import's member.
func (e *evaluator) callee(en *env, n *ast.Name) (*check.Object, error) {
	obj := en.mod.Info.Callee(n)
	if obj == nil {
		return nil, diag.Errorf(diag.Internal, n.Span(), "%s was not resolved", n)
	}
	if obj.What != check.MemberObject {
		return obj, nil
	}
	if err := e.resolveImport(en.mod, obj.Import, n.Span()); err != nil {
		return nil, err
	}
	return en.mod.Info.Callee(n), nil
}

// expr evaluates an expression for a position that wants a kind.
func (e *evaluator) expr(en *env, x ast.Expr, want ast.Kind) (value, error) {
	if err := e.burn(x.Span()); err != nil {
		return nil, err
	}
	switch x := x.(type) {
	case *ast.IntLit:
		return e.number(x.Value), nil
	case *ast.BoolLit:
		return e.truth(x.Value), nil
	case *ast.RawStringLit:
		return e.text(x.Text), nil
	case *ast.StringLit:
		s, err := e.parts(en, x.Parts, x.Span())
		return e.text(s), err
	case *ast.HeredocLit:
		s, err := e.parts(en, x.Parts, x.Span())
		return e.text(x.Mode.Apply(s)), err
	case *ast.BlockLit:
		kind := en.mod.Info.BlockKind(x)
		return e.block(en, kind, x.Body, e.empty(kind))
	case *ast.CallExpr:
		return e.callExpr(en, x, want)
	}
	return nil, diag.Errorf(diag.Internal, x.Span(), "unknown expression")
}

func (e *evaluator) callExpr(en *env, x *ast.CallExpr, want ast.Kind) (value, error) {
	obj, err := e.callee(en, x.Callee)
	if err != nil {
		return nil, err
	}
	if obj.What == check.BreakpointObject {
		return e.empty(want), nil
	}
	kind := want
	if obj.Kind != "" {
		kind = obj.Kind
	}
	return e.invoke(
		callSite{env: en, kind: kind, name: x.Callee, args: x.Args(), span: x.Span(), cur: e.empty(kind)},
		obj,
	)
}

// parts joins the pieces of a string.
func (e *evaluator) parts(en *env, parts []ast.Part, at diag.Span) (string, error) {
	if len(parts) == 1 {
		if t, ok := parts[0].(*ast.Text); ok {
			return t.Value, nil
		}
	}
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case *ast.Text:
			b = append(b, p.Value...)
		case *ast.Interp:
			v, err := e.expr(en, p.Value, ast.String)
			if err != nil {
				return "", err
			}
			s, err := render(v, p.Value.Span())
			if err != nil {
				return "", err
			}
			b = append(b, s...)
		}
		if err := e.fits(len(b), at); err != nil {
			return "", err
		}
	}
	return string(b), e.chargeText(len(b), at)
}
