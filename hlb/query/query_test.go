// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/link"
	"github.com/openllb/hlb-operator/hlb/module"
	"github.com/openllb/hlb-operator/test/kit/hlbtest"
)

const sample = `# builds things
# well
fs build(string version, fs src) {
	image "golang:1.26"
	run "go build ${version}" with option {
		mount src "/src"
		cacheMount "/root/.cache/go-build"
		# what was built
		mount scratch "/out" as out
	}
}

export default

fs default() {
	copy out("1", fs { local "."; }) "/" "/"
	build "2" scratch
}
`

func TestHover(t *testing.T) {
	for name, tc := range map[string]struct {
		mark string // a part of the sample, the cursor before it
		want string // a part
		span string
	}{
		"a builtin has its documentation":  {"run \"go", "Runs a command", "run"},
		"and its options":                  {"run \"go", "`cacheMount`", "run"},
		"an option has its effects":        {"mount scratch", "Effects that `as` binds: `target` (fs)", "mount"},
		"an addition is said to be one":    {"cacheMount", "other implementations lack", "cacheMount"},
		"a function has its signature":     {"build \"2\"", "fs build(string version, fs src)", "build"},
		"and its comment":                  {"build \"2\"", "builds things\nwell", "build"},
		"a parameter has its function":     {"version} ", "A parameter of `build`", "version"},
		"an alias has its effect":          {"out(\"1", "The effect `target` of `mount`, in `build`", "out"},
		"and its comment, where it stands": {"out\n\t}", "what was built", "out"},
		"a kind is explained":              {"fs { local", "A filesystem", "fs"},
		"that of options too":              {"option {", "Options of `run`: `readonlyRootfs`", "option"},
		"what is exported":                 {"default\n\nfs", "fs default()", "default"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(sample, "version}", "version} ", 1)
			h, ok := Analyze("a.hlb", []byte(text)).HoverAt(strings.Index(text, tc.mark))
			if !ok || !strings.Contains(h.Markdown, tc.want) {
				t.Fatalf("%v, %s, want %q", ok, h.Markdown, tc.want)
			}
			if got := text[h.Span.Start.Offset:h.Span.End.Offset]; got != tc.span {
				t.Errorf("it is about %q, want %q", got, tc.span)
			}
		})
	}
	if h, ok := Analyze("a.hlb", []byte(sample)).HoverAt(strings.Index(sample, "golang")); ok {
		t.Errorf("a text has no meaning: %v", h)
	}
}

