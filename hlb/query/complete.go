// SPDX-License-Identifier: Apache-2.0

package query

import (
	"maps"
	"slices"
	"strings"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/builtin"
	"github.com/openllb/hlb-operator/hlb/cachedir"
	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/syntax"
)

// ItemKind says what an Item is.
type ItemKind uint8

// The kinds of items.
const (
	FunctionItem ItemKind = iota + 1 // of the program
	BuiltinItem
	OptionItem
	ParamItem
	AliasItem
	ImportItem
	KindItem
	KeywordItem
	ValueItem // one of the few texts that an argument can be
)

// Item is something that can be written at a place.
type Item struct {
	Label  string
	Kind   ItemKind
	Object *check.Object // nil for kinds, keywords and values
	// Snippet is what is written instead of the label, $0 being where to go on; empty if it is the label.
	Snippet string
	// Rank orders items, the nearest first: 0 for what is written nearby, 2 for the language.
	Rank int
}

// Completion is what can be written at a place, in place of the word around it.
type Completion struct {
	Items   []Item
	Replace diag.Span // of the word; empty if there is none, at offset
}

// CompleteAt lists what can be written at an offset. All of it fits: names have a kind that is wanted there.
func (f *File) CompleteAt(offset int) Completion {
	c := f.cursorAt(offset)
	out := Completion{Replace: spanOf(c.word)}
	if c.word.Kind == syntax.Illegal { // no word
		out.Replace = diag.Span{Start: diag.Position{Offset: offset}, End: diag.Position{Offset: offset}}
	}
	l := &lister{cursor: c}
	switch top := c.top(); {
	case c.inText:
		l.values(c.outer())
	case top.prev == syntax.Dot && len(c.frames) > 0:
		l.members(top)
	case top.header:
		l.kinds()
	case top.open == syntax.Newline:
		l.declaration(top)
	case top.open == syntax.OpenBrace && len(top.callee) == 0:
		l.statement(top.kind)
	case top.clause == "as":
		l.effects(top)
	case top.clause == "with":
		l.options(top)
	default:
		l.argument(top)
	}
	slices.SortStableFunc(l.items, func(a, b Item) int {
		if a.Rank != b.Rank {
			return a.Rank - b.Rank
		}
		return strings.Compare(a.Label, b.Label)
	})
	out.Items = l.items
	return out
}

// lister collects items.
type lister struct {
	*cursor
	items []Item
}

func (l *lister) add(items ...Item) { l.items = append(l.items, items...) }

// declaration lists how a declaration begins, or what an import can be of.
func (l *lister) declaration(f *frame) {
	switch {
	case f.clause == "from":
		l.named([]ast.Kind{ast.FS, ast.String})
		l.add(literal(ast.FS))
	case f.clause == "export":
		for _, name := range slices.Sorted(maps.Keys(l.file.Info().Scope)) {
			if o := l.file.Info().Scope[name]; o.What != check.ImportObject && !l.file.Info().Exported[name] {
				l.add(itemOf(o, 0))
			}
		}
	case f.clause == "import" && len(f.words) == 2:
		l.add(Item{Label: "from", Kind: KeywordItem})
	case len(f.words) == 0:
		for _, word := range []string{"import", "export"} {
			l.add(Item{Label: word, Kind: KeywordItem})
		}
		l.kinds()
	}
}

// kinds lists the kinds of values.
func (l *lister) kinds() {
	for _, k := range []ast.Kind{ast.FS, ast.String, ast.Int, ast.Bool, ast.Pipeline} {
		l.add(Item{Label: string(k), Kind: KindItem, Rank: 1})
	}
	for _, f := range builtin.All() {
		k := Item{Label: string(f.Kind), Kind: KindItem, Rank: 2}
		if f.Kind.Primary() == ast.Option && !slices.Contains(l.items, k) {
			l.add(k)
		}
	}
}

// statement lists what a statement of a block can call.
func (l *lister) statement(kind ast.Kind) {
	if kind == "" {
		return
	}
	l.named([]ast.Kind{kind})
	l.add(Item{Label: builtin.Breakpoint, Kind: KeywordItem, Rank: 2})
}

