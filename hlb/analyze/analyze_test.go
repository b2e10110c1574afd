// SPDX-License-Identifier: Apache-2.0

package analyze_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/openllb/hlb-operator/hlb/analyze"
	"github.com/openllb/hlb-operator/hlb/lint"
	"github.com/openllb/hlb-operator/hlb/syntax"
	"github.com/openllb/hlb-operator/test/kit/hlbtest"
)

func analyzed(t interface{ Fatalf(string, ...any) }, src string, opts analyze.Options) []analyze.Target {
	info, errs := lint.Program("a.hlb", []byte(src), syntax.Limits{})
	if errs.HasErrors() {
		t.Fatalf("%v", errs)
	}
	targets, errs := analyze.Module(info, opts)
	if len(errs) > 0 {
		t.Fatalf("%v", errs)
	}
	return targets
}

// summary renders what a target touches, one thing a line.
func summary(t analyze.Target) []string {
	var out []string
	for _, m := range t.CacheMounts {
		out = append(out, fmt.Sprintf("mount %s at %s %s", m.ID, m.Target, m.Sharing))
	}
	for _, r := range t.Images {
		out = append(out, "image "+r.Ref.String())
	}
	for _, g := range t.Gits {
		out = append(out, fmt.Sprintf("git %s %s", g.Remote, g.Ref))
	}
	for _, r := range t.HTTPS {
		out = append(out, "http "+r.Ref.String())
	}
	for _, r := range t.Locals {
		out = append(out, "local "+r.Ref.String())
	}
	for _, e := range t.Exports {
		out = append(out, e.By+" "+e.Ref.String())
	}
	for _, r := range t.Imports {
		out = append(out, "import "+r.Ref.String())
	}
	if !t.Complete {
		out = append(out, "incomplete")
	}
	return out
}

