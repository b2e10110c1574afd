// SPDX-License-Identifier: Apache-2.0

package query

import (
	"bytes"
	"slices"
	"sort"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/lint"
	"github.com/openllb/hlb-operator/hlb/syntax"
)

// Editing analyzes one version of a text after the other. Declarations that did not change are neither read nor, as
// long as no name changes its meaning and nothing is imported, checked again. It must be used by one at a time, and the
// Files that it returned not once the next version is analyzed.
//
// The zero value is ready for use.
type Editing struct {
	tree *tree // of the last version that parses, nil if there was none
	name string
}

// Analyze is the function Analyze for the next version.
func (e *Editing) Analyze(name string, src []byte) *File {
	if e.tree != nil && e.name == name {
		if f := e.tree.next(src); f != nil {
			return f
		}
	}
	f, t := wholly(name, src)
	if t != nil {
		e.tree, e.name = t, name
	}
	return f
}

// region is what a change touches: declarations [lo, hi) of the version before, all of whose lines it has.
type region struct {
	lo, hi   int
	start    diag.Position // of its first line
	end, was int           // offset behind its last line, and before the change
}

// next returns the next version, nil if all of it must be read. The tree becomes its, unless it does not parse.
func (t *tree) next(src []byte) *File {
	r, ok := t.region(src)
	if !ok || bytes.Contains(src[r.start.Offset:r.end], []byte("import")) {
		return nil
	}
	name, grown := t.mod.File, r.end-r.was
	mod, errs, at := syntax.ParseFrom(name, src, r.start, func(offset int) bool {
		return offset >= r.end && t.starts(offset-grown)
	}, syntax.Limits{})
	switch {
	case len(errs) > 0: // and none behind, because there were none
		f := brokenFile(name, src, errs, func() *ast.Module {
			mod, _ := syntax.Parse(name, src, syntax.Limits{})
			return mod
		})
		f.imports = hasImports(t.mod)
		return f
	case !t.follows(r, src, mod, at):
		return nil
	}
	fixed, warnings := lint.Fix(mod)
	// What is known of imports and their members is that of the files that were read for the version before.
	recheck := hasImports(t.mod) || t.refersTo(r.lo, r.hi, r.start.Offset, r.was)
	old := slices.Clone(t.mod.Decls[r.lo:r.hi])
	t.splice(src, r, fixed)
	t.warn(warnings)
	if !recheck {
		var found diag.List
		if found, ok = t.info.Replace(old, fixed.Decls); ok {
			t.wrong(found)
			t.advise(r.lo, r.lo+len(fixed.Decls))
			return t.file()
		}
	}
	t.check()
	return t.file()
}

// starts reports whether a declaration starts at an offset.
func (t *tree) starts(offset int) bool {
	_, ok := slices.BinarySearchFunc(t.mod.Decls, offset, func(d ast.Decl, offset int) int {
		return d.Span().Start.Offset - offset
	})
	return ok
}

// follows reports whether what was read of a region up to an offset goes on with the declarations behind it as before:
// the last one ends on the last line of the region, so that the lines below document the next one alone.
func (t *tree) follows(r region, src []byte, mod *ast.Module, at int) bool {
	if r.hi == len(t.mod.Decls) {
		return at == len(src)
	}
	n := len(mod.Decls)
	return at == t.mod.Decls[r.hi].Span().Start.Offset+r.end-r.was &&
		n > 0 && lineAfter(src, mod.Decls[n-1].Span().End.Offset) == r.end
}

