// SPDX-License-Identifier: Apache-2.0

package editors

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/hack/toolchain"
	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/syntax"
)

// parsed is what tree-sitter makes of a program.
type parsed struct {
	Broken bool
	Nodes  []string            // of all that have a name: its kind and its place
	Colors map[string][]string // texts by their capture
}

// readByTreeSitter parses programs in Neovim, with the grammar of this repository.
func readByTreeSitter(t *testing.T, programs []string) []parsed {
	t.Helper()
	install(t, neovim, toolchain.Need{File: "gcc", Package: "gcc"},
		toolchain.Need{File: "/usr/include/stdlib.h", Package: "libc6-dev"})
	grammar := filepath.Join(root(t), "editors", "tree-sitter")
	library := filepath.Join(t.TempDir(), "hlb.so")
	output(t, grammar, nil, "gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wno-unused", "-Isrc", "-o", library,
		"src/parser.c", "src/scanner.c")
	files := map[string]string{}
	for i, text := range programs {
		files[fmt.Sprintf("%05d.hlb", i)] = text
	}
	var found map[string]parsed
	edit(t, write(t, files), "testdata/treesitter.lua",
		[]string{"HLB_PARSER=" + library, "HLB_QUERIES=" + filepath.Join(grammar, "queries")}, &found)
	out := make([]parsed, len(programs))
	for i := range programs {
		out[i] = found[fmt.Sprintf("%05d.hlb", i)]
	}
	return out
}

// TestTreeSitterReadsAllPrograms: the grammar finds no error in any program of the repository, and the same
// declarations, statements and values at the same places as the compiler.
func TestTreeSitterReadsAllPrograms(t *testing.T) {
	programs := corpus(t)
	const some = 800 // or corpus does not find them any more
	if len(programs) < some {
		t.Fatalf("there are only %d programs", len(programs))
	}
	for i, got := range readByTreeSitter(t, programs) {
		got.Nodes = slices.DeleteFunc(got.Nodes, func(n string) bool {
			kind, _, _ := strings.Cut(n, " ")
			return !slices.Contains(compared, kind)
		})
		slices.Sort(got.Nodes)
		if diff := cmp.Diff(nodes(programs[i]), got.Nodes); diff != "" || got.Broken {
			t.Errorf("broken: %v (-want +got):\n%s\n%s", got.Broken, diff, programs[i])
		}
	}
	t.Logf("%d programs", len(programs))
}

// compared are the nodes that the compiler has too.
var compared = []string{
	"import", "export", "function", "parameters", "parameter", "block", "call_statement", "with", "as", "bindings",
	"binding", "name", "block_literal", "call", "arguments", "number", "boolean", "string", "raw_string", "heredoc",
	"raw_heredoc", "interpolation", "comment",
}

// nodes lists what the compiler reads of a program, sorted.
func nodes(program string) []string {
	mod, _ := syntax.Parse("a.hlb", []byte(program), syntax.Limits{})
	out := []string{}
	add := func(kind string, s diag.Span) {
		out = append(out, fmt.Sprintf("%s %d-%d", kind, s.Start.Offset, s.End.Offset))
	}
	kinds := map[string]string{
		"*ast.Import": "import", "*ast.Export": "export", "*ast.Func": "function", "*ast.ParamList": "parameters",
		"*ast.Param": "parameter", "*ast.Block": "block", "*ast.CallStmt": "call_statement", "*ast.With": "with",
		"*ast.As": "as", "*ast.BindList": "bindings", "*ast.Bind": "binding", "*ast.Name": "name",
		"*ast.BlockLit": "block_literal", "*ast.CallExpr": "call", "*ast.ArgList": "arguments",
		"*ast.IntLit": "number", "*ast.BoolLit": "boolean", "*ast.StringLit": "string",
		"*ast.RawStringLit": "raw_string", "*ast.HeredocLit": "heredoc", "*ast.Interp": "interpolation",
	}
	ast.Inspect(mod, func(n ast.Node) bool {
		kind := kinds[fmt.Sprintf("%T", n)]
		if h, ok := n.(*ast.HeredocLit); ok && h.Raw {
			kind = "raw_heredoc"
		}
		if kind != "" {
			add(kind, n.Span())
		}
		return true
	})
	for _, token := range syntax.Scan([]byte(program), syntax.Limits{}) {
		if token.Kind == syntax.Comment {
			add("comment", diag.Span{Start: token.Start, End: token.End})
		}
	}
	slices.Sort(out)
	return out
}

// TestTreeSitterColors: the query gives names the colors of what they are.
func TestTreeSitterColors(t *testing.T) {
	const program = "import lib from \"l.hlb\"\nfs a(string v) {\n\trun \"x ${v}\\n\" with option { mount b \"/\" as o; }\n" +
		"\tlib.c 1 true # why\n}\n"
	got := readByTreeSitter(t, []string{program})[0].Colors
	want := map[string][]string{
		"keyword": {"import", "from", "with", "as"}, "module": {"lib"}, "type": {"fs", "string", "option"},
		"function": {"a"}, "variable.parameter": {"v"}, "variable": {"o"}, "number": {"1"}, "boolean": {"true"},
		"string": {`"l.hlb"`, `"x ${v}\n"`, `"/"`}, "string.escape": {`\n`}, "punctuation.special": {"${", "}"},
		"function.builtin": {"run"}, "property": {"mount"}, "comment": {"# why"},
		"function.call": {"run", "v", "mount", "b", "lib", "c"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestTreeSitterParserIsThatOfTheGrammar: the parser was generated from the grammar that is beside it.
func TestTreeSitterParserIsThatOfTheGrammar(t *testing.T) {
	dir := filepath.Join(root(t), "editors", "tree-sitter")
	grammar, err := os.ReadFile(filepath.Join(dir, "grammar.js"))
	if err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile(filepath.Join(dir, "src", "grammar.sha256"))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%x  grammar.js\n", sha256.Sum256(grammar)); want != string(sum) {
		t.Errorf("run editors/tree-sitter/generate: src/ is of a grammar with the sum %s, not %s", sum, want)
	}
}
