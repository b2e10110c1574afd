// SPDX-License-Identifier: Apache-2.0

// Package analyze finds out from the source alone what a program will touch: cache mounts, images, repositories,
// exports. It contacts nothing, and its cost is bounded, so a scheduler can run it on any program before anything is
// built.
//
// It runs the program over texts that are known or not, and over nothing else. What it lists is therefore what the
// targets may reach, a little more than they will (a source that a later one replaces is listed too), and never less,
// unless Complete is false.
package analyze

import (
	"encoding/json"
	"slices"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/cachedir"
	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/spell"
)

// Value is a text of the program: known, or only known when the program runs.
type Value struct {
	Text  string // "" if not Known
	Known bool
}

// MarshalJSON renders a known value as a string and any other as null.
func (v Value) MarshalJSON() ([]byte, error) {
	if !v.Known {
		return []byte("null"), nil
	}
	return json.Marshal(v.Text)
}

// String returns the text, or "?" if it isn't known.
func (v Value) String() string {
	if !v.Known {
		return "?"
	}
	return v.Text
}

// CacheMount is a directory that a daemon keeps between builds.
type CacheMount struct {
	ID      Value     `json:"id"` // as the daemon sees it, namespace included
	Target  Value     `json:"target"`
	Sharing Value     `json:"sharing"`
	Span    diag.Span `json:"-"` // of the mount
}

// Git is a repository the daemon fetches.
type Git struct {
	Remote Value     `json:"remote"`
	Ref    Value     `json:"ref"`
	Span   diag.Span `json:"-"`
}

// Ref is an image, URL or path.
type Ref struct {
	Ref  Value     `json:"ref"`
	Span diag.Span `json:"-"`
}

// Export is something that leaves the build. By names the builtin: dockerPush, download, toImage, …
type Export struct {
	By   string    `json:"by"`
	Ref  Value     `json:"ref"` // image reference or path
	Span diag.Span `json:"-"`
}

// Target is what one target may reach. Lists are in the order of first use, without repetitions.
type Target struct {
	Name        string       `json:"target"`
	CacheMounts []CacheMount `json:"cacheMounts"`
	Images      []Ref        `json:"images"`
	Gits        []Git        `json:"gits"`
	HTTPS       []Ref        `json:"https"`
	Locals      []Ref        `json:"locals"`
	Exports     []Export     `json:"exports"`
	// modules it uses that weren't resolved; the ref is unknown if it is a filesystem
	Imports []Ref `json:"imports"`
	// Complete is false if something couldn't be followed: a module that wasn't resolved, a recursion, or too large a
	// program.
	Complete bool `json:"complete"`
}

// Options direct an analysis. The zero value is good for most.
type Options struct {
	// Targets to analyze. Empty means every fs and pipeline of the module that takes no parameters, in source order.
	Targets []string
	// Args are values for parameters of targets, by name. Parameters without one are unknown.
	Args map[string]string
	// CacheMountNamespace is the prefix that the embedding program gives to the ids of cache mounts.
	CacheMountNamespace string
	// Fuel bounds the steps a target may take. 0 means the default of 100,000; a step costs about a microsecond.
	Fuel int
}

const defaultFuel = 100_000

// Module analyzes a module that was checked without errors. Members of imports are followed if info has them
// resolved. The only diagnostics are NO-TARGET ones.
func Module(info *check.Info, opts Options) ([]Target, diag.List) {
	if opts.Fuel <= 0 {
		opts.Fuel = defaultFuel
	}
	names := opts.Targets
	if len(names) == 0 {
		names = defaultTargets(info)
	}
	targets := make([]Target, 0, len(names))
	var errs diag.List
	for _, name := range names {
		obj := info.Scope[name]
		if obj == nil || obj.What == check.ImportObject {
			d := diag.Errorf(diag.NoTarget, diag.Span{}, "the module has no target `%s`", name)
			errs = append(errs, spell.Among(name, info.Targets()).Hint(d))
			continue
		}
		targets = append(targets, analyze(obj, opts))
	}
	return targets, errs
}

func defaultTargets(info *check.Info) []string {
	var names []string
	add := func(o *check.Object) {
		if (o.Kind == ast.FS || o.Kind == ast.Pipeline) && len(o.Func.Params.Params) == 0 {
			names = append(names, o.Name)
		}
	}
	for _, d := range info.Module.Decls {
		f, ok := d.(*ast.Func)
		if !ok {
			continue
		}
		add(info.Scope[f.Name.Name])
		ast.Inspect(f, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallStmt); ok && call.As != nil {
				for _, alias := range info.Aliases[call] {
					add(alias)
				}
			}
			return true
		})
	}
	return names
}

func analyze(obj *check.Object, opts Options) Target {
	r := newRun(opts)
	r.out = Target{
		Name: obj.Name, Complete: true,
		CacheMounts: []CacheMount{}, Images: []Ref{}, Gits: []Git{}, HTTPS: []Ref{}, Locals: []Ref{},
		Exports: []Export{}, Imports: []Ref{},
	}
	r.call(obj, r.targetArgs(obj), value{}, 0)
	return r.out
}

func newRun(opts Options) *run {
	return &run{
		opts:    opts,
		fuel:    opts.Fuel,
		memo:    map[callKey]*memo{},
		ids:     map[any]uint64{},
		imports: map[*ast.Import]bool{},
	}
}

// targetArgs gives each parameter of a target its value.
func (r *run) targetArgs(obj *check.Object) []value {
	var args []value
	for _, p := range obj.Params() {
		text, known := r.opts.Args[p.Name]
		args = append(args, value{text: text, known: known})
	}
	return args
}

// add appends item to list unless an equal one, wherever it stands, is there already.
func add[T any](list []T, item T, equal func(T) bool) []T {
	if slices.ContainsFunc(list, equal) {
		return list
	}
	return append(list, item)
}

func (r *run) addRef(list []Ref, v value, at diag.Span) []Ref {
	ref := v.public()
	return add(list, Ref{Ref: ref, Span: at}, func(o Ref) bool { return o.Ref == ref })
}

func (r *run) addExport(by string, v value, at diag.Span) {
	ref := v.public()
	r.out.Exports = add(
		r.out.Exports,
		Export{By: by, Ref: ref, Span: at},
		func(o Export) bool { return o.By == by && o.Ref == ref },
	)
}

func (r *run) addGit(remote, ref value, at diag.Span) {
	g := Git{Remote: remote.public(), Ref: ref.public(), Span: at}
	r.out.Gits = add(r.out.Gits, g, func(o Git) bool { return o.Remote == g.Remote && o.Ref == g.Ref })
}

func (r *run) addCacheMount(m CacheMount) {
	r.out.CacheMounts = add(r.out.CacheMounts, m, func(o CacheMount) bool {
		return o.ID == m.ID && o.Target == m.Target && o.Sharing == m.Sharing
	})
}

// sharingFor is the mode of a cacheMount that names none.
func sharingFor(target value) Value {
	if !target.known {
		return Value{}
	}
	return Value{Text: string(cachedir.Default(target.text)), Known: true}
}

// Text returns the text of an expression at module level, such as the operand of an import, if it can be known.
func Text(info *check.Info, e ast.Expr) Value {
	r := newRun(Options{Fuel: defaultFuel})
	return r.expr(&frame{info: info}, e).public()
}
