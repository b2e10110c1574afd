// SPDX-License-Identifier: Apache-2.0

// Package grammar writes the syntax files of editors. Names come from the declarations of the builtins, so that no
// editor knows others than the compiler.
package grammar

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/builtin"
)

// Words that have a meaning in the language besides the builtins. Deprecated ones are colored too.
var (
	keywords = []string{"import", "export", "with", "as"}
	soft     = []string{"from", "binds", "variadic"} // keywords by their position
	kinds    = []ast.Kind{ast.FS, ast.String, ast.Int, ast.Bool, ast.Pipeline, ast.Group}
)

// functions are the names of builtins that are no options, options those that are nothing else; sorted.
func functions() []string {
	names := named(func(f *builtin.Func) bool { return f.Kind.Primary() != ast.Option })
	return append(names, builtin.Breakpoint)
}

func options() []string {
	all := append(functions(), soft...) // a name that is a keyword elsewhere is colored as one
	return named(func(f *builtin.Func) bool {
		return f.Kind.Primary() == ast.Option && !slices.Contains(all, f.Name)
	})
}

func named(is func(*builtin.Func) bool) []string {
	var names []string
	for _, f := range builtin.All() {
		if is(f) {
			names = append(names, f.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func kindNames() []string {
	var names []string
	for _, k := range kinds {
		names = append(names, string(k))
	}
	return names
}

// rule is a rule of a TextMate grammar.
type rule struct {
	Comment       string             `json:"comment,omitempty"`
	Name          string             `json:"name,omitempty"`
	ContentName   string             `json:"contentName,omitempty"`
	Match         string             `json:"match,omitempty"`
	Begin         string             `json:"begin,omitempty"`
	End           string             `json:"end,omitempty"`
	Captures      map[string]capture `json:"captures,omitempty"`
	BeginCaptures map[string]capture `json:"beginCaptures,omitempty"`
	EndCaptures   map[string]capture `json:"endCaptures,omitempty"`
	Include       string             `json:"include,omitempty"`
	Patterns      []rule             `json:"patterns,omitempty"`
}

type capture struct {
	Name string `json:"name"`
}

type textMate struct {
	Comment    string          `json:"comment"`
	Name       string          `json:"name"`
	ScopeName  string          `json:"scopeName"`
	FileTypes  []string        `json:"fileTypes"`
	Patterns   []rule          `json:"patterns"`
	Repository map[string]rule `json:"repository"`
}

// ident is the pattern of a name. A name may begin with a digit and hold colons.
const ident = `[0-9A-Za-z_:]+`

// word is a pattern for any of names, as whole names.
func word(names []string) string {
	return `(?<![0-9A-Za-z_:.])(` + strings.Join(names, "|") + `)(?![0-9A-Za-z_:])`
}

func include(names ...string) []rule {
	var out []rule
	for _, n := range names {
		out = append(out, rule{Include: "#" + n})
	}
	return out
}

// TextMate returns the grammar that VS Code and many others read, as JSON.
func TextMate() ([]byte, error) {
	g := textMate{
		Comment:   "Written from the declarations in hlb/builtin by the tests of hlb/grammar, with -update.",
		Name:      "HLB",
		ScopeName: "source.hlb",
		FileTypes: []string{"hlb"},
		Patterns: include("comment", "heredoc-raw", "heredoc", "string", "raw-string", "declaration", "import",
			"option", "keyword", "kind", "number", "constant", "function", "parameter", "block"),
		Repository: repository(),
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(g)
	return []byte(b.String()), err
}

func repository() map[string]rule {
	tag := map[string]capture{"0": {"punctuation.definition.string.hlb"}, "2": {"entity.name.tag.hlb"}}
	end := map[string]capture{"0": {"entity.name.tag.hlb"}}
	inText := include("escape", "interpolation")
	return map[string]rule{
		"comment": {Name: "comment.line.number-sign.hlb", Match: "#.*$"},
		"heredoc-raw": {
			Name: "string.unquoted.heredoc.raw.hlb", Begin: "(<<[-~]?)`(\\w+)`", End: `(?<!\S)\2(?!\w)`,
			BeginCaptures: tag, EndCaptures: end,
		},
		"heredoc": {
			Name: "string.unquoted.heredoc.hlb", Begin: `(<<[-~]?)(\w+)`, End: `(?<!\S)\2(?!\w)`,
			BeginCaptures: tag, EndCaptures: end, Patterns: inText,
		},
		"string":     {Name: "string.quoted.double.hlb", Begin: `"`, End: `"`, Patterns: inText},
		"raw-string": {Name: "string.quoted.other.hlb", Begin: "`", End: "`"},
		"escape":     {Name: "constant.character.escape.hlb", Match: `\\.`},
		"interpolation": {
			Name: "meta.embedded.hlb", Begin: `\$\{`, End: `\}`,
			BeginCaptures: map[string]capture{"0": {"punctuation.section.embedded.begin.hlb"}},
			EndCaptures:   map[string]capture{"0": {"punctuation.section.embedded.end.hlb"}},
			Patterns:      []rule{{Include: "$self"}},
		},
		"block": {Begin: `\{`, End: `\}`, Patterns: []rule{{Include: "$self"}}},
		"declaration": {
			Match: `^\s*(` + strings.Join(kindNames(), "|") + `|option::` + ident + `)` +
				`[ \t]+(` + ident + `)[ \t]*(?=\()`,
			Captures: map[string]capture{
				"1": {"storage.type.hlb"}, "2": {"entity.name.function.hlb"},
			},
		},
		"import": {
			Match: `^\s*(import)[ \t]+(` + ident + `)(?:[ \t]+(from)\b)?`,
			Captures: map[string]capture{
				"1": {"keyword.control.hlb"}, "2": {"entity.name.namespace.hlb"}, "3": {"keyword.control.hlb"},
			},
		},
		"keyword":   {Name: "keyword.control.hlb", Match: word(keywords)},
		"parameter": {Name: "keyword.other.hlb", Match: word(soft)},
		"option":    {Name: "storage.type.hlb", Match: `(?<![0-9A-Za-z_:.])option(::` + ident + `)?(?=\s*[{\w])`},
		"kind":      {Name: "storage.type.hlb", Match: word(kindNames())},
		"number": {
			Name:  "constant.numeric.hlb",
			Match: word([]string{"0[bBoOxX][0-9A-Fa-f]+", "0", "[1-9][0-9]*"}),
		},
		"constant": {Name: "constant.language.hlb", Match: word([]string{"true", "false"})},
		"function": {Patterns: []rule{
			{Name: "support.function.hlb", Match: word(functions())},
			{Name: "support.function.option.hlb", Match: word(options())},
		}},
	}
}
