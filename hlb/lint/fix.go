// SPDX-License-Identifier: Apache-2.0

// Package lint finds what is legal but shouldn't be written: forms of the language that are deprecated, which Fix
// replaces, and uses of builtins that are unwise, which Advise explains. All findings are warnings.
package lint

import (
	"slices"
	"strings"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/syntax"
)

// Program parses, fixes and checks one module: what every user of the compiler does first. The list holds errors and
// the warnings of Fix; the Info is nil if the module doesn't parse.
func Program(file string, src []byte, limits syntax.Limits) (*check.Info, diag.List) {
	mod, errs := syntax.Parse(file, src, limits)
	if len(errs) > 0 {
		return nil, errs
	}
	fixed, warnings := Fix(mod)
	info, errs := check.Module(fixed)
	all := append(warnings, errs...)
	all.Sort()
	return info, all
}

// Fix replaces deprecated forms and says which it found. mod isn't changed; without findings the result is mod
// itself, else a copy whose nodes keep the spans of what they replace. Programs with the old forms check because of
// this.
func Fix(mod *ast.Module) (*ast.Module, diag.List) {
	_, found := rewrite(mod, false)
	found.Sort()
	if !slices.ContainsFunc(found, func(d *diag.Diagnostic) bool { return d.Code == diag.Deprecated }) {
		return mod, found
	}
	fixed, _ := rewrite(ast.Clone(mod), true)
	return fixed, found
}

// rewrite finds the deprecated forms of mod, and what is legal in a heredoc but was hardly meant. If change is set, it
// replaces the former in place.
func rewrite(mod *ast.Module, change bool) (*ast.Module, diag.List) {
	var found diag.List
	kind := func(id *ast.Ident) {
		if id.Name != string(ast.Group) {
			return
		}
		found = append(found, diag.Warningf(diag.Deprecated, id.Span(), "the kind `group` is now called `pipeline`").
			WithHint("write `pipeline`").
			WithFix(id.Span(), string(ast.Pipeline), "Change to `pipeline`"))
		if change {
			id.Name = string(ast.Pipeline)
		}
	}
	ast.Inspect(mod, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Import:
			if n.Deprecated {
				found = append(found,
					diag.Warningf(diag.Deprecated, n.Operand.Span(),
						"the path of an import now follows the word `from`").
						WithHint("write `import %s from …`", n.Name.Name).
						WithFix(before(n.Operand.Span()), "from ", "Add `from`"))
				n.Deprecated = !change
			}
		case *ast.Func:
			kind(n.Type)
		case *ast.Param:
			kind(n.Type)
		case *ast.BlockLit:
			kind(n.Type)
		case *ast.HeredocLit:
			found = append(found, heredoc(n)...)
		case *ast.CallStmt:
			if id := n.Callee.Ident; n.Callee.Member == nil && id.Name == "parallel" {
				found = append(found,
					diag.Warningf(diag.Deprecated, id.Span(), "`parallel` is now called `stage`").
						WithHint("write `stage`").
						WithFix(id.Span(), "stage", "Change to `stage`"))
				if change {
					id.Name = "stage"
				}
			}
		}
		return true
	})
	return mod, found
}

// before is the place where a span starts.
func before(s diag.Span) diag.Span { return diag.Span{File: s.File, Start: s.Start, End: s.Start} }

// heredoc finds what is legal in a heredoc but was hardly meant.
func heredoc(h *ast.HeredocLit) diag.List {
	if len(h.Parts) == 0 {
		return nil
	}
	found := optionsInside(h)
	if !h.Raw {
		found = append(found, oddEscapes(h)...)
	}
	return found
}

// optionsInside finds options behind the tag that opens a heredoc, where they are its first line.
func optionsInside(h *ast.HeredocLit) diag.List {
	t, ok := h.Parts[0].(*ast.Text)
	if !ok {
		return nil
	}
	line, _, _ := strings.Cut(t.Source, "\n")
	words := strings.Fields(line)
	if len(words) < 2 || words[0] != "with" || !optionsStart(words[1], strings.Join(words[2:], " ")) {
		return nil
	}
	at := h.Span()
	at.End = at.Start
	at.End.Offset, at.End.Column = at.Start.Offset+len("<<"), at.Start.Column+len("<<")
	return diag.List{
		diag.Warningf(diag.HeredocOptions, at, "the text of this heredoc begins with what looks like its options").
			WithHint("options stand behind the tag that closes a heredoc: `%s with option { … }`", h.Tag),
	}
}

// optionsStart reports whether word, followed by rest, begins a block of options.
func optionsStart(word, rest string) bool {
	kind, _, opened := strings.Cut(word, "{")
	return ast.Kind(kind).Primary() == ast.Option && (opened || strings.HasPrefix(rest, "{"))
}

// oddEscapes finds `\$` inside of a word of a heredoc. Here it is an escape like anywhere else; the first
// implementation of the language kept the backslash and interpolated, so a program moved between the two changes
// meaning.
func oddEscapes(h *ast.HeredocLit) diag.List {
	var found diag.List
	for _, p := range h.Parts {
		t, ok := p.(*ast.Text)
		if !ok {
			continue
		}
		if i := escapeInWord(t.Source); i >= 0 {
			found = append(found,
				diag.Warningf(diag.HeredocEscape, within(t, i),
					"`\\$` inside of a word is an escape here, but not in older implementations").
					WithHint("put the word into a variable, or use a heredoc with its tag in backticks"))
		}
	}
	return found
}

// escapeInWord returns the index of the first `\${` that doesn't follow white space or another escape, or -1.
func escapeInWord(text string) int {
	start := true // of a word
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			if !start && strings.HasPrefix(text[i:], `\${`) {
				return i
			}
			i++
			start = start || text[i] == '\n'
		case strings.IndexByte(" \t\r\n\f", c) >= 0:
			start = true
		default:
			start = c == '$'
		}
	}
	return -1
}

// within is the span of the two bytes at index i of a heredoc's text.
func within(t *ast.Text, i int) diag.Span {
	sp := t.Span()
	at := sp.Start
	for _, r := range t.Source[:i] {
		at.Column++
		if r == '\n' {
			at.Line, at.Column = at.Line+1, 1
		}
	}
	at.Offset += i
	sp.Start, sp.End = at, at
	sp.End.Offset, sp.End.Column = at.Offset+2, at.Column+2
	return sp
}