func TestModule(t *testing.T) {
	for name, tc := range map[string]struct {
		src  string
		opts analyze.Options
		want []string
	}{
		"a cache mount as written": {
			`fs default() { run "x" with option { mount scratch "/c" with cache("i", "locked"); }; }`,
			analyze.Options{}, []string{"mount i at /c locked"},
		},
		"in a namespace": {
			`fs default() { run "x" with option { mount scratch "/c" with option { cache "i" "locked"; }; }; }`,
			analyze.Options{CacheMountNamespace: "n"}, []string{"mount n/i at /c locked"},
		},
		"cacheMount has a default id and mode": {
			`fs default() { run "x" with option { cacheMount "/var/lib/apt/"; cacheMount "/c"; }; }`,
			analyze.Options{}, []string{"mount //var/lib/apt at /var/lib/apt/ locked", "mount //c at /c shared"},
		},
		"and options for both": {
			`fs default() { run "x" with cacheMount("/c"); run "y" with option { cacheMount "/c" with option { id "i"; sharing "private"; }; }; }`,
			analyze.Options{}, []string{"mount //c at /c shared", "mount /i at /c private"},
		},
		"a mount without a cache is none": {
			`fs default() { run "x" with option { mount image("y") "/c" with readonly; }; }`, analyze.Options{},
			[]string{"image y"},
		},
		"options that no run takes mount nothing": {
			"option::run o() { cacheMount \"/c\"; }\nfs default() { scratch; }", analyze.Options{}, nil,
		},
		"options passed through functions": {
			"option::mount c(string id) { cache id \"shared\"; }\noption::run o(option::mount m, string p) { mount scratch p with m; }\nfs f(variadic option::run o) { run \"x\" with option { o; }; }\nfs default() { f option::run { o option::mount { c \"1\"; } \"/a\"; } o(c(\"2\"), \"/b\"); }",
			analyze.Options{}, []string{"mount 1 at /a shared", "mount 2 at /b shared"},
		},
		"texts are followed": {
			"string v() { \"1.${n}\"; }\nint n() { 0x10; }\nfs f(string v) { image \"go:${v}\"; }\nfs default() { f v; f string { format \"%s-%s\" v \"x\"; }; }",
			analyze.Options{}, []string{"image go:1.16", "image go:1.16-x"},
		},
		"what isn't known is so": {
			"fs default() { image string { localEnv \"X\"; }; git \"https://h/r.git\" string { template \"x\"; }; }",
			analyze.Options{}, []string{"image ?", "git https://h/r.git ?"},
		},
		"a wide format isn't computed": {
			"fs default() { image string { format \"%9999999s\" \"x\"; }; }", analyze.Options{}, []string{"image ?"},
		},
		"sources and exports": {
			`fs default() { http "https://h"; local "."; copy git("r", "m") "/" "/"; dockerPush "p"; download "d"; cacheContext image("c") with option { toImage "t"; to "s3" "bucket=b"; }; downloadDockerTarball "f" "ref"; }`,
			analyze.Options{},
			[]string{"image c", "git r m", "http https://h", "local .", "dockerPush p", "download d", "toImage t",
				"to s3 b", "downloadDockerTarball f"},
		},
		"things found twice are listed once": {
			`fs default() { image "a"; image "a"; dockerPush "p"; dockerPush "p"; git "r" "m"; git "r" "m"; run "x" with cacheMount("/c"); run "y" with cacheMount("/c"); }`,
			analyze.Options{}, []string{"mount //c at /c shared", "image a", "git r m", "dockerPush p"},
		},
		"an alias ends at its binding": {
			"fs f() { image \"a\"; run \"x\" with option { mount image(\"b\") \"/o\" as o; }; image \"c\"; }\nfs default() { o; }",
			analyze.Options{}, []string{"image a", "image b"},
		},
		"a digest is known only to the build": {
			"fs f() { dockerPush \"r\" as d; }\nfs default() { image \"x@${d}\"; }", analyze.Options{},
			[]string{"image ?", "dockerPush r"},
		},
		"breakpoint is nothing": {
			"fs default() { breakpoint image(\"x\"); }", analyze.Options{}, nil,
		},
		"a pipeline": {
			"pipeline default() { stage fs { image \"a\"; } image(\"b\"); \"note\"; }", analyze.Options{},
			[]string{"image a", "image b"},
		},
		"a module that isn't there": {
			"import m from image(\"mod\")\nfs default() { m.f image(\"x\"); }", analyze.Options{},
			[]string{"image mod", "image x", "import ?", "incomplete"},
		},
		"a module by path": {
			"import m from \"m.hlb\"\nfs default() { m.f; m.g; }", analyze.Options{},
			[]string{"import m.hlb", "incomplete"},
		},
		"functions that call each other for ever": {
			"fs f() { g; }\nfs g() { image \"a\"; f; }\nfs default() { f; }", analyze.Options{},
			[]string{"image a", "incomplete"},
		},
		"the fuel of a target": {
			"fs default() { image \"a\"; image \"b\"; image \"c\"; }", analyze.Options{Fuel: 5},
			[]string{"image a", "incomplete"},
		},
		"a value for a parameter": {
			"fs default(string v, int n, string u) { image \"a:${v}${n}\"; image u; }",
			analyze.Options{Targets: []string{"default"}, Args: map[string]string{"v": "1", "n": "2"}},
			[]string{"image a:12", "image ?"},
		},
		"a heredoc": {
			"fs default() { image <<-X\n\t\ta:${string { \"1\"; }}\n\tX\n}", analyze.Options{}, []string{"image a:1"},
		},
		"a function that returns what it is given": {
			"string same()\nstring t() { \"x\"; same; }\nfs default() { image t; }", analyze.Options{},
			[]string{"image x"},
		},
		"a function is run once for equal calls": {doubling(60), analyze.Options{}, []string{"image x"}},
		"options that double at each level": {
			"option::run o0() { shlex; }\n" + doublingOptions(60), analyze.Options{}, []string{"incomplete"},
		},
		"texts that double at each level": {
			"string s0() { \"x\"; }\n" + doublingTexts(60), analyze.Options{}, []string{"image ?"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			targets := analyzed(t, tc.src, tc.opts)
			for _, target := range targets {
				if target.Name == "default" {
					if diff := cmp.Diff(tc.want, summary(target)); diff != "" {
						t.Errorf("(-want +got):\n%s", diff)
					}
				}
			}
			if spent := time.Since(start); spent > 20*time.Second {
				t.Errorf("took %s", spent)
			}
		})
	}
}

