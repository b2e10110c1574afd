// SPDX-License-Identifier: Apache-2.0

package query

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/syntax"
)

// Renamable returns the name at an offset if it can be changed. The error is for people.
func (f *File) Renamable(offset int) (Name, error) {
	n, ok := f.NameAt(offset)
	if !ok {
		return Name{}, errors.New("there is no name here")
	}
	switch n.Object.What {
	case check.FuncObject, check.ParamObject, check.EffectObject, check.AliasObject, check.ImportObject:
		return n, nil
	}
	return Name{}, fmt.Errorf("`%s` belongs to the language", n.Object.Name)
}

// Rename returns the edits, by file, that give a symbol another name in all of files, one of which defines it. It
// refuses names that would change what a program means. The error is for people.
func Rename(files []*File, s Symbol, name string) (map[string][]diag.Edit, error) {
	if !isName(name) {
		return nil, fmt.Errorf("`%s` is no name: names are of letters, digits, _ and :, and no keyword or number", name)
	}
	edits := map[string][]diag.Edit{}
	defined := false
	for _, f := range files {
		for _, n := range f.References(s, true) {
			edits[f.Name] = append(edits[f.Name], diag.Edit{Span: n.Span, Text: name})
			defined = defined || n.Def
		}
		if len(edits[f.Name]) == 0 {
			continue
		}
		if err := f.checkRename(s, name, edits[f.Name]); err != nil {
			return nil, err
		}
	}
	if !defined {
		return nil, errors.New("the file that defines the name is not open and not in the workspace")
	}
	return edits, nil
}

// isName reports whether text is one identifier.
func isName(text string) bool {
	tokens := syntax.Scan([]byte(text), syntax.Limits{})
	return len(tokens) == 1 && tokens[0].Kind == syntax.Ident && tokens[0].Start.Offset == 0 &&
		tokens[0].End.Offset == len(text)
}

// checkRename applies the edits of this file and looks whether it still means the same.
func (f *File) checkRename(s Symbol, name string, edits []diag.Edit) error {
	if f.broken {
		return fmt.Errorf("%s does not parse", f.Name)
	}
	after := Analyze(f.Name, Apply(f.Source, edits))
	if had, has := errorsOf(f.Found), errorsOf(after.Found); len(has) > len(had) {
		return fmt.Errorf("the name `%s` does not do: %s", name, has[0].Message)
	}
	if s.File != f.Name {
		return nil // members of an import stand for nothing else
	}
	moved := s
	for _, e := range edits {
		if e.Span.Start.Offset < s.Offset {
			moved.Offset += len(e.Text) - (e.Span.End.Offset - e.Span.Start.Offset)
		}
	}
	if len(after.References(moved, true)) != len(edits) {
		return fmt.Errorf("`%s` means something else in %s", name, f.Name)
	}
	return nil
}

func errorsOf(l diag.List) diag.List {
	return slices.DeleteFunc(slices.Clone(l), func(d *diag.Diagnostic) bool { return d.Severity != diag.Error })
}

// Apply returns a source with edits made, which must not overlap.
func Apply(src []byte, edits []diag.Edit) []byte {
	edits = slices.Clone(edits)
	slices.SortStableFunc(edits, func(a, b diag.Edit) int { return a.Span.Start.Offset - b.Span.Start.Offset })
	var out bytes.Buffer
	at := 0
	for _, e := range edits {
		out.Write(src[at:e.Span.Start.Offset])
		out.WriteString(e.Text)
		at = e.Span.End.Offset
	}
	out.Write(src[at:])
	return out.Bytes()
}
