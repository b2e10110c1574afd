// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"strconv"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/builtin"
	"github.com/openllb/hlb-operator/hlb/cachedir"
	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/diag"
)

// Options choose the rules of Advise that not everyone wants.
type Options struct {
	// Portable reports builtins that other implementations of the language don't have.
	Portable bool
}

// Advise warns of what checks but is unwise. info must come from a check without errors.
func Advise(info *check.Info, opts Options) diag.List {
	a := &adviser{info: info}
	for _, d := range info.Module.Decls {
		a.decl(d, opts)
	}
	a.found.Sort()
	return a.found
}

// AdviseOn is Advise for one declaration of the module, in which the check found no error.
func AdviseOn(info *check.Info, d ast.Decl, opts Options) diag.List {
	a := &adviser{info: info}
	a.decl(d, opts)
	a.found.Sort()
	return a.found
}

func (a *adviser) decl(d ast.Decl, opts Options) {
	ast.Inspect(d, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Name:
			if !opts.Portable {
				return true
			}
			if f := a.builtin(n); f != nil && f.Extension {
				a.found = append(a.found,
					diag.Warningf(diag.NotPortable, n.Span(),
						"`%s` is an extension that other implementations don't have", n).
						WithLabel(f.Span(), "defined here"))
			}
		case *ast.CallStmt:
			a.mount(n)
		}
		return true
	})
}

type adviser struct {
	info  *check.Info
	found diag.List
}

// builtin returns the builtin that n stands for, or nil.
func (a *adviser) builtin(n *ast.Name) *builtin.Func {
	if o := a.info.Callee(n); o != nil {
		return o.Builtin
	}
	return nil
}

// mount warns of a cache mount with a mode that is unsafe for the tool of that directory, as far as both are written
// out.
func (a *adviser) mount(call *ast.CallStmt) {
	if call.With == nil {
		return
	}
	f := a.builtin(call.Callee)
	if f == nil || f.Kind != ast.OptionOf("run") {
		return
	}
	var target, mode ast.Expr
	switch f.Name {
	case "mount":
		target, mode = call.Args[1], a.option(call.With.Operand, "cache", 1)
	case "cacheMount":
		target, mode = call.Args[0], a.option(call.With.Operand, "sharing", 0)
	}
	dir, ok := ast.ConstText(target)
	if !ok {
		return
	}
	written, ok := ast.ConstText(mode)
	if !ok {
		return
	}
	advice, known := cachedir.For(dir)
	if !known || advice.Safe(cachedir.Sharing(written)) {
		return
	}
	a.found = append(
		a.found,
		diag.Warningf(diag.UnsafeSharing, mode.Span(), "`%s` isn't safe for %s: %s", written, dir, advice.Reason).
			WithHint("use `%s`, see %s", advice.Sharing, advice.Source).
			WithFix(mode.Span(), strconv.Quote(string(advice.Sharing)), "Share as `%s`", advice.Sharing).
			WithLabel(target.Span(), "a directory of %s", advice.Tool),
	)
}

// option returns argument i of the last use of the option called name in the operand of a `with`, or nil.
func (a *adviser) option(operand ast.Expr, name string, i int) ast.Expr {
	var found ast.Expr
	consider := func(n *ast.Name, args []ast.Expr) {
		if f := a.builtin(n); f != nil && f.Name == name && i < len(args) {
			found = args[i]
		}
	}
	switch e := operand.(type) {
	case *ast.CallExpr:
		consider(e.Callee, e.Args())
	case *ast.BlockLit:
		for _, s := range e.Body.Stmts {
			if call, ok := s.(*ast.CallStmt); ok {
				consider(call.Callee, call.Args)
			}
		}
	}
	return found
}
