// SPDX-License-Identifier: Apache-2.0

package query

import (
	"sort"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/lint"
)

// tree is a file that parses, with what was found of each of its declarations.
type tree struct {
	mod   *ast.Module // with deprecated forms replaced
	info  *check.Info // of mod
	units []unit      // of mod.Decls
}

// unit is what was found of one declaration.
type unit struct {
	warnings diag.List // of deprecated forms and odd heredocs
	errs     diag.List // of the check
	advice   diag.List // nil beside errs
}

// unitAt returns the unit of the last declaration that starts at an offset or before it.
func (t *tree) unitAt(offset int) *unit {
	decls := t.mod.Decls
	i := sort.Search(len(decls), func(i int) bool { return decls[i].Span().Start.Offset > offset })
	return &t.units[max(i-1, 0)]
}

// warn adds warnings to the units that they are about.
func (t *tree) warn(found diag.List) {
	for _, d := range found {
		u := t.unitAt(d.Primary.Start.Offset)
		u.warnings = append(u.warnings, d)
	}
}

func (t *tree) wrong(found diag.List) {
	for _, d := range found {
		u := t.unitAt(d.Primary.Start.Offset)
		u.errs = append(u.errs, d)
	}
}

// check checks all declarations.
func (t *tree) check() {
	for i := range t.units {
		t.units[i].errs, t.units[i].advice = nil, nil
	}
	info, found := check.Module(t.mod)
	t.wrong(found)
	t.info = info
	if !info.Complete() {
		t.info = check.Partial(t.mod)
		return
	}
	t.advise(0, len(t.units))
}

// advise looks for what is unwise in declarations that were checked.
func (t *tree) advise(from, to int) {
	for i := from; i < to; i++ {
		if u := &t.units[i]; len(u.errs) == 0 {
			u.advice = lint.AdviseOn(t.info, t.mod.Decls[i], lint.Options{})
		}
	}
}

// found lists what is to show. Advice is left out of a program that is wrong.
func (t *tree) found() diag.List {
	var found, advice diag.List
	for _, u := range t.units {
		found = append(found, u.warnings...)
	}
	for _, u := range t.units {
		found = append(found, u.errs...)
		advice = append(advice, u.advice...)
	}
	if !found.HasErrors() {
		found = append(found, advice...)
	}
	found.Sort()
	return found
}

func (t *tree) file() *File {
	info := t.info
	f := newFile(t.mod.File, t.mod.Source, t.found(), func() *check.Info { return info })
	f.imports = hasImports(t.mod)
	return f
}

// refersTo reports whether anything found of declarations but [from, to) names a place between two offsets.
func (t *tree) refersTo(from, to, start, end int) bool {
	found := false
	t.spans(from, to, func(s *diag.Span) {
		found = found || s.File == t.mod.File && start <= s.Start.Offset && s.Start.Offset < end
	})
	return found
}

// spans calls visit for all stretches named by what was found of the declarations but [from, to).
func (t *tree) spans(from, to int, visit func(*diag.Span)) {
	for i, u := range t.units {
		if from <= i && i < to {
			continue
		}
		for _, list := range [...]diag.List{u.warnings, u.errs, u.advice} {
			for _, d := range list {
				d.Spans(visit)
			}
		}
	}
}
