// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/solver/pb"
)

// files are the programs of the tests, by name.
var files = map[string]string{
	"good.hlb":    "fs default() {\n\timage \"alpine\"\n\trun \"make\" with cacheMount(\"/root/.cache/go-build\")\n}\n",
	"bad.hlb":     "fs default() {\n\timag \"alpine\"\n}\n",
	"old.hlb":     "group default() { parallel scratch }\n",
	"ugly.hlb":    "fs default() {\nscratch ;dir \"/\"\n}",
	"lib.hlb":     "export f\nfs f() { scratch }\n",
	"uses.hlb":    "import lib from \"lib.hlb\"\nfs default() { lib.g; lib.f; }\n",
	"usesbad.hlb": "import bad from \"bad.hlb\"\nfs default() { bad.f }\n",
	"cached.hlb": `fs default() {
	http "https://h/a"
	cacheContext fs { image "r"; } with option { toImage "q"; mode "max"; }
	dir "/"
	run "x" with mount(fs {
		http "https://h/b"
		cacheContext fs { http "https://h/c"; } fs { http "https://h/d"; }
	}, "/m")
}
`,
	"stage.hlb": "pipeline default() { stage fs { image \"a\"; } fs { image \"b\"; } }\n",
}

// command runs a command line in a directory with files, and returns what it did.
func command(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	var out, errs bytes.Buffer
	code = run(context.Background(), args, strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

func TestCommands(t *testing.T) {
	for name, tc := range map[string]struct {
		args   string
		stdin  string
		code   int
		stdout string // all of it
		stderr string // a part of it
	}{
		"a good program is accepted":     {args: "check good.hlb"},
		"a good program has no findings": {args: "check --json good.hlb", stdout: "[]\n"},
		"a bad one is refused with its line": {
			args: "check good.hlb bad.hlb", code: 1,
			stderr: "2 |     imag \"alpine\"\n  |     ^^^^\n hint: did you mean `image`?",
		},
		"tools get an array": {
			args: "check --json bad.hlb", code: 1,
			stdout: "[\n  {\n    \"file\": \"bad.hlb\",\n    \"line\": 2,\n    \"column\": 2,\n    \"code\": \"UNDEFINED\",\n    \"message\": \"`imag` is not defined\",\n    \"hint\": \"did you mean `image`?\"\n  }\n]\n",
		},
		"a file that isn't there is another matter": {args: "check gone.hlb", code: 2, stderr: "gone.hlb"},
		"so is wrong usage":                         {args: "check", code: 2, stderr: "requires at least 1 arg"},
		"and an unknown command":                    {args: "chek x", code: 2, stderr: "unknown command"},
		"and an unknown flag":                       {args: "check --nope x", code: 2, stderr: "unknown flag"},
		"standard input has a name": {
			args: "check -", stdin: "fs", code: 1, stderr: "--> <stdin>:1:3",
		},
		"old forms are accepted": {args: "check --json old.hlb", stdout: "[]\n"},
		"but linted": {
			args: "lint old.hlb", code: 1, stderr: "warning[DEPRECATED]: the kind `group`",
		},
		"a program without old forms lints clean": {args: "lint good.hlb"},
		"extensions are linted if asked for": {
			args: "lint --portable good.hlb", code: 1, stderr: "warning[NOT-PORTABLE]",
		},
		"members of imports aren't read by default": {args: "check uses.hlb"},
		"but if asked for": {
			args: "check --resolve uses.hlb", code: 1, stderr: "--> uses.hlb:2:20",
		},
		"a program is formatted to standard output": {
			args: "fmt ugly.hlb", stdout: "fs default() {\n\tscratch\n\tdir \"/\"\n}\n",
		},
		"also from standard input": {args: "fmt", stdin: "fs  a()", stdout: "fs a()\n"},
		"files that aren't formatted are listed": {
			args: "fmt -l good.hlb ugly.hlb", code: 1, stdout: "ugly.hlb\n",
		},
		"a program that doesn't parse isn't formatted": {
			args: "fmt -", stdin: "fs a( {", code: 1, stderr: "error[SYNTAX]",
		},
		"standard input can't be written": {
			args: "fmt -w -", stdin: "fs  a()", code: 2, stderr: "leave out -w",
		},
		"a target is compiled offline": {
			args:   "compile --offline stage.hlb",
			stdout: "# 1: single\n1: source docker-image://docker.io/library/a:latest\nresult %1\n# 2: single\n1: source docker-image://docker.io/library/b:latest\nresult %1\n",
		},
		"cache contexts are shown": {
			args: "compile --offline cached.hlb",
			stdout: "# 1: single\n1: source https://h/a\n2: source https://h/d\n" +
				"3: exec [\"/bin/sh\" \"-c\" \"x\"] cwd=/ [/ = %1 out 0] [/m = %2]\nresult %3\n" +
				"# cacheContext at cached.hlb:3:2 of %1\n" +
				"#   import registry ref=\"docker.io/library/r:latest\"\n" +
				"#   export registry mode=\"max\" ref=\"docker.io/library/q:latest\"\n" +
				"# cacheContext at cached.hlb:7:3 of %2\n" +
				"#   import the layout in its own definition\n#     1: source https://h/c\n#     result %1\n",
		},
		"unless they are ignored": {
			args: "compile --offline --no-cache-contexts cached.hlb",
			stdout: "# 1: single\n1: source https://h/a\n2: source https://h/d\n" +
				"3: exec [\"/bin/sh\" \"-c\" \"x\"] cwd=/ [/ = %1 out 0] [/m = %2]\nresult %3\n",
		},
		"a program that doesn't check isn't compiled": {
			args: "compile --offline bad.hlb", code: 1, stderr: "error[UNDEFINED]",
		},
		"tools are told why": {
			args: "compile --offline --json bad.hlb", code: 1,
			stdout: "[\n  {\n    \"file\": \"bad.hlb\",\n    \"line\": 2,\n    \"column\": 2,\n    \"code\": \"UNDEFINED\",\n    \"message\": \"`imag` is not defined\",\n    \"hint\": \"did you mean `image`?\"\n  }\n]\n",
			stderr: "error[UNDEFINED]",
		},
		"a line of a module that is refused is shown": {
			args: "compile --offline usesbad.hlb", code: 1, stderr: "--> bad.hlb:2:2\n2 |     imag \"alpine\"",
		},
		"a target that isn't there": {
			args: "compile --offline --target x good.hlb", code: 1, stderr: "error[NO-TARGET]",
		},
		"one definition has to be chosen": {
			args: "compile --offline --pb stage.hlb", code: 2, stderr: "there are 2 definitions",
		},
		"a daemon that isn't there": {
			args: "compile --addr unix:///nonexistent/sock good.hlb", code: 2, stderr: "nonexistent",
		},
		"what a target touches": {
			args:   "keys --target default --cache-mount-namespace ns good.hlb",
			stdout: "[\n  {\n    \"target\": \"default\",\n    \"cacheMounts\": [\n      {\n        \"id\": \"ns//root/.cache/go-build\",\n        \"target\": \"/root/.cache/go-build\",\n        \"sharing\": \"shared\"\n      }\n    ],\n    \"images\": [\n      {\n        \"ref\": \"alpine\"\n      }\n    ],\n    \"gits\": [],\n    \"https\": [],\n    \"locals\": [],\n    \"exports\": [],\n    \"imports\": [],\n    \"complete\": true\n  }\n]\n",
		},
		"what a misspelt target touches": {
			args: "keys --target defalut good.hlb", code: 1, stderr: "hint: did you mean `default`?",
		},
		"what a target touches that isn't there": {
			args: "keys --target nope good.hlb", code: 1, stderr: "error[NO-TARGET]",
		},
		"a build without a daemon": {
			args: "run --addr unix:///nonexistent/sock --progress plain good.hlb", code: 1, stderr: "nonexistent",
		},
		"an output that makes no sense": {
			args: "run --output type=zip good.hlb", code: 2, stderr: `there is no type "zip"`,
		},
		"an output of a target that isn't built": {
			args: "run --output type=local,dest=o,target=x good.hlb", code: 2, stderr: "which is not built",
		},
		"a platform that makes no sense":     {args: "run --platform a/b/c/d good.hlb", code: 2, stderr: "--platform"},
		"a default program that isn't there": {args: "run --progress plain", code: 2, stderr: "build.hlb"},
		"targets are completed": {
			args: "__complete run stage.hlb --target d", stdout: "default\n:4\n", stderr: "Completion ended",
		},
		"the ways of progress too": {
			args: "__complete run --progress r", stdout: "auto\nplain\ntty\nrawjson\nquiet\n:4\n",
			stderr: "Completion ended",
		},
		"and the names of programs": {
			args: "__complete lint x", stdout: "hlb\n:8\n", stderr: "Completion ended",
		},
		"a way to show progress that doesn't exist": {args: "run --progress nope good.hlb", code: 2, stderr: "nope"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := command(t, tc.stdin, strings.Fields(tc.args)...)
			if code != tc.code {
				t.Errorf("exit code %d, want %d\n%s%s", code, tc.code, stdout, stderr)
			}
			if diff := cmp.Diff(tc.stdout, stdout); diff != "" {
				t.Errorf("standard output (-want +got):\n%s", diff)
			}
			if !strings.Contains(stderr, tc.stderr) || tc.stderr == "" && stderr != "" {
				t.Errorf("standard error = %q, want %q in it", stderr, tc.stderr)
			}
		})
	}
}

func TestFmtWritesFiles(t *testing.T) {
	code, stdout, stderr := command(t, "", "fmt", "-l", "-w", "ugly.hlb", "good.hlb")
	if code != 0 || stdout != "ugly.hlb\n" || stderr != "" {
		t.Errorf("%d, %q, %q", code, stdout, stderr)
	}
	got, err := os.ReadFile("ugly.hlb")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("fs default() {\n\tscratch\n\tdir \"/\"\n}\n", string(got)); diff != "" {
		t.Error(diff)
	}
	left, _ := filepath.Glob("*.hlbfmt")
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestCompileFormsHoldTheSameOps(t *testing.T) {
	_, jsonOut, _ := command(t, "", "compile", "--offline", "--json", "good.hlb")
	_, again, _ := command(t, "", "compile", "--offline", "--json", "good.hlb")
	if jsonOut != again || jsonOut == "" {
		t.Errorf("two compiles differ:\n%s\n%s", jsonOut, again)
	}
	_, pbOut, _ := command(t, "", "compile", "--offline", "--pb", "good.hlb")
	var def pb.Definition
	if err := def.UnmarshalVT([]byte(pbOut)); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(jsonOut, "\n"); got != len(def.Def) {
		t.Errorf("%d lines for %d ops", got, len(def.Def))
	}
}

func TestToolsSeeCacheContexts(t *testing.T) {
	var got []string
	_, out, _ := command(t, "", "compile", "--offline", "--json", "cached.hlb")
	digests := map[string]string{} // of the ops by their sources
	for line := range strings.Lines(out) {
		var op struct {
			Digest string
			Op     struct{ Source struct{ Identifier string } }
		}
		if err := json.Unmarshal([]byte(line), &op); err != nil {
			t.Fatal(err)
		}
		if op.Digest == "" {
			got = append(got, line)
		}
		digests[op.Op.Source.Identifier] = op.Digest
	}
	want := []string{
		`{"solve":1,"cacheContext":{"at":"cached.hlb:3:2","section":"` + digests["https://h/a"] + `",` +
			`"imports":[{"type":"registry","attrs":{"ref":"docker.io/library/r:latest"}}],` +
			`"exports":[{"type":"registry","attrs":{"mode":"max","ref":"docker.io/library/q:latest"}}]}}` + "\n",
	}
	if len(got) != 2 || cmp.Diff(want, got[:1]) != "" || !strings.Contains(got[1], `"imports":[{"layout":"sha256:`) {
		t.Errorf("cache contexts: %v, want %v and one with a layout", got, want)
	}
}

func TestEqualDefinitionsAreEqualBytes(t *testing.T) {
	_, want, _ := command(t, "", "compile", "--offline", "--pb", "cached.hlb")
	for range 10 {
		if _, got, _ := command(t, "", "compile", "--offline", "--pb", "cached.hlb"); got != want || got == "" {
			t.Fatalf("two compiles differ: %q and %q", got, want)
		}
	}
}
