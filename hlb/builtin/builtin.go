// SPDX-License-Identifier: Apache-2.0

// Package builtin is the table of the functions that exist without being declared: their kinds, parameters and
// effects. What they do is the evaluator's business.
//
// There are two scopes. The names of the language proper are reserved: no module may define one. Extensions of this
// project are not, because that would break existing programs; a name of the module hides them (see Extension).
package builtin

import (
	"slices"
	"strings"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/diag"
)

// Breakpoint is the callee that every kind of block accepts, with any arguments, and that changes nothing. It has no
// signature, but its name is reserved like that of a builtin.
const Breakpoint = "breakpoint"

// Func is one builtin function. Funcs are shared and never change; compare them by pointer.
type Func struct {
	Kind      ast.Kind
	Name      string
	Params    []Param
	Effects   []Effect
	Extension bool // of the extension scope

	span      diag.Span // of Name in the synthetic file
	signature string
}

// Param is a parameter of a builtin. Only the last may be variadic.
type Param struct {
	Kind     ast.Kind
	Name     string
	Variadic bool
}

// Effect is a side result of a call, which `as` can bind.
type Effect struct {
	Kind ast.Kind
	Name string
}

// Variadic reports whether the last parameter takes any number of values.
func (f *Func) Variadic() bool { return len(f.Params) > 0 && f.Params[len(f.Params)-1].Variadic }

// Effect returns the effect called name, or nil.
func (f *Func) Effect(name string) *Effect {
	for i := range f.Effects {
		if f.Effects[i].Name == name {
			return &f.Effects[i]
		}
	}
	return nil
}

// Signature returns the declaration of f as in the synthetic file.
func (f *Func) Signature() string { return f.signature }

// Span is where the name of f stands in the synthetic file diag.BuiltinFile.
func (f *Func) Span() diag.Span { return f.span }

type key struct {
	kind ast.Kind
	name string
}

var (
	all        []*Func
	language   = map[key]*Func{}
	extensions = map[key]*Func{}
	byName     = map[string][]*Func{} // of the language proper
	extByName  = map[string][]*Func{}
)

func init() { load(signatures) }

// Source returns the text of the synthetic file that the spans of builtins point into.
func Source() []byte { return []byte(signatures) }

// All returns every builtin, extensions last, in the order of the synthetic file.
func All() []*Func { return slices.Clone(all) }

// Lookup returns the builtin of the language called name whose kind is kind, or nil.
func Lookup(kind ast.Kind, name string) *Func { return language[key{kind, name}] }

// Named returns all builtins of the language called name, whatever their kind; empty if there is none.
func Named(name string) []*Func { return byName[name] }

// Extension returns the extension called name whose kind is kind, or nil. A user's definition that fits goes first.
func Extension(kind ast.Kind, name string) *Func { return extensions[key{kind, name}] }

// ExtensionsNamed returns all extensions called name, whatever their kind; empty if there is none.
func ExtensionsNamed(name string) []*Func { return extByName[name] }

// Extended returns the extension called name that adds to what the language has: a function or option of its own, not
// an option of another extension. It is nil if there is none.
func Extended(name string) *Func {
	for _, f := range extByName[name] {
		if f.Kind.Primary() != ast.Option || len(byName[f.Kind.Secondary()]) > 0 {
			return f
		}
	}
	return nil
}

// IsReserved reports whether no module may define name.
func IsReserved(name string) bool { return name == Breakpoint || len(byName[name]) > 0 }

// IsCall reports whether option::name is a kind: name is a builtin, or an extension that isn't an option of another.
func IsCall(name string) bool { return len(byName[name]) > 0 || Extended(name) != nil }

// load fills the tables from the lines of text.
func load(text string) {
	offset, extension := 0, false
	for i, line := range strings.SplitAfter(text, "\n") {
		sig := strings.TrimSuffix(line, "\n")
		switch {
		case sig == strings.TrimSpace(extensionHeader):
			extension = true
		case sig != "" && sig[0] != '#':
			f := parse(sig)
			f.Extension = extension
			nameAt := len(f.Kind) + 1
			start := diag.Position{Offset: offset + nameAt, Line: i + 1, Column: nameAt + 1}
			end := diag.Position{Offset: start.Offset + len(f.Name), Line: i + 1, Column: start.Column + len(f.Name)}
			f.span = diag.Span{File: diag.BuiltinFile, Start: start, End: end}
			add(f)
		}
		offset += len(line)
	}
}

func add(f *Func) {
	all = append(all, f)
	if f.Extension {
		extensions[key{f.Kind, f.Name}] = f
		extByName[f.Name] = append(extByName[f.Name], f)
		return
	}
	language[key{f.Kind, f.Name}] = f
	byName[f.Name] = append(byName[f.Name], f)
}

// parse reads one signature: `kind name(params) [binds (effects)]`. The text is a constant of this package, so there
// is nothing to report; a test holds the table against the list of the language's names.
func parse(sig string) *Func {
	kind, rest, _ := strings.Cut(sig, " ")
	name, rest, _ := strings.Cut(rest, "(")
	params, rest, _ := strings.Cut(rest, ")")
	f := &Func{Kind: ast.Kind(kind), Name: name, signature: sig}
	for _, p := range fields(params) {
		after, variadic := strings.CutPrefix(p, "variadic ")
		kind, name, _ := strings.Cut(after, " ")
		f.Params = append(f.Params, Param{Kind: ast.Kind(kind), Name: name, Variadic: variadic})
	}
	_, effects, _ := strings.Cut(rest, "(")
	for _, e := range fields(strings.TrimSuffix(effects, ")")) {
		kind, name, _ := strings.Cut(e, " ")
		f.Effects = append(f.Effects, Effect{Kind: ast.Kind(kind), Name: name})
	}
	return f
}

// fields splits a list at its commas; an empty list has no fields.
func fields(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ", ")
}
