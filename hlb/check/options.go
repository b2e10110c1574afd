// SPDX-License-Identifier: Apache-2.0

package check

import (
	"fmt"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/builtin"
	"github.com/openllb/hlb-operator/hlb/spell"
)

// misplaced returns a hint if argument i of a call was meant to be its options, or the word before them, and "" if it
// wasn't. It is for arguments that don't fit, or are too many.
func (c *checker) misplaced(o *Object, use call, i int) string {
	if o.What != BuiltinObject || use.name.Member != nil {
		return ""
	}
	if i+1 < len(use.args) && c.meantWord(use.args[i], "with") {
		return "did you mean `with`?"
	}
	if i+1 < len(use.args) && len(o.Builtin.Effects) > 0 && c.meantWord(use.args[i], "as") {
		return "did you mean `as`?"
	}
	written := c.optionsOf(o, use.args[i])
	switch {
	case written == "":
		return ""
	case !use.stmt:
		return fmt.Sprintf("only a statement has options: write `%s { %s … with %s; }`", o.Kind, o.Name, written)
	case use.with != nil:
		return "options stand behind `with`, all in one block"
	}
	return fmt.Sprintf("options stand behind `with`: write `with %s`", written)
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
