// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/hlb/link"
	"github.com/openllb/hlb-operator/hlb/module"
)

// at cuts the mark of the cursor out of a program and returns where it was.
func at(t testing.TB, text string) (src []byte, offset int) {
	t.Helper()
	before, after, ok := strings.Cut(text, "¦")
	if !ok {
		t.Fatal("no cursor in", text)
	}
	return []byte(before + after), len(before)
}

// linked analyzes a program beside the module lib.hlb.
func linked(t testing.TB, src []byte) *File {
	t.Helper()
	dir := t.TempDir()
	lib := "export make\nexport word\nfs make(string how) { scratch; }\nstring word() { \"x\"; }\nfs hidden() { scratch; }\n"
	if err := os.WriteFile(filepath.Join(dir, "lib.hlb"), []byte(lib), 0o600); err != nil {
		t.Fatal(err)
	}
	f := Analyze(filepath.Join(dir, "build.hlb"), src)
	f.Link(context.Background(), module.Dir{Root: module.Machine{}, Path: dir}, link.Options{})
	return f
}

func labels(c Completion) []string {
	var out []string
	for _, i := range c.Items {
		out = append(out, i.Label)
	}
	return out
}

func TestCompletion(t *testing.T) {
	for name, tc := range map[string]struct {
		text  string
		has   []string
		lacks []string
	}{
		"a statement of an fs calls what is an fs": {
			text: "string s() { \"x\"; }\nfs base() { scratch; }\nfs default() {\n\tim¦\n}\n",
			has:  []string{"image", "base", "default", "run"}, lacks: []string{"s", "format", "mount"},
		},
		"also if the block is not closed": {
			text: "fs default() {\n\timage \"x\"\n\t¦", has: []string{"run", "dir"}, lacks: []string{"format"},
		},
		"and a function follows": {
			text: "fs default() {\n\trun \"x\" with option {\n\t\t¦\n\nfs other() { scratch; }\n",
			has:  []string{"cacheMount", "mount", "dir"}, lacks: []string{"image", "other"},
		},
		"what follows is itself again": {
			text: "fs default() {\n\trun \"x\" with option {\n\nfs other() {\n\t¦ }\n",
			has:  []string{"image", "default"}, lacks: []string{"cacheMount"},
		},
		"options of a run": {
			text: "fs default() {\n\trun \"x\" with option { cache¦ }\n}\n",
			has:  []string{"cacheMount", "secret", "ignoreCache"}, lacks: []string{"readonly", "scratch"},
		},
		"options of an option": {
			text: "fs default() {\n\trun \"x\" with option {\n\t\tmount scratch \"/o\" with option {\n\t\t\t¦\n\t\t}\n\t}\n}\n",
			has:  []string{"readonly", "cache", "tmpfs"}, lacks: []string{"mount", "dir"},
		},
		"behind `with` stand options": {
			text: "fs default() {\n\trun \"x\" with ¦\n}\n",
			has:  []string{"option", "cacheMount"}, lacks: []string{"image"},
		},
		"behind the arguments stands `with`": {
			text: "fs default() {\n\timage \"x\" w¦\n}\n", has: []string{"with"}, lacks: []string{"run", "as"},
		},
		"or `as`, where there is something to bind": {
			text: "fs default() {\n\tdockerPush \"x\" ¦\n}\n", has: []string{"with", "as"},
		},
		"effects to bind": {
			text: "string default() {\n\tmanifest \"x\" as (¦)\n}\n", has: []string{"digest", "config", "index"},
		},
		"an argument has the kind of the parameter": {
			text: "string s() { \"x\"; }\nfs src() { scratch; }\nfs default() {\n\tcopy ¦\n}\n",
			has:  []string{"src", "scratch", "image", "fs"}, lacks: []string{"s", "mode"},
		},
		"the second one too": {
			text: "string s() { \"x\"; }\nfs src() { scratch; }\nfs default() {\n\tcopy src s¦\n}\n",
			has:  []string{"s", "format", "localArch"}, lacks: []string{"src", "scratch"},
		},
		"in parentheses": {
			text: "string s() { \"x\"; }\nfs default() {\n\tcopy image(¦) \"/\" \"/\"\n}\n",
			has:  []string{"s", "format"}, lacks: []string{"scratch"},
		},
		"in an interpolation stands what has a text": {
			text: "int n() { 1; }\nfs default() {\n\trun \"a ${¦} b\"\n}\n",
			has:  []string{"n", "format"}, lacks: []string{"scratch"},
		},
		"parameters are names": {
			text: "fs build(string version, fs src, variadic string more) {\n\tdir ¦\n}\n",
			has:  []string{"version", "more"}, lacks: []string{"src"},
		},
		"but not those of other functions": {
			text: "fs other(string version) { scratch; }\nfs build() {\n\tdir ¦\n}\n", lacks: []string{"version"},
		},
		"a pipeline takes filesystems": {
			text: "fs app() { scratch; }\npipeline default() {\n\tstage ¦\n}\n", has: []string{"app", "default", "fs"},
		},
		"and has stages": {
			text: "fs app() { scratch; }\npipeline default() {\n\t¦\n}\n",
			has:  []string{"stage", "default"}, lacks: []string{"app"},
		},
		"aliases are names": {
			text: "fs a() {\n\trun \"x\" with option {\n\t\tmount scratch \"/o\" as out\n\t}\n}\nfs b() {\n\t¦\n}\n",
			has:  []string{"out"},
		},
		"members that a module exports": {
			text: "import lib from \"lib.hlb\"\nfs default() {\n\tlib.make \"x\"\n\tlib.¦\n}\n",
			has:  []string{"make"}, lacks: []string{"hidden", "word", "image"},
		},
		"members of a module that nothing is used of yet": {
			text: "import lib from \"lib.hlb\"\nfs default() {\n\tlib.¦\n}\n", has: []string{"make"},
		},
		"members of the kind that is wanted": {
			text: "import lib from \"lib.hlb\"\nfs default() {\n\tlib.make lib.wo¦\n}\n",
			has:  []string{"word"}, lacks: []string{"make"},
		},
		"the modes of a cache mount": {
			text: "fs default() {\n\trun \"x\" with option {\n\t\tcacheMount \"/a\" with sharing(\"¦\")\n\t}\n}\n",
			has:  []string{"shared", "private", "locked"},
		},
		"a text can be anything else": {text: "fs default() {\n\timage \"¦\"\n}\n", lacks: []string{"image"}},
		"so can a comment":            {text: "fs default() {\n\t# ¦\n}\n", lacks: []string{"image"}},
		"a declaration begins so":     {text: "¦", has: []string{"fs", "string", "import", "export", "option::run"}},
		"parameters have kinds":       {text: "fs a(¦) {}\n", has: []string{"fs", "bool"}, lacks: []string{"import"}},
		"what is not exported can be": {
			text: "fs a() {}\nfs b() {}\nexport a\nexport ¦\n", has: []string{"b"}, lacks: []string{"a"},
		},
		"an import is from a module": {
			text: "import m from ¦\n", has: []string{"fs", "image", "format"}, lacks: []string{"run x"},
		},
		"no name stands behind `as`": {
			text: "fs a() {\n\tdockerPush \"x\" as ¦\n}\n", lacks: []string{"a", "image"},
		},
		"a block without kind has none": {text: "fs a() {\n\t{ ¦ }\n}\n", lacks: []string{"image"}},
	} {
		t.Run(name, func(t *testing.T) {
			src, offset := at(t, tc.text)
			got := labels(linked(t, src).CompleteAt(offset))
			for _, want := range tc.has {
				if !slices.Contains(got, want) {
					t.Errorf("%q is not offered, but %q", want, got)
				}
			}
			for _, no := range tc.lacks {
				if slices.Contains(got, no) {
					t.Errorf("%q is offered", no)
				}
			}
		})
	}
}

