// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/link"
	"github.com/openllb/hlb-operator/hlb/module"
	"github.com/openllb/hlb-operator/test/kit/hlbtest"
)

// pieces are what edits put into a program: what is whole, what opens or closes something, and names that are wrong.
var pieces = []string{
	"fs more() { scratch; }\n", "# a comment\n", "\n", " ", "a", "x", "{", "}", "\"", "`", "(", ")", "<<EOF\n", "EOF\n",
	"image \"b\"\n", "string s(int n) {\n\tformat \"%d\" n\n}\n", "export default\n", "import lib from \"lib.hlb\"\n",
	"${", "\\", "group g() {}\n", "run \"x\" with option { mount scratch \"/\" as out; }\n", "default", "0", "é",
	"lib.make \"z\"\n", "lib.hidden", "lib.",
	"run \"x\" with option { mount scratch \"/var/lib/apt\" with cache(\"i\", \"shared\"); }\n", "build \"1\"\n",
	"import old \"old.hlb\"\n", "\uFEFF", "\xff", "fs build", ";", "with", "as",
}

// edited draws a change of a text.
func edited(t *rapid.T, src string) string {
	start := rapid.IntRange(0, len(src)).Draw(t, "start")
	size := rapid.SampledFrom([]int{0, 0, 0, 1, 2, 20, 200}).Draw(t, "size")
	end := min(start+size, len(src))
	if rapid.Bool().Draw(t, "lines") { // from the start of a line, as those who write do
		start = strings.LastIndexByte(src[:start], '\n') + 1
		end = max(start, end)
	}
	piece := rapid.SampledFrom(pieces).Draw(t, "piece")
	if rapid.Bool().Draw(t, "delete") {
		piece = ""
	}
	return src[:start] + piece + src[end:]
}

// known is all that a File answers, as text.
func known(f *File) map[string]any {
	where := func(o *check.Object) string { return fmt.Sprintf("%d %s %s %v", o.What, o.Name, o.Kind, o.Span) }
	var names, found []string
	for _, n := range f.names() {
		names = append(names, fmt.Sprintf("%v %v %s: %s", n.Span, n.Def, where(n.Object), Describe(n.Object)))
	}
	for _, d := range f.Found {
		places := ""
		d.Spans(func(s *diag.Span) { places += fmt.Sprintf(" %+v", *s) })
		found = append(found, fmt.Sprintf("%v %v%s", d.Severity, d, places))
	}
	var scope []string
	for _, o := range f.Info().Scope {
		scope = append(scope, where(o))
	}
	slices.Sort(scope)
	return map[string]any{
		"module": f.Module(), "found": found, "names": names, "scope": scope, "exported": f.Info().Exported,
		"colors": f.Colors(), "folds": f.Folds(), "hints": f.Hints(0, len(f.Source)),
		"outline": outlined(f.Outline()), "lenses": lensed(f.Lenses()),
	}
}

func outlined(list []Outline) []string {
	var out []string
	for _, o := range list {
		out = append(out, fmt.Sprintf("%s %v %v", o.Object.Name, o.Span, outlined(o.Children)))
	}
	return out
}

func lensed(list []Lens) []string {
	var out []string
	for _, l := range list {
		out = append(out, fmt.Sprintf("%v %s", l.Span, l.Details(nil)))
	}
	slices.Sort(out)
	return out
}

// differ compares what two files know. Most know the same, which is found out fast.
func differ(want, got *File) string {
	a, b := known(want), known(got)
	if reflect.DeepEqual(a, b) {
		return ""
	}
	return cmp.Diff(a, b, cmpopts.EquateEmpty())
}