// region finds what a new version changes. There is nothing to gain if that is most of the text.
func (t *tree) region(src []byte) (region, bool) {
	old, decls := t.mod.Source, t.mod.Decls
	first := commonHead(old, src)
	last := len(old) - commonTail(old[first:], src[first:]) // behind the last byte that changed
	lo := sort.Search(len(decls), func(i int) bool { return decls[i].Span().End.Offset >= first })
	r := region{start: diag.Position{Line: 1, Column: 1}}
	for ; lo > 0; lo-- {
		line := lineAfter(old, decls[lo-1].Span().End.Offset)
		if line <= first && (lo == len(decls) || line <= decls[lo].Span().Start.Offset) {
			r.start = diag.Position{Offset: line, Line: decls[lo-1].Span().End.Line + 1, Column: 1}
			break
		}
	}
	hi := sort.Search(len(decls), func(i int) bool { return decls[i].Span().Start.Offset > last })
	// One more is read again, so that the lines before it, which may document it, are too.
	for hi++; hi < len(decls); hi++ {
		line := lineAfter(old, decls[hi-1].Span().End.Offset)
		if line > last && line <= decls[hi].Span().Start.Offset {
			break
		}
	}
	r.lo, r.hi, r.was = lo, min(hi, len(decls)), len(old)
	if r.hi < len(decls) {
		r.was = lineAfter(old, decls[r.hi-1].Span().End.Offset)
	}
	r.end = r.was + len(src) - len(old)
	const half, short = 2, 16 << 10
	return r, r.end-r.start.Offset <= max(len(src)/half, short) && len(src) <= syntax.Limits{}.WithDefaults().MaxBytes
}

// splice puts the declarations of a region in the place of those that it had before the change.
func (t *tree) splice(src []byte, r region, fresh *ast.Module) {
	by := diag.Shift{Offset: r.end - r.was}
	by.Lines = bytes.Count(src[r.start.Offset:r.end], []byte{'\n'}) -
		bytes.Count(t.mod.Source[r.start.Offset:r.was], []byte{'\n'})
	comments := t.mod.Comments
	behind := func(offset int) int {
		return sort.Search(len(comments), func(i int) bool { return comments[i].Span().Start.Offset >= offset })
	}
	from, to := behind(r.start.Offset), len(comments)
	end := fresh.Where.End
	if r.hi < len(t.mod.Decls) { // else all was read
		to = behind(t.mod.Decls[r.hi].Span().Start.Offset)
		end = by.Span(t.mod.Where).End
	}
	if by != (diag.Shift{}) {
		ast.ShiftComments(comments[to:], by)
		t.move(r, by)
	}
	t.mod.Where.End, t.mod.Source = end, src
	t.mod.Comments = slices.Replace(comments, from, to, fresh.Comments...)
	t.mod.Decls = slices.Replace(t.mod.Decls, r.lo, r.hi, fresh.Decls...)
	t.units = slices.Replace(t.units, r.lo, r.hi, make([]unit, len(fresh.Decls))...)
}

// move moves the declarations behind a region, and all that names a place there.
func (t *tree) move(r region, by diag.Shift) {
	for _, d := range t.mod.Decls[r.hi:] {
		ast.Shift(d, by)
	}
	t.info.Moved()
	t.spans(0, 0, func(s *diag.Span) {
		if s.File == t.mod.File && s.Start.Offset >= r.was {
			*s = by.Span(*s)
		}
	})
}

// lineAfter returns the offset of the line behind that of an offset; behind the last line, the end and one.
func lineAfter(text []byte, offset int) int {
	if i := bytes.IndexByte(text[offset:], '\n'); i >= 0 {
		return offset + i + 1
	}
	return len(text) + 1
}

// stride is how many bytes are compared at once.
const stride = 256

// commonHead is how many bytes two texts begin alike with.
func commonHead(a, b []byte) int {
	limit := min(len(a), len(b))
	n := 0
	for n+stride <= limit && bytes.Equal(a[n:n+stride], b[n:n+stride]) {
		n += stride
	}
	for n < limit && a[n] == b[n] {
		n++
	}
	return n
}

// commonTail is how many bytes two texts end alike with.
func commonTail(a, b []byte) int {
	limit := min(len(a), len(b))
	n := 0
	for n+stride <= limit && bytes.Equal(a[len(a)-n-stride:len(a)-n], b[len(b)-n-stride:len(b)-n]) {
		n += stride
	}
	for n < limit && a[len(a)-n-1] == b[len(b)-n-1] {
		n++
	}
	return n
}
