// SPDX-License-Identifier: Apache-2.0

package query

import (
	"slices"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/syntax"
)

// Class is what a colored token is.
type Class uint8

// The classes of tokens.
const (
	KeywordClass Class = iota
	KindClass
	FunctionClass
	OptionClass
	ParameterClass
	VariableClass // a name bound by `as`
	NamespaceClass
	StringClass
	NumberClass
	CommentClass
)

// Colored is a token with its class. It may have several lines.
type Colored struct {
	Span    diag.Span
	Class   Class
	Def     bool // it defines the name
	Builtin bool // the name is of the language
}

// Colors lists the tokens of the file in the order of the source.
func (f *File) Colors() []Colored {
	words := map[int]Colored{}
	for _, n := range f.names() {
		words[n.Span.Start.Offset] = Colored{
			Class: classOf(n.Object), Def: n.Def, Builtin: n.Object.What == check.BuiltinObject,
		}
	}
	word := func(id *ast.Ident, class Class) {
		if id != nil {
			words[id.Span().Start.Offset] = Colored{Class: class}
		}
	}
	ast.Inspect(f.Info().Module, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Func:
			word(n.Type, KindClass)
		case *ast.Param:
			word(n.Variadic, KeywordClass)
			word(n.Type, KindClass)
		case *ast.BlockLit:
			word(n.Type, KindClass)
		case *ast.Bind:
			word(n.Effect, ParameterClass)
		}
		return true
	})
	var out []Colored
	for i, t := range f.tokens() {
		c, ok := words[t.Start.Offset]
		if t.Kind != syntax.Ident || !ok {
			if c, ok = f.colored(i); !ok {
				continue
			}
		}
		c.Span = diag.Span{File: f.Name, Start: t.Start, End: t.End}
		out = append(out, c)
	}
	return out
}

// colored is the class of a token by itself.
func (f *File) colored(i int) (Colored, bool) {
	t := f.tokens()[i]
	switch t.Kind {
	case syntax.Keyword, syntax.Bool:
		return Colored{Class: KeywordClass}, true
	case syntax.Number:
		return Colored{Class: NumberClass}, true
	case syntax.Comment:
		return Colored{Class: CommentClass}, true
	case syntax.OpenString, syntax.CloseString, syntax.Text, syntax.Escape, syntax.RawString:
		return Colored{Class: StringClass}, true
	case syntax.Ident:
		if word := f.text(spanOf(t)); slices.Contains([]string{"from", "binds"}, word) {
			return Colored{Class: KeywordClass}, true
		}
	}
	return Colored{}, false
}

func classOf(o *check.Object) Class {
	switch o.What {
	case check.ParamObject, check.EffectObject:
		return ParameterClass
	case check.AliasObject:
		return VariableClass
	case check.ImportObject:
		return NamespaceClass
	case check.BreakpointObject:
		return KeywordClass
	}
	if o.Kind.Primary() == ast.Option {
		return OptionClass
	}
	return FunctionClass
}
