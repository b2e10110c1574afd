// SPDX-License-Identifier: Apache-2.0

package query

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/builtin"
	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/diag"
)

// Hover is what is known of something, in Markdown, and the place that it is about.
type Hover struct {
	Markdown string
	Span     diag.Span
}

// HoverAt explains the name, kind or effect at an offset.
func (f *File) HoverAt(offset int) (Hover, bool) {
	if n, ok := f.NameAt(offset); ok {
		return Hover{Describe(n.Object), n.Span}, true
	}
	var found Hover
	ok := false
	explain := func(id *ast.Ident, text string) {
		if text != "" && covers(id.Span(), offset) {
			found, ok = Hover{text, id.Span()}, true
		}
	}
	ast.Inspect(f.Info().Module, func(n ast.Node) bool {
		if !covers(n.Span(), offset) {
			return false
		}
		switch n := n.(type) {
		case *ast.Func:
			explain(n.Type, describeKind(n.Kind()))
		case *ast.Param:
			explain(n.Type, describeKind(n.Kind()))
		case *ast.BlockLit:
			explain(n.Type, describeKind(f.Info().BlockKind(n)))
		case *ast.CallStmt:
			f.explainEffects(n, explain)
		}
		return true
	})
	return found, ok
}

// explainEffects explains the effects in `as (effect name)`.
func (f *File) explainEffects(call *ast.CallStmt, explain func(*ast.Ident, string)) {
	if call.As == nil || call.As.List == nil {
		return
	}
	for i, b := range call.As.List.Binds {
		aliases := f.Info().Aliases[call]
		if i < len(aliases) && aliases[i].Alias.Effect != nil {
			e := aliases[i].Alias.Effect
			explain(b.Effect, code(fmt.Sprintf("%s %s", e.Kind, e.Name))+"An effect of `"+call.Callee.String()+"`.")
		}
	}
}

// Describe explains what a name stands for: its signature, then its documentation.
func Describe(o *check.Object) string {
	text := code(Signature(o))
	switch o.What {
	case check.BuiltinObject:
		text += describeBuiltin(o.Builtin)
	case check.FuncObject:
		text += o.Func.Doc
	case check.ParamObject, check.EffectObject:
		text += describeLocal(o)
	case check.AliasObject:
		text += describeAlias(o.Alias)
	case check.ImportObject:
		text += "An import."
		if lib := o.Module.Imported(o.Import); lib != nil {
			text = code(Signature(o)) + "The module `" + filepath.Base(lib.Module.File) + "`."
		}
	case check.BreakpointObject:
		text += "Where a debugger stops. Without one it does nothing."
	}
	return strings.TrimRight(text, "\n")
}

func describeLocal(o *check.Object) string {
	what := "A parameter"
	if o.What == check.EffectObject {
		what = "An effect"
	}
	return fmt.Sprintf("%s of `%s`.", what, o.Func.Name.Name)
}

func describeAlias(a *check.Alias) string {
	var b strings.Builder
	if a.Effect != nil && a.Func != nil {
		fmt.Fprintf(&b, "The effect `%s` of `%s`, in `%s`.", a.Effect.Name, a.Call.Callee, a.Func.Name.Name)
	}
	if a.Call.Doc != "" {
		b.WriteString("\n\n" + a.Call.Doc)
	}
	return b.String()
}

func describeBuiltin(f *builtin.Func) string {
	text := f.Doc()
	if len(f.Effects) > 0 {
		var names []string
		for _, e := range f.Effects {
			names = append(names, fmt.Sprintf("`%s` (%s)", e.Name, e.Kind))
		}
		text += "\n\nEffects that `as` binds: " + strings.Join(names, ", ") + "."
	}
	if options := optionNames(f); len(options) > 0 {
		text += "\n\nOptions: `" + strings.Join(options, "`, `") + "`."
	}
	if f.Extension {
		text += "\n\nAn addition to the language, which other implementations lack."
	}
	return text
}

// optionNames lists the options of a builtin in the order of their declaration.
func optionNames(f *builtin.Func) []string {
	var names []string
	for _, o := range builtin.All() {
		if o.Kind == ast.OptionOf(f.Name) {
			names = append(names, o.Name)
		}
	}
	return names
}

// Signature returns the declaration of what a name stands for.
func Signature(o *check.Object) string {
	switch o.What {
	case check.BuiltinObject:
		return o.Builtin.Signature()
	case check.FuncObject:
		text := signature(o.Kind, o.Name, o.Params())
		if o.Func.Effects != nil {
			text += " binds (" + params(o.Func.Effects.Params) + ")"
		}
		return text
	case check.AliasObject:
		return signature(o.Kind, o.Name, o.Params())
	case check.ParamObject, check.EffectObject:
		if o.Param.Variadic != nil {
			return fmt.Sprintf("variadic %s %s", o.Kind, o.Name)
		}
		return fmt.Sprintf("%s %s", o.Kind, o.Name)
	case check.ImportObject:
		return "import " + o.Name
	default:
		return o.Name
	}
}

func signature(kind ast.Kind, name string, list []builtin.Param) string {
	return fmt.Sprintf("%s %s(%s)", kind, name, strings.Join(paramLabels(list), ", "))
}

// paramLabels renders parameters as their declaration has them.
func paramLabels(list []builtin.Param) []string {
	labels := make([]string, len(list))
	for i, p := range list {
		labels[i] = fmt.Sprintf("%s %s", p.Kind, p.Name)
		if p.Variadic {
			labels[i] = "variadic " + labels[i]
		}
	}
	return labels
}

func params(list []*ast.Param) string {
	labels := make([]string, len(list))
	for i, p := range list {
		labels[i] = fmt.Sprintf("%s %s", p.Type.Name, p.Name.Name)
	}
	return strings.Join(labels, ", ")
}

func code(text string) string { return "```hlb\n" + text + "\n```\n\n" }

// kindDocs explain the kinds.
var kindDocs = map[ast.Kind]string{
	ast.FS:       "A filesystem, with the config of the image that it would be.",
	ast.String:   "A text.",
	ast.Int:      "A whole number of 64 bits.",
	ast.Bool:     "`true` or `false`.",
	ast.Pipeline: "Filesystems to build, in stages.",
	ast.Option:   "The options of the call that they stand behind.",
}

func describeKind(k ast.Kind) string {
	if doc := kindDocs[k]; doc != "" {
		return code(string(k)) + doc
	}
	if k.Primary() != ast.Option {
		return ""
	}
	text := code(string(k)) + "Options of `" + k.Secondary() + "`"
	var names []string
	for _, o := range builtin.All() {
		if o.Kind == k {
			names = append(names, o.Name)
		}
	}
	if len(names) == 0 {
		return text + "."
	}
	return text + ": `" + strings.Join(names, "`, `") + "`."
}
