// SPDX-License-Identifier: Apache-2.0

package editors

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/openllb/hlb-operator/hlb/syntax"
	"github.com/openllb/hlb-operator/test/kit/hlbtest"
)

// odd are tests of the compiler that tree-sitter, which takes the longest word, can't read alike: a keyword or number
// ends before a colon.
var odd = []string{"import:a from \"x\"", "int a() { b 10:c }"}

// corpus returns all programs of the repository that parse: those of files, of documentation, of samples, of
// conformance tests and of other tests in Go; and some generated ones.
func corpus(t *testing.T) []string {
	t.Helper()
	texts := []string{string(hlbtest.Program(2_000))}
	module := rapid.Custom(hlbtest.Module)
	for seed := range 300 {
		texts = append(texts, module.Example(seed))
	}
	dir := root(t)
	if err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			if err == nil {
				texts = append(texts, programs(t, path)...)
			}
			return err
		}
		if name := e.Name(); path != dir && (strings.HasPrefix(name, ".") || name == "bin" || name == "out" ||
			name == "node_modules") {
			return fs.SkipDir
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(texts)
	texts = slices.Compact(texts)
	return slices.DeleteFunc(texts, func(text string) bool {
		if slices.Contains(odd, text) {
			return true
		}
		mod, errs := syntax.Parse("a.hlb", []byte(text), syntax.Limits{})
		return len(errs) > 0 || len(mod.Decls) == 0
	})
}

// programs returns what may be the programs in a file.
func programs(t *testing.T, path string) []string {
	readers := map[string]func([]byte) []string{
		".hlb": func(text []byte) []string { return []string{string(text)} }, ".md": fenced, ".txt": chunks,
		".go": literals, ".yaml": values,
	}
	read := readers[filepath.Ext(path)]
	if read == nil || filepath.Ext(path) == ".go" && !strings.HasSuffix(path, "_test.go") {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return read(text)
}

// fenced returns the blocks of HLB in a text of Markdown.
func fenced(text []byte) []string {
	var out []string
	for _, part := range strings.Split(string(text), "\n```hlb\n")[1:] {
		program, _, _ := strings.Cut(part, "\n```")
		out = append(out, program+"\n")
	}
	return out
}

// chunks returns the programs of a conformance test, which stand behind a header each.
func chunks(text []byte) []string {
	var out []string
	for _, chunk := range strings.Split(strings.ReplaceAll(string(text), "\n===\n", "\n---\n"), "\n---\n") {
		_, program, _ := strings.Cut(chunk, "\n\n")
		out = append(out, program)
	}
	return out
}

// literals returns the strings of a Go file.
func literals(text []byte) []string {
	file, err := parser.ParseFile(token.NewFileSet(), "a.go", text, parser.SkipObjectResolution)
	if err != nil {
		return nil
	}
	var out []string
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if value, err := strconv.Unquote(lit.Value); err == nil {
				out = append(out, value)
			}
		}
		return true
	})
	return out
}

// values returns the texts of YAML documents.
func values(text []byte) []string {
	var out []string
	var add func(v any)
	add = func(v any) {
		switch v := v.(type) {
		case string:
			out = append(out, v)
		case []any:
			for _, e := range v {
				add(e)
			}
		case map[string]any:
			for _, e := range v {
				add(e)
			}
		}
	}
	for _, doc := range strings.Split(string(text), "\n---\n") {
		var v any
		if yaml.Unmarshal([]byte(doc), &v) == nil {
			add(v)
		}
	}
	return out
}