func TestDefinitionAndReferences(t *testing.T) {
	for name, tc := range map[string]struct {
		text  string // the cursor is at ¦
		def   string // what stands at the definition, empty for none
		uses  int    // in this file, with the definition
		lines []int
	}{
		"a function": {"fs a() {}\nfs b() { ¦a; }\nexport a\n", "a() {}", 3, []int{1, 2, 3}},
		"a parameter": {
			"fs a(string v) { dir ¦v; run \"${v}\"; }\nfs b(string v) { dir v; }\n", "v) { dir", 3, []int{1, 1, 1},
		},
		"an alias": {
			"fs a() { run \"x\" with option { mount scratch \"/\" as o; }; }\nfs b() { ¦o; }\n", "o; }", 2, []int{1, 2},
		},
		"an import": {
			"import lib from \"lib.hlb\"\nfs b() { ¦lib.make \"x\"; }\n", "lib from", 2, []int{1, 2},
		},
		"at its end":            {"fs a() {}\nfs b() { a¦; }\n", "a() {}", 2, []int{1, 2}},
		"of a broken program":   {"fs a() {}\nfs b() { ¦a; copy ( }\nfs c(", "a() {}", 2, []int{1, 2}},
		"of an unclosed one":    {"fs a() {}\nfs b() { ¦a;\n", "a() {}", 2, []int{1, 2}},
		"with two of the name":  {"fs a() {}\nfs a() {}\nfs b() { ¦a; }\n", "a() {}\nfs a", 3, []int{1, 2, 3}},
		"a builtin has no file": {"fs b() { ¦scratch; }\n", "", 1, []int{1}},
	} {
		t.Run(name, func(t *testing.T) {
			src, offset := at(t, tc.text)
			f := linked(t, src)
			span, ok := f.Definition(offset)
			if ok != (tc.def != "") || ok && !strings.HasPrefix(string(src[span.Start.Offset:]), tc.def) {
				t.Errorf("defined at %v, %v", span, ok)
			}
			s, _ := f.SymbolAt(offset)
			var lines []int
			for _, n := range f.References(s, true) {
				lines = append(lines, n.Span.Start.Line)
			}
			if diff := cmp.Diff(tc.lines, lines); diff != "" || len(lines) != tc.uses {
				t.Errorf("references (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDefinitionInAModule(t *testing.T) {
	src, offset := at(t, "import lib from \"lib.hlb\"\nfs b() { lib.ma¦ke \"x\"; }\n")
	f := linked(t, src)
	span, ok := f.Definition(offset)
	if !ok || filepath.Base(span.File) != "lib.hlb" || span.Start.Line != 3 {
		t.Errorf("%v, %v", span, ok)
	}
	for _, mark := range []string{"lib from", "\"lib.hlb"} {
		span, ok := f.Definition(strings.Index(string(src), mark))
		if !ok || filepath.Base(span.File) != "lib.hlb" || span.Start.Line != 1 {
			t.Errorf("%s: %v, %v", mark, span, ok)
		}
	}
}

func TestRename(t *testing.T) {
	for name, tc := range map[string]struct {
		text, to string
		want     string
		err      string
	}{
		"a function is renamed everywhere": {
			text: "fs ¦a() {}\nfs b() { a; copy a \"/\" \"/\"; }\nexport a\n", to: "c",
			want: "fs c() {}\nfs b() { c; copy c \"/\" \"/\"; }\nexport c\n",
		},
		"a parameter only in its function": {
			text: "fs a(string v) { dir ¦v; }\nfs b(string v) { dir v; }\n", to: "w",
			want: "fs a(string w) { dir w; }\nfs b(string v) { dir v; }\n",
		},
		"an import with what uses it": {
			text: "import ¦lib from \"lib.hlb\"\nfs b() { lib.make \"x\"; }\n", to: "tools",
			want: "import tools from \"lib.hlb\"\nfs b() { tools.make \"x\"; }\n",
		},
		"a name that is taken":  {text: "fs ¦a() {}\nfs b() {}\n", to: "b", err: "already defined"},
		"the name of a builtin": {text: "fs ¦a() {}\n", to: "image", err: "name of a builtin"},
		"a keyword":             {text: "fs ¦a() {}\n", to: "with", err: "no name"},
		"a number":              {text: "fs ¦a() {}\n", to: "12", err: "no name"},
		"two words":             {text: "fs ¦a() {}\n", to: "b c", err: "no name"},
		"a name that would capture": {
			text: "fs ¦a() {}\nfs b(fs c) { copy a \"/\" \"/\"; c; }\n", to: "c", err: "something else",
		},
		"a builtin":                {text: "fs a() { ¦scratch; }\n", to: "b", err: "belongs to the language"},
		"nothing":                  {text: "fs a() { ¦ }\n", to: "b", err: "no name here"},
		"a program that is broken": {text: "fs ¦a() {}\nfs b() { a; ( }\n", to: "c", err: "does not parse"},
	} {
		t.Run(name, func(t *testing.T) {
			src, offset := at(t, tc.text)
			f := linked(t, src)
			_, err := f.Renamable(offset)
			var edits map[string][]diag.Edit
			if err == nil {
				s, _ := f.SymbolAt(offset)
				edits, err = Rename([]*File{f}, s, tc.to)
			}
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, string(Apply(src, edits[f.Name]))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestActions(t *testing.T) {
	for name, tc := range map[string]struct {
		text, title string
		want        string // the program, or what is inserted in another file
	}{
		"a misspelt builtin": {
			"fs a() { ¦imag \"x\"; }\n", "Change to `image`", "fs a() { image \"x\"; }\n",
		},
		"a misspelt option": {
			"fs a() { run \"x\" with option { ¦moun scratch \"/\"; }; }\n", "Change to `mount`",
			"fs a() { run \"x\" with option { mount scratch \"/\"; }; }\n",
		},
		"a misspelt kind": {"¦sf a() { scratch; }\n", "Change to `fs`", "fs a() { scratch; }\n"},
		"a forgotten `with`": {
			"fs a() { run \"x\" ¦option { dir \"/\"; }; }\n", "Add `with`",
			"fs a() { run \"x\" with option { dir \"/\"; }; }\n",
		},
		"a misspelt `with`": {
			"fs a() { run \"x\" ¦wiht option { dir \"/\"; }; }\n", "Change to `with`",
			"fs a() { run \"x\" with option { dir \"/\"; }; }\n",
		},
		"a mode that a tool can't bear": {
			"fs a() { run \"x\" with option { cacheMount \"/var/lib/apt\" with sharing(¦\"shared\"); }; }\n",
			"Share as `locked`",
			"fs a() { run \"x\" with option { cacheMount \"/var/lib/apt\" with sharing(\"locked\"); }; }\n",
		},
		"a mode for a mount without one": {
			"fs a() { run \"x\" with option { ¦cacheMount \"/x\"; }; }\n", "Share the mount as `private`",
			"fs a() { run \"x\" with option { cacheMount \"/x\" with sharing(\"private\"); }; }\n",
		},
		"an old import": {"import m ¦\"x\"\n", "Add `from`", "import m from \"x\"\n"},
		"an old kind":   {"¦group a() {}\n", "Change to `pipeline`", "pipeline a() {}\n"},
		"an old stage": {
			"pipeline a() { ¦parallel fs {}; }\n", "Change to `stage`", "pipeline a() { stage fs {}; }\n",
		},
		"what a module does not export": {
			"import lib from \"lib.hlb\"\nfs a() { lib.¦hidden; }\n", "Export `hidden`", "export hidden\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			src, offset := at(t, tc.text)
			f := linked(t, src)
			for _, a := range f.ActionsAt(offset, offset) {
				if a.Title != tc.title {
					continue
				}
				got := a.Edits[0].Text
				if a.Edits[0].Span.File == f.Name {
					got = string(Apply(src, a.Edits))
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				return
			}
			t.Errorf("it is not offered; found %v", f.Found)
		})
	}
}

func TestOutline(t *testing.T) {
	var got []string
	for _, o := range Analyze("a.hlb", []byte("import m from \"x\"\n"+sample)).Outline() {
		got = append(got, Signature(o.Object))
		for _, c := range o.Children {
			got = append(got, "  "+Signature(c.Object))
		}
	}
	want := []string{"import m", "fs build(string version, fs src)", "  fs out(string version, fs src)", "fs default()"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFolds(t *testing.T) {
	got := Analyze("a.hlb", []byte(sample)).Folds()
	want := []Fold{{1, 2, true}, {3, 10, false}, {5, 9, false}, {15, 17, false}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestColors(t *testing.T) {
	src := "import m from \"x\" # c\nfs a(variadic string v) {\n\tm.b v 1\n\trun \"t ${v}\" with option { dir \"d\"; }\n}\n"
	names := map[Class]string{
		KeywordClass: "keyword", KindClass: "kind", FunctionClass: "function", OptionClass: "option",
		ParameterClass: "parameter", NamespaceClass: "namespace", StringClass: "string", NumberClass: "number",
		CommentClass: "comment",
	}
	var got []string
	for _, c := range Analyze("a.hlb", []byte(src)).Colors() {
		if text := src[c.Span.Start.Offset:c.Span.End.Offset]; names[c.Class] != "string" {
			got = append(got, text+" "+names[c.Class])
		}
	}
	want := []string{
		"import keyword", "m namespace", "from keyword", "# c comment", "fs kind", "a function", "variadic keyword",
		"string kind", "v parameter", "m namespace", "v parameter", "1 number", "run function", "v parameter",
		"with keyword", "option kind", "dir option",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestQueriesBearAnything asks everything everywhere about text that mostly does not parse.
func TestQueriesBearAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src := hlbtest.Soup(t)
		if rapid.Bool().Draw(t, "module") {
			src = hlbtest.Module(t)
			src = src[:rapid.IntRange(0, len(src)).Draw(t, "cut")]
		}
		ask(beside(src))
	})
}

// beside analyzes a program that finds a module under the path p.
func beside(src string) *File {
	f := Analyze("a.hlb", []byte(src))
	lib := "export f\nexport a\nfs f(fs x, variadic string b) {}\n" +
		"fs a() { run \"x\" with option { mount scratch \"/\" as c; }; }\n"
	files := module.Tree{FS: fstest.MapFS{"p": {Data: []byte(lib)}}}
	f.Link(context.Background(), module.Dir{Root: files, Path: "."}, link.Options{})
	return f
}

// ask makes every query at every offset, up to some hundred.
func ask(f *File) {
	f.Lenses()
	f.Outline()
	f.Folds()
	f.Colors()
	f.Hints(0, len(f.Source))
	f.ActionsAt(0, len(f.Source))
	for i := 0; i <= len(f.Source); i += 1 + len(f.Source)/300 {
		f.CompleteAt(i)
		f.SignatureAt(i)
		f.HoverAt(i)
		f.Definition(i)
		if s, ok := f.SymbolAt(i); ok {
			f.References(s, true)
		}
		if _, err := f.Renamable(i); err == nil {
			s, _ := f.SymbolAt(i)
			_, _ = Rename([]*File{f}, s, "renamed") // it may be refused
		}
	}
}

func FuzzQuery(f *testing.F) {
	for _, s := range hlbtest.Seeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, src string) {
		if len(src) < 4096 {
			ask(beside(src))
		}
	})
}