func doubling(levels int) string {
	var b strings.Builder
	b.WriteString("fs f0() { image \"x\"; }\n")
	for i := 1; i <= levels; i++ {
		fmt.Fprintf(&b, "fs f%d() { merge f%d f%d; }\n", i, i-1, i-1)
	}
	fmt.Fprintf(&b, "fs default() { f%d; }\n", levels)
	return b.String()
}

func doublingOptions(levels int) string {
	var b strings.Builder
	for i := 1; i <= levels; i++ {
		fmt.Fprintf(&b, "option::run o%d() { o%d; o%d; }\n", i, i-1, i-1)
	}
	fmt.Fprintf(&b, "fs default() { run \"x\" with o%d; }\n", levels)
	return b.String()
}

func doublingTexts(levels int) string {
	var b strings.Builder
	for i := 1; i <= levels; i++ {
		fmt.Fprintf(&b, "string s%d() { \"${s%d}${s%d}\"; }\n", i, i-1, i-1)
	}
	fmt.Fprintf(&b, "fs default() { image s%d; }\n", levels)
	return b.String()
}

func TestTargets(t *testing.T) {
	src := "fs b(string x) { scratch; }\nfs a() { run \"x\" with option { mount scratch \"/o\" as o; }; }\nstring s() { \"\"; }\npipeline p() {}\nfs c(fs f) { dockerPush \"r\" as d; }\n"
	var names []string
	for _, target := range analyzed(t, src, analyze.Options{}) {
		names = append(names, target.Name)
	}
	if diff := cmp.Diff([]string{"a", "o", "p"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	info, _ := lint.Program("a.hlb", []byte("import m from \"x\"\nfs a() {}"), syntax.Limits{})
	_, errs := analyze.Module(info, analyze.Options{Targets: []string{"a", "gone", "m"}})
	if len(errs) != 2 {
		t.Errorf("missing targets: %v", errs)
	}
}

func TestMembersAreFollowedOnceResolved(t *testing.T) {
	lib, _ := lint.Program("lib.hlb",
		[]byte("export f\nfs f(string v) { image \"lib:${v}\"; g; }\nfs g() { run \"x\" with cacheMount(\"/c\"); }"),
		syntax.Limits{})
	info, _ := lint.Program("a.hlb", []byte("import lib from \"lib.hlb\"\nfs default() { lib.f \"1\"; }"),
		syntax.Limits{})
	if errs := info.Resolve(info.Imports()[0], lib); len(errs) > 0 {
		t.Fatal(errs)
	}
	targets, _ := analyze.Module(info, analyze.Options{})
	if diff := cmp.Diff([]string{"mount //c at /c shared", "image lib:1"}, summary(targets[0])); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestValuesAsJSON(t *testing.T) {
	got, err := json.Marshal([]analyze.Value{{Text: "<a>", Known: true}, {}})
	if err != nil || string(got) != `["\u003ca\u003e",null]` {
		t.Errorf("%s, %v", got, err)
	}
}

// analyzeAny holds the analysis against its promises for any program that checks: it ends, and says the same twice.
func analyzeAny(t interface{ Fatalf(string, ...any) }, src []byte) {
	info, errs := lint.Program("a.hlb", src, syntax.Limits{})
	if errs.HasErrors() {
		return
	}
	opts := analyze.Options{Fuel: 2000}
	once, errs := analyze.Module(info, opts)
	twice, _ := analyze.Module(info, opts)
	if diff := cmp.Diff(once, twice); diff != "" || len(errs) > 0 {
		t.Fatalf("%q: %v (-once +twice):\n%s", src, errs, diff)
	}
}

func TestAnyProgramIsAnalyzedTheSameTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { analyzeAny(t, []byte(hlbtest.Module(t))) })
}

func FuzzModule(f *testing.F) {
	for _, seed := range hlbtest.Seeds() {
		f.Add([]byte(seed))
	}
	f.Add([]byte(doubling(5)))
	f.Add([]byte(doublingOptions(5)))
	f.Fuzz(func(t *testing.T, src []byte) { analyzeAny(t, src) })
}