// argument lists what the next argument of a call can be, and what can follow the arguments of a statement.
func (l *lister) argument(f *frame) {
	wants := l.wantedIn(f, f.args)
	if len(wants) > 0 {
		l.named(wants)
		for _, k := range wants {
			l.add(literal(k))
		}
	}
	if f.open != syntax.OpenBrace {
		return
	}
	o := l.callee(f)
	if o == nil || o.What != check.BuiltinObject {
		return
	}
	if len(optionNames(o.Builtin)) > 0 {
		l.add(Item{Label: "with", Kind: KeywordItem, Rank: 1, Snippet: "with option {\n\t$0\n}"})
	}
	if len(o.Builtin.Effects) > 0 {
		l.add(Item{Label: "as", Kind: KeywordItem, Rank: 1})
	}
}

// options lists what stands behind `with`.
func (l *lister) options(f *frame) {
	if len(f.callee) != 1 {
		return
	}
	l.add(Item{Label: "option", Kind: KindItem, Snippet: "option {\n\t$0\n}"})
	l.named([]ast.Kind{ast.OptionOf(f.callee[0])})
}

// effects lists the effects of a call in `as (…)`.
func (l *lister) effects(f *frame) {
	if f.open != syntax.OpenParen {
		return
	}
	if o := l.find(f.callee, f.wants); o != nil && o.What == check.BuiltinObject {
		for _, e := range o.Builtin.Effects {
			l.add(Item{Label: e.Name, Kind: ValueItem})
		}
	}
}

// members lists what an imported module exports, where a kind is wanted of that kind.
func (l *lister) members(f *frame) {
	if len(f.last) == 0 {
		return
	}
	o := l.file.Info().Scope[f.last[0]]
	if o == nil || o.What != check.ImportObject || l.file.Info().Imported(o.Import) == nil {
		return
	}
	wants := []ast.Kind{f.kind}
	if f.open != syntax.OpenBrace || f.args > 0 || f.clause != "" {
		wants = l.wantedIn(f, max(f.args-1, 0))
	}
	lib := l.file.Info().Imported(o.Import)
	for _, name := range slices.Sorted(maps.Keys(lib.Exported)) {
		m := lib.Scope[name]
		if m != nil && (len(wants) == 0 || wants[0] == "" || slices.Contains(wants, m.Kind)) {
			l.add(itemOf(m, 0))
		}
	}
}

// named lists all names of some kinds, and the imports, whose members may be of them.
func (l *lister) named(kinds []ast.Kind) {
	seen := map[string]bool{}
	add := func(o *check.Object, rank int) {
		if !seen[o.Name] && (o.What == check.ImportObject || slices.Contains(kinds, o.Kind)) {
			seen[o.Name] = true
			l.add(itemOf(o, rank))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.locals)) {
		add(l.locals[name], 0)
	}
	for _, name := range slices.Sorted(maps.Keys(l.file.Info().Scope)) {
		add(l.file.Info().Scope[name], 1)
	}
	for _, f := range builtin.All() {
		add(check.Builtin(f), 2)
	}
}

func itemOf(o *check.Object, rank int) Item {
	kinds := map[check.ObjectKind]ItemKind{
		check.BuiltinObject: BuiltinItem, check.FuncObject: FunctionItem, check.ParamObject: ParamItem,
		check.EffectObject: ParamItem, check.AliasObject: AliasItem, check.ImportObject: ImportItem,
	}
	kind := kinds[o.What]
	if o.What == check.BuiltinObject && o.Kind.Primary() == ast.Option {
		kind = OptionItem
	}
	return Item{Label: o.Name, Kind: kind, Object: o, Rank: rank}
}

// literal is how a value of a kind begins that is written in place.
func literal(k ast.Kind) Item {
	switch k {
	case ast.Bool:
		return Item{Label: "true", Kind: KeywordItem, Rank: 2}
	default:
		return Item{Label: string(k), Kind: KindItem, Snippet: string(k) + " {\n\t$0\n}", Rank: 2}
	}
}

// texts are the values of arguments of which there are few, by the parameter's name.
var texts = map[string][]string{
	"sharingmode":  {string(cachedir.Shared), string(cachedir.Private), string(cachedir.Locked)},
	"networkmode":  {"unset", "host", "none"},
	"securitymode": {"sandbox", "insecure"},
	"mode":         {"min", "max"},
}

// values lists the texts that the argument around the offset can be.
func (l *lister) values(f *frame) {
	arg := f.args - 1
	o := l.callee(f)
	if o == nil || o.What != check.BuiltinObject || arg < 0 || arg >= len(o.Params()) {
		return
	}
	for _, text := range texts[o.Params()[arg].Name] {
		l.add(Item{Label: text, Kind: ValueItem})
	}
}
