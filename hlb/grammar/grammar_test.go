// SPDX-License-Identifier: Apache-2.0

package grammar

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/hlb/builtin"
)

var update = flag.Bool("update", false, "write the files of editors")

const editors = "../../editors"

// TestFilesOfEditors: what is checked in is what the declarations give.
func TestFilesOfEditors(t *testing.T) {
	textMate, err := TextMate()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{
		"vscode/syntaxes/hlb.tmLanguage.json": textMate,
		"vim/syntax/hlb.vim":                  Vim(),
		"tree-sitter/queries/highlights.scm":  TreeSitter(),
	} {
		file := filepath.Join(editors, name)
		if *update {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s: run this test with -update (-want +got):\n%s", name, diff)
		}
	}
}

func TestEveryBuiltinIsColored(t *testing.T) {
	vim := strings.Fields(string(Vim()))
	for _, f := range builtin.All() {
		if !slices.Contains(vim, f.Name) {
			t.Errorf("Vim does not know %s", f.Name)
		}
		if !slices.Contains(slices.Concat(functions(), options(), soft), f.Name) {
			t.Errorf("TextMate does not know %s", f.Name)
		}
	}
}

// TestRulesAreThere: a rule that is included exists.
func TestRulesAreThere(t *testing.T) {
	text, err := TextMate()
	if err != nil {
		t.Fatal(err)
	}
	var g textMate
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	var look func(rules []rule)
	look = func(rules []rule) {
		for _, r := range rules {
			_, ok := g.Repository[strings.TrimPrefix(r.Include, "#")]
			if r.Include != "" && r.Include != "$self" && !ok {
				t.Errorf("there is no rule %s", r.Include)
			}
			look(r.Patterns)
		}
	}
	look(g.Patterns)
	for _, r := range g.Repository {
		look(r.Patterns)
	}
}

// TestExtension: the files that the VS Code extension names exist, and its language is that of the grammar.
func TestExtension(t *testing.T) {
	dir := filepath.Join(editors, "vscode")
	text, err := os.ReadFile(filepath.Join(dir, "package.json"))
	if err != nil {
		t.Fatal(err)
	}
	var p struct {
		Main        string
		Contributes struct {
			Languages []struct{ ID, Configuration string }
			Grammars  []struct{ Language, ScopeName, Path string }
		}
	}
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	c := p.Contributes
	if len(c.Languages) != 1 || len(c.Grammars) != 1 || c.Grammars[0].Language != c.Languages[0].ID ||
		c.Grammars[0].ScopeName != "source.hlb" {
		t.Errorf("%+v", c)
	}
	for _, file := range []string{p.Main, c.Languages[0].Configuration, c.Grammars[0].Path} {
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			t.Error(err)
		}
	}
}