func TestCompletionReplacesTheWord(t *testing.T) {
	src, offset := at(t, "fs default() {\n\tim¦ag \"x\"\n}\n")
	c := Analyze("a.hlb", src).CompleteAt(offset)
	if got := string(src[c.Replace.Start.Offset:c.Replace.End.Offset]); got != "imag" {
		t.Errorf("%q is replaced", got)
	}
	src, offset = at(t, "fs default() {\n\t¦\n}\n")
	c = Analyze("a.hlb", src).CompleteAt(offset)
	if c.Replace.Start.Offset != offset || c.Replace.End.Offset != offset {
		t.Errorf("%v is replaced", c.Replace)
	}
}

func TestWhatIsNearComesFirst(t *testing.T) {
	src, offset := at(t, "string a() { \"x\"; }\nfs default(string z) {\n\timage ¦\n}\n")
	got := labels(Analyze("a.hlb", src).CompleteAt(offset))
	if diff := cmp.Diff([]string{"z", "a", "with"}, got[:3]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSignature(t *testing.T) {
	for name, tc := range map[string]struct {
		text   string
		label  string // with the parameter in brackets; empty for none
		noCall bool
	}{
		"the first argument": {
			text: "fs d() {\n\tcopy ¦\n}\n", label: "fs copy([fs input], string src, string dst)",
		},
		"the second": {
			text: "fs d() {\n\tcopy scratch ¦\n}\n", label: "fs copy(fs input, [string src], string dst)",
		},
		"inside of its text": {
			text: "fs d() {\n\tcopy scratch \"a¦\" \"b\"\n}\n", label: "fs copy(fs input, [string src], string dst)",
		},
		"a variadic one has no end": {
			text: "fs d() {\n\trun \"a\" \"b\" ¦\n}\n", label: "fs run([variadic string arg])",
		},
		"the innermost call": {
			text: "fs f(string x) {}\nfs d() {\n\tcopy f(¦) \"a\"\n}\n", label: "fs f([string x])",
		},
		"an option": {
			text:  "fs d() {\n\trun \"x\" with option {\n\t\tmount scratch ¦\n\t}\n}\n",
			label: "option::run mount(fs input, [string mountPoint]) binds (fs target)",
		},
		"too many":           {text: "fs d() {\n\tdir \"x\" ¦\n}\n", label: "fs dir(string path)"},
		"no call":            {text: "fs d() {\n\t¦\n}\n", noCall: true},
		"no parameters":      {text: "fs d() {\n\tscratch ¦\n}\n", noCall: true},
		"behind the options": {text: "fs d() {\n\trun \"x\" with ¦\n}\n", noCall: true},
	} {
		t.Run(name, func(t *testing.T) {
			src, offset := at(t, tc.text)
			call, ok := Analyze("a.hlb", src).SignatureAt(offset)
			if ok == tc.noCall {
				t.Fatalf("got %v, %v", call, ok)
			}
			got := call.Label
			if call.Active < len(call.Params) {
				p := call.Params[call.Active]
				got = got[:p.Start] + "[" + got[p.Start:p.End] + "]" + got[p.End:]
			}
			if got != tc.label {
				t.Errorf("%s, want %s", got, tc.label)
			}
		})
	}
}
