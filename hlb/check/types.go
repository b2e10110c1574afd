// SPDX-License-Identifier: Apache-2.0

package check

import (
	"fmt"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/diag"
)

// block checks the statements of a block of kind.
func (c *checker) block(b *ast.Block, kind ast.Kind) {
	w, literal := wanted{kinds: []ast.Kind{kind}}, wanted{kinds: []ast.Kind{kind}}
	if kind == ast.Pipeline {
		literal = pipelineLit
	}
	var short *diag.Diagnostic // about the statement before, if it lacks arguments
	for _, s := range b.Stmts {
		switch s := s.(type) {
		case *ast.LitStmt:
			if short != nil && !literal.has(s.Value.Kind()) {
				short.Hint = "a line feed ends the call, so the arguments must stand on its line"
				continue
			}
			c.expr(s.Value, literal)
		case *ast.CallStmt:
			before := len(c.errs)
			c.callStmt(s, w)
			short = nil
			if last := len(c.errs) - 1; last == before && c.errs[last].Code == diag.ArgCount {
				short = c.errs[last]
			}
		}
	}
}

func (c *checker) callStmt(s *ast.CallStmt, w wanted) {
	if c.breaks(s.Callee) {
		return
	}
	o := c.callee(s.Callee, w)
	if o == nil {
		return
	}
	c.call(o, call{name: s.Callee, args: s.Args, with: s.With, stmt: true, want: w})
}

// call is what a use of a function consists of.
type call struct {
	name *ast.Name
	args []ast.Expr
	with *ast.With // nil for expressions
	stmt bool      // a statement, which can have options
	want wanted
}

// call checks arguments and options of a call of o, as far as o is known.
func (c *checker) call(o *Object, use call) {
	if o.What == MemberObject {
		c.deferUse(o.Import, use)
		return
	}
	c.args(o, use)
	if use.with != nil {
		c.with(o, use)
	}
}

func (c *checker) args(o *Object, use call) {
	if !c.count(o, use) {
		return
	}
	params := o.Params()
	for i, arg := range use.args {
		p := params[min(i, len(params)-1)]
		before := len(c.errs)
		c.expr(arg, c.argument(p.Kind))
		if len(c.errs) == before {
			continue
		}
		if c.misplaced(o, use, i, c.errs[before]) {
			c.errs = c.errs[:before+1] // what is in the options is another matter, once they are where they belong
			return
		}
	}
}

// count reports a call with too few or too many arguments.
func (c *checker) count(o *Object, use call) bool {
	params, got := o.Params(), len(use.args)
	want, atLeast := len(params), ""
	if want > 0 && params[want-1].Variadic {
		want--
		if got >= want {
			return true
		}
		atLeast = "at least "
	}
	if got == want {
		return true
	}
	d := diag.Errorf(diag.ArgCount, use.name.Span(), "`%s` takes %s%s, got %d", use.name, atLeast, arguments(want), got)
	if o.What == ParamObject || o.What == EffectObject {
		d.Message = fmt.Sprintf("`%s` is a parameter and takes no arguments, got %d", use.name, got)
	}
	if o.What == BuiltinObject {
		d.WithHint("its signature is: %s", o.Builtin.Signature())
	}
	for i := range use.args {
		if c.misplaced(o, use, i, d) {
			break
		}
	}
	c.report(d.WithLabel(o.Span, "%s", definedHere(o)))
	return false
}

func arguments(n int) string {
	switch n {
	case 0:
		return "no arguments"
	case 1:
		return "1 argument"
	default:
		return fmt.Sprintf("%d arguments", n)
	}
}

// with checks the options of a call.
func (c *checker) with(o *Object, use call) {
	operand := use.with.Operand
	if e, ok := operand.(*ast.CallExpr); ok && c.breaks(e.Callee) {
		return
	}
	if o.What != BuiltinObject {
		c.noOptions(o, use)
		return
	}
	kind := ast.OptionOf(o.Name)
	w := wanted{kinds: []ast.Kind{kind}}
	if b, ok := operand.(*ast.BlockLit); ok && b.Kind() == ast.Option {
		c.info.BlockKinds[b] = kind
		c.block(b.Body, kind)
		return
	}
	c.expr(operand, w)
}

// noOptions accepts only an empty block as the options of something that isn't a builtin, since none could reach it.
func (c *checker) noOptions(o *Object, use call) {
	b, ok := use.with.Operand.(*ast.BlockLit)
	if ok && onlyBreakpoints(b.Body) {
		switch kind := b.Kind(); kind {
		case ast.Option, ast.OptionOf(use.name.Ident.Name), ast.OptionOf(o.Name):
			c.info.BlockKinds[b] = ast.OptionOf(o.Name)
			return
		}
	}
	c.report(diag.Errorf(diag.WrongKind, use.with.Operand.Span(), "`%s` has no options, only builtins do", use.name).
		WithLabel(o.Span, "%s", definedHere(o)).
		WithHint("give it a parameter of an option kind instead"))
}

func onlyBreakpoints(b *ast.Block) bool {
	for _, s := range b.Stmts {
		if call, ok := s.(*ast.CallStmt); !ok || !isBreakpoint(call.Callee) {
			return false
		}
	}
	return true
}

// expr checks e in a place that wants w.
func (c *checker) expr(e ast.Expr, w wanted) {
	switch e := e.(type) {
	case *ast.BlockLit:
		c.blockLit(e, w)
	case *ast.CallExpr:
		if c.breaks(e.Callee) {
			return // the empty value of the kind wanted, whatever its arguments
		}
		if o := c.callee(e.Callee, w); o != nil {
			c.call(o, call{name: e.Callee, args: e.Args(), want: w})
		}
	case ast.Literal:
		if !w.has(e.Kind()) {
			c.wrongKind(e.Span(), e.Kind(), w)
			return
		}
		c.parts(e)
	}
}

func (c *checker) blockLit(b *ast.BlockLit, w wanted) {
	kind := b.Kind()
	if kind == ast.Option {
		c.bareOption(b, w)
		return
	}
	if !c.validKind(b.Type, w) {
		return
	}
	if !w.has(kind) {
		c.wrongKind(b.Type.Span(), kind, w)
		return
	}
	c.block(b.Body, kind)
}

// bareOption checks `option { … }` that isn't the operand of a `with` of a builtin. Its kind can't be completed
// there, so nothing in it can have the right kind; an empty one has no options of any kind.
func (c *checker) bareOption(b *ast.BlockLit, w wanted) {
	before := len(c.errs)
	if kind := optionOf(w); kind != "" || w.isUnknown() {
		if kind != "" {
			c.info.BlockKinds[b] = kind
		}
		c.block(b.Body, ast.Option)
	} else {
		c.wrongKind(b.Type.Span(), ast.Option, w)
	}
	for _, d := range c.errs[before:] {
		if d.Hint == "" {
			d.WithHint("say of which call the options are, as in option::run { … }")
		}
	}
}

// optionOf returns the kind of options that w wants, or "".
func optionOf(w wanted) ast.Kind {
	for _, k := range w.kinds {
		if k.Primary() == ast.Option {
			return k
		}
	}
	return ""
}

// parts checks what a string or heredoc interpolates.
func (c *checker) parts(lit ast.Literal) {
	var parts []ast.Part
	switch lit := lit.(type) {
	case *ast.StringLit:
		parts = lit.Parts
	case *ast.HeredocLit:
		parts = lit.Parts
	}
	for _, p := range parts {
		if in, ok := p.(*ast.Interp); ok {
			c.expr(in.Value, interpolated)
		}
	}
}