// TestEditingIsAnalyzing: whatever is changed, an Editing knows what Analyze finds out about the new text alone.
func TestEditingIsAnalyzing(t *testing.T) {
	dir := t.TempDir()
	lib := "export make\nfs make(string how) { scratch; }\nfs hidden() { scratch; }\n"
	if err := os.WriteFile(filepath.Join(dir, "lib.hlb"), []byte(lib), 0o600); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "build.hlb")
	link := func(f *File) *File {
		f.Link(context.Background(), module.Dir{Root: module.Machine{}, Path: dir}, link.Options{})
		return f
	}
	rapid.Check(t, func(t *rapid.T) {
		src := sample
		switch rapid.IntRange(0, 4).Draw(t, "program") {
		case 3:
			src = "import lib from \"lib.hlb\"\nfs a() { lib.make \"x\"; }\n" + sample +
				"fs b() {\n\tlib.make \"y\"\n}\n"
		case 0:
			src = hlbtest.Module(t)
		case 1:
			src = string(hlbtest.Program(100))
		case 2:
			src = strings.Repeat("\n", 3) + sample + "# last"
		}
		var e Editing
		for range rapid.IntRange(1, 12).Draw(t, "edits") {
			want, got := link(Analyze(name, []byte(src))), link(e.Analyze(name, []byte(src)))
			if diff := differ(want, got); diff != "" {
				t.Fatalf("%s\n(-want +got):\n%s", src, diff)
			}
			src = edited(t, src)
		}
	})
}

// TestEditingKeepsWhatDidNotChange: declarations around a change are those of the version before, and so are the
// objects that a change of the body leaves as they were.
func TestEditingKeepsWhatDidNotChange(t *testing.T) {
	src := string(hlbtest.Program(1000))
	for name, tc := range map[string]struct {
		old, new string
		checked  bool // again, all of it
	}{
		"a comment":            {"\timage \"docker.io/library/golang:1.20\"", "# typed\n\timage \"x\"", false},
		"a wrong name":         {"dir \"/src\"", "dri \"/src\"", false},
		"a line less":          {"\t\tdir \"/src\"\n", "", false},
		"the comment above":    {"# step20 builds", "# makes\n# step20 builds", false},
		"a parameter":          {"fs step20(string version) {", "fs step20(string version, int more) {", true},
		"the name of an alias": {"as part20\n", "as other\n", true},
		"a function":           {"# step20 builds", "fs another() {}\n# step20 builds", true},
	} {
		t.Run(name, func(t *testing.T) {
			var e Editing
			before := e.Analyze("a.hlb", []byte(src))
			first, last := before.Module().Decls[0], before.Module().Decls[len(before.Module().Decls)-1]
			info := before.Info()
			if !strings.Contains(src, tc.old) {
				t.Fatal("the program has no", tc.old)
			}
			after := strings.Replace(src, tc.old, tc.new, 1)
			got := e.Analyze("a.hlb", []byte(after))
			if decls := got.Module().Decls; decls[0] != first || decls[len(decls)-1] != last {
				t.Error("all was parsed again")
			}
			if checked := got.Info() != info; checked != tc.checked {
				t.Errorf("all was checked again: %v, want %v", checked, tc.checked)
			}
			if diff := differ(Analyze("a.hlb", []byte(after)), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestImportsOfAWrongProgram: an operand that can't be evaluated is left alone, and others are still read.
func TestImportsOfAWrongProgram(t *testing.T) {
	for name, tc := range map[string]struct{ src, member string }{
		"a call without its arguments": {"import m from string { format; }\nfs a() { m.x; }\n", ""},
		"an import of itself":          {"import m from m.x\nfs a() { m.x; }\n", ""},
		"an alias without a function":  {"import m from b\nimport n from fs { dockerPush \"x\" as b; }\nfs a() { m.x; }\n", ""},
		"a name that is not there":     {"import m from nothing\nfs a() { m.x; }\n", ""},
		"an error elsewhere":           {"import m from \"lib.hlb\"\nfs a() { m.make \"x\"; nothing; }\n", "make"},
	} {
		t.Run(name, func(t *testing.T) {
			f := linked(t, []byte(tc.src))
			o := memberOf(f.Info(), "m", "make")
			if got := o != nil; got != (tc.member != "") {
				t.Errorf("it has members: %v", got)
			}
			if !f.Found.HasErrors() {
				t.Error("it is not wrong")
			}
		})
	}
}
