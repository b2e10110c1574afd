// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"slices"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/request"
)

// Trace collects the statements of an evaluation, for debuggers. Each evaluation needs its own.
type Trace struct {
	// Stops are in the order in which the statements began; equal calls are evaluated once, and stand here once.
	Stops []*Stop

	depth int
	seen  map[traced]bool
}

// Stop is a statement of kind fs or pipeline.
type Stop struct {
	Span diag.Span
	// Function is the one it stands in, Callers are the calls around it, innermost first.
	Function string
	Callers  []Caller
	// Depth is how many statements it is evaluated for: the calls around it, and the statements whose arguments it is
	// in. End is the index behind the last stop of those that were evaluated for it.
	Depth, End int
	// Breakpoint is whether the statement asks a debugger to stop.
	Breakpoint bool
	// Before and After are the filesystem that the statement works on and what it made of that. They are nil where it
	// is of kind pipeline.
	Before, After *request.Solve
	// Env, Dir and User are those that a command would have before the statement.
	Env       []string
	Dir, User string
}

// Caller is a call and the function that it stands in.
type Caller struct {
	Span     diag.Span
	Function string
}

// traced is a statement over a value, in one call.
type traced struct {
	stmt ast.Stmt
	act  *activation
	cur  key
}

// enter adds a statement to the trace, if there is one. The stop is nil for what is not traced: statements that were
// before, look-ups without image configs, and operands of imports.
func (e *evaluator) enter(en *env, kind ast.Kind, s ast.Stmt, cur value) (*Stop, error) {
	t := e.opts.Trace
	if t == nil || e.lazyImages > 0 || en.act == nil || kind.Primary() != ast.FS && kind.Primary() != ast.Pipeline {
		return nil, nil
	}
	id := traced{s, en.act, cur.key()}
	if t.seen[id] {
		return nil, nil
	}
	if t.seen == nil {
		t.seen = map[traced]bool{}
	}
	t.seen[id] = true
	stop := &Stop{Span: s.Span(), Function: en.fn.Name.Name, Depth: t.depth, Breakpoint: e.isBreakpoint(en, s)}
	stop.Callers = e.callers()
	t.Stops = append(t.Stops, stop)
	t.depth++
	f, ok := cur.(*filesystem)
	if !ok {
		return stop, nil
	}
	vars, err := f.meta.Env(e.ctx)
	if err != nil {
		return nil, diag.Errorf(diag.Internal, s.Span(), "the environment: %v", err)
	}
	stop.Env, stop.Dir, stop.User = vars.ToArray(), f.workdir, f.user
	stop.Before, err = e.solveOf(f.image, s.Span())
	return stop, err
}

// leave completes a stop with what its statement made.
func (e *evaluator) leave(stop *Stop, made value) (err error) {
	t := e.opts.Trace
	t.depth--
	stop.End = len(t.Stops)
	if f, ok := made.(*filesystem); ok {
		stop.After, err = e.solveOf(f.image, stop.Span)
	}
	return err
}

// isBreakpoint reports whether a statement does nothing but ask for a stop, itself or in its options.
func (e *evaluator) isBreakpoint(en *env, s ast.Stmt) bool {
	found := false
	ast.Inspect(s, func(n ast.Node) bool {
		if name, ok := n.(*ast.Name); ok {
			obj := en.mod.Info.Callee(name)
			found = found || obj != nil && obj.What == check.BreakpointObject
		}
		block, ok := n.(*ast.BlockLit)
		return !ok || en.mod.Info.BlockKind(block).Primary() == ast.Option // others have stops of their own
	})
	return found
}

// callers are the calls around what is evaluated now.
func (e *evaluator) callers() []Caller {
	out := make([]Caller, 0, len(e.stack))
	for i, f := range slices.Backward(e.stack) {
		in := ""
		if i > 0 {
			in = e.stack[i-1].name
		}
		out = append(out, Caller{f.span, in})
	}
	if n := len(out); n > 0 {
		out[n-1].Function = e.traced
	}
	return out
}
