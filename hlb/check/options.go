// SPDX-License-Identifier: Apache-2.0

package check

import (
	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/builtin"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/spell"
)

// misplaced adds a hint to d if argument i of a call was meant to be its options, or the word before them, and reports
// whether it was. It is for arguments that don't fit, or are too many.
func (c *checker) misplaced(o *Object, use call, i int, d *diag.Diagnostic) bool {
	if o.What != BuiltinObject || use.name.Member != nil {
		return false
	}
	at := use.args[i].Span()
	for _, word := range []string{"with", "as"} {
		if word == "as" && len(o.Builtin.Effects) == 0 || i+1 == len(use.args) {
			continue
		}
		if c.meantWord(use.args[i], word) {
			d.WithHint("did you mean `%s`?", word).WithFix(at, word, "Change to `%s`", word)
			return true
		}
	}
	written := c.optionsOf(o, use.args[i])
	switch {
	case written == "":
		return false
	case !use.stmt:
		d.WithHint("only a statement has options: write `%s { %s … with %s; }`", o.Kind, o.Name, written)
	case use.with != nil:
		d.WithHint("options stand behind `with`, all in one block")
	default:
		d.WithHint("options stand behind `with`: write `with %s`", written)
		if i+1 == len(use.args) {
			before := diag.Span{File: at.File, Start: at.Start, End: at.Start}
			d.WithFix(before, "with ", "Add `with`")
		}
	}
	return true
}

// meantWord reports whether e is a name that stands for nothing and is near to word.
func (c *checker) meantWord(e ast.Expr, word string) bool {
	x, ok := e.(*ast.CallExpr)
	if !ok || x.List != nil || x.Callee.Member != nil {
		return false
	}
	name := x.Callee.Ident.Name
	if c.lookup(name) != nil || builtin.IsReserved(name) {
		return false
	}
	return spell.Among(name, []string{word}).Found()
}

// optionsOf returns how e would be written as the options of o, shortened, or "" if it isn't meant so: a block of
// options, or a call of one.
func (c *checker) optionsOf(o *Object, e ast.Expr) string {
	kind := ast.OptionOf(o.Name)
	switch e := e.(type) {
	case *ast.BlockLit:
		k := e.Kind()
		if k == ast.Option || k == kind || spell.Among(string(k), []string{string(ast.Option), string(kind)}).Found() {
			return "option { … }"
		}
	case *ast.CallExpr:
		name := e.Callee.Ident.Name
		if found := c.lookup(name); found != nil {
			if e.Callee.Member == nil && found.Kind == kind {
				return name
			}
			return ""
		}
		f := builtin.Lookup(kind, name)
		if f == nil {
			f = builtin.Extension(kind, name)
		}
		switch {
		case f == nil || e.Callee.Member != nil:
			return ""
		case len(f.Params) == 0:
			return name
		}
		return name + "(…)"
	}
	return ""
}
