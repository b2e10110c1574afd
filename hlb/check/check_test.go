// SPDX-License-Identifier: Apache-2.0

package check_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/syntax"
	"github.com/openllb/hlb-operator/test/kit/hlbtest"
)

func module(t *testing.T, src string) (*check.Info, diag.List) {
	t.Helper()
	mod, errs := syntax.Parse("a.hlb", []byte(src), syntax.Limits{})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return check.Module(mod)
}

func TestModule(t *testing.T) {
	for name, tc := range map[string]struct {
		src  string
		want []string
	}{
		"extensions are there": {
			`fs a() { run "x" with option { cacheMount "/c" with option { id "i"; sharing "locked"; base scratch; readonly; owner 1 2; permissions 0o7; sourcePath "/"; }; }; }`,
			nil,
		},
		"options of cacheContext": {
			`fs a() { cacheContext scratch fs { image "x"; } with option { from "local" "src=x"; to "s3"; toImage "r"; toLocal "d"; mode "max"; ignoreErrors; }; dockerPush "r" with inlineCache; }`,
			nil,
		},
		"a function may have the name of an extension": {
			"fs base() { scratch; }\nfs cacheMount() { base; }\nfs a() { cacheMount; }", nil,
		},
		"it hides the extension where its kind fits": {
			"option::run cacheMount(string a, string b) { dir a; }\nfs a() { run \"x\" with cacheMount(\"/\"); }",
			[]string{"ARG-COUNT 2:23"},
		},
		"and only there": {
			"fs base() { scratch; }\nfs a() { run \"x\" with option { cacheMount \"/c\" with option { base base; }; }; }",
			nil,
		},
		"a parameter hides an extension likewise": {
			"fs a(string id) { run \"x\" with option { cacheMount \"/c\" with option { id id; }; }; }", nil,
		},
		"so does an import": {
			"import base from \"x\"\nfs a(fs f) { run \"x\" with option { cacheMount \"/c\" with option { base f; }; }; }",
			nil,
		},
		"an overload leaves errors of others alone": {
			`fs a() { run "x" with option { readonly; }; }`, []string{"WRONG-KIND 1:32"},
		},

		"a bound mount may hang off a call in a block literal": {
			`fs a() { copy fs { run "x" with option { mount scratch "/o" as o; }; } "/" "/"; o; }`, nil,
		},
		"but not under two levels of options": {
			`fs a() { run "x" with option { mount fs { run "y" with option { mount scratch "/o" as o; }; } "/"; }; }`,
			[]string{"BIND-NO-CLOSURE 1:84"},
		},
		"nor in the operand of an import": {
			`import m from fs { run "x" with option { mount scratch "/o" as o; }; }`, []string{"BIND-NO-CLOSURE 1:61"},
		},
		"nor under a call of an option function": {
			`option::run a() { mount fs { run "x" with option { mount scratch "/o" as o; }; } "/"; }`,
			[]string{"BIND-NO-CLOSURE 1:71"},
		},
		"nor in the arguments of an operand of with": {
			"option::run p(fs f) { mount f \"/\"; }\nfs a() { run \"x\" with p(fs { dockerPush \"r\" as d; }); }",
			[]string{"BIND-NO-CLOSURE 2:45"},
		},
		"a binding in an interpolation": {
			`fs a() { image "${string { manifest "x" as (digest d); }}"; }`, []string{"BIND-NO-CLOSURE 1:41"},
		},
		"what can't be bound because it is undefined": {
			`fs a() { nope "x" as y; }`, []string{"UNDEFINED 1:10"},
		},
		"what can't be bound because it is of another kind": {
			`fs a() { mount scratch "/" as y; }`, []string{"WRONG-KIND 1:10"},
		},
		"an alias can't be bound": {
			`fs a() { dockerPush "r" as d; d as e; }`, []string{"BIND-NO-EFFECT 1:33"},
		},
		"nor a parameter that hides a builtin": {
			`fs a(fs dockerPush) { dockerPush as e; }`, []string{"BIND-NO-EFFECT 1:34"},
		},
		"an effect may have several names": {
			`string a() { manifest "r" as (digest d, digest e); d; e; }`, nil,
		},
		"an error of a name hides what follows from it": {
			"fs a() {}\nfs a() { nope; }", []string{"DUPLICATE 2:4"},
		},
		"breakpoint is reserved": {"fs breakpoint() {}", []string{"DUPLICATE 1:4"}},
		"breakpoint isn't checked": {
			`fs a() { breakpoint nope with nope as x; }`, []string{"BIND-NO-EFFECT 1:36"},
		},
		"breakpoint is the empty value of any kind": {
			`fs a() { image breakpoint; copy breakpoint(nope, 1) "/" "${breakpoint}"; mkdir "/" breakpoint; }`, nil,
		},
		"also in the arguments of members": {
			"import m from \"x\"\nfs a() { m.f breakpoint; }", nil,
		},
		"a parameter may hide it": {
			`fs a(string breakpoint) { copy breakpoint "/" "/"; }`, []string{"WRONG-KIND 1:32"},
		},
		"variadic is for the last parameter": {
			"fs a(variadic fs b, variadic fs c) {}", []string{"SYNTAX 1:6"},
		},
		"a variadic parameter is passed on": {
			"fs a(variadic fs b) { merge b; b; copy b \"/\" \"/\"; }", nil,
		},
		"kinds of parameters, effects and blocks": {
			"fs a(foo b, option::fs c) binds (strin d) { copy ff { } \"/\" \"/\"; }",
			[]string{"UNDEFINED 1:6", "UNDEFINED 1:13", "UNDEFINED 1:34", "UNDEFINED 1:50"},
		},
		"option alone is no kind of a function": {"option a() {}", []string{"UNDEFINED 1:1"}},
		"a function's own options are a kind":   {"fs a(option::b o) {}\nfs b() {}", nil},
		"only an empty block can be the options of a function": {
			"fs a() { scratch; }\nfs b(option::a o) { a with option {}; a with option::a {}; a with o; a with option { dir \"/\"; }; }",
			[]string{"WRONG-KIND 2:67", "WRONG-KIND 2:77"},
		},
		"and of a parameter": {
			"fs b(fs o) { o with option {}; o with option::run {}; }", []string{"WRONG-KIND 1:39"},
		},
		"a literal in a pipeline": {`pipeline a() { "x"; 1; true; }`, nil},
		"a bare empty option is no filesystem": {
			"fs a() { copy option {} \"/\" \"/\"; }", []string{"WRONG-KIND 1:15"},
		},
		"a bare option can't be bound to a call": {
			"fs f(option::run o) {}\nfs a() { f option { shlex; }; }", []string{"WRONG-KIND 2:21"},
		},
		"every wrong argument is reported": {
			"fs a() { copy 1 2 true; }", []string{"WRONG-KIND 1:15", "WRONG-KIND 1:17", "WRONG-KIND 1:19"},
		},
		"an argument on the next line is reported once": {
			"fs a() {\n\timage\n\t\"x\"\n}", []string{"ARG-COUNT 2:2"},
		},
		"an import as a callee of a statement": {
			"import m from \"x\"\nfs a() { m; }", []string{"IMPORT-USED-DIRECTLY 2:10"},
		},
		"a builtin has no members": {
			"fs a() { image.x; }", []string{"NOT-AN-IMPORT 1:15"},
		},
		"a parameter hides an import": {
			"import m from \"x\"\nfs a(fs m) { m.f; }", []string{"NOT-AN-IMPORT 2:15"},
		},
		"arguments of members are checked as far as they can be": {
			"import m from \"x\"\nfs a(string s) { m.f s nope \"${gone}\" fs { image 1; } platform(1); }",
			[]string{"UNDEFINED 2:24", "UNDEFINED 2:32", "WRONG-KIND 2:50"},
		},
		"an effect is a name of its body": {
			"fs a() binds (string e) { image e; e; }", []string{"WRONG-KIND 1:36"},
		},
		"exporting a builtin exports nothing":     {"export image", []string{"UNDEFINED 1:8"}},
		"an operand of an import sees the module": {"import m from f(\"x\")\nstring f(string p) { p; }", nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, errs := module(t, tc.src)
			if diff := cmp.Diff(tc.want, hlbtest.Places(errs)); diff != "" {
				t.Errorf("(-want +got):\n%s\n%v", diff, errs)
			}
		})
	}
}

func TestSuggestions(t *testing.T) {
	for name, tc := range map[string]struct{ src, want string }{
		"a builtin":                           {"fs a() { imag \"x\"; }", "image"},
		"one of the wanted kind":              {"fs a() { run \"x\" with option { ennv \"a\" \"b\"; }; }", "env"},
		"a short name is near by one letter":  {"fs ab() { ax; }", "ab"},
		"but not by two":                      {"fs ab() { xy; }", ""},
		"a longer one by two":                 {"fs abcd() { abxy; }", "abcd"},
		"the smaller of two as near":          {"fs foob() { fooz; }\nfs fooa() {}", "fooa"},
		"a parameter":                         {"fs a(string reff) { image refff; }", "reff"},
		"not one of another kind":             {"string sourc() { \"x\"; }\nfs a() { source; }", ""},
		"a kind":                              {"option::runn a() {}", "option::run"},
		"an import":                           {"import libs from \"x\"\nfs a() { lib.f; }", "libs"},
		"an effect":                           {"fs a() { dockerPush \"r\" as (digst d); }", "digest"},
		"an export of anything in the module": {"export aab\nstring aaa() { \"\"; }", "aaa"},
		"an extension": {
			"fs a() { run \"x\" with option { cachemount \"/\"; }; }", "cacheMount",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, errs := module(t, tc.src)
			if len(errs) != 1 {
				t.Fatalf("%d diagnostics: %v", len(errs), errs)
			}
			want := ""
			if tc.want != "" {
				want = "did you mean `" + tc.want + "`?"
			}
			if errs[0].Hint != want {
				t.Errorf("hint = %q, want %q", errs[0].Hint, want)
			}
		})
	}
}

func TestInfoOfAliases(t *testing.T) {
	info, errs := module(t, `fs f(string n) {
	image "x"
	copy fs {
		run n with option {
			mount scratch "/o" as out
		}
	} "/" "/"
	dockerPush "r" as (digest d)
}`)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	body := info.Module.Decls[0].(*ast.Func).Body
	copyStmt, push := body.Stmts[1].(*ast.CallStmt), body.Stmts[2].(*ast.CallStmt)
	inner := copyStmt.Args[0].(*ast.BlockLit).Body
	run := inner.Stmts[0].(*ast.CallStmt)
	options := run.With.Operand.(*ast.BlockLit)
	mount := options.Body.Stmts[0].(*ast.CallStmt)

	out, d := info.Scope["out"], info.Scope["d"]
	if a := out.Alias; a.Stmt != copyStmt || a.Host != run || a.Block != inner || a.Call != mount ||
		a.Effect.Name != "target" {
		t.Errorf("out = %+v", a)
	}
	if a := d.Alias; a.Stmt != push || a.Host != push || a.Block != body || a.Call != push ||
		a.Effect.Name != "digest" {
		t.Errorf("d = %+v", a)
	}
	if out.Kind != ast.FS || d.Kind != ast.String || len(out.Params()) != 1 || out.Params()[0].Name != "n" {
		t.Errorf("kinds %s and %s, parameters %v", out.Kind, d.Kind, out.Params())
	}
	if got := info.BlockKind(options); got != ast.OptionOf("run") {
		t.Errorf("kind of the options = %s", got)
	}
	if got := info.Aliases[mount]; len(got) != 1 || got[0] != out {
		t.Errorf("aliases of the mount = %v", got)
	}
	if got := info.Callee(run.Callee); got.What != check.BuiltinObject || got.Kind != ast.FS {
		t.Errorf("run is %+v", got)
	}
}

func TestABindingInsideOfALiteralEndsAtThatLiteral(t *testing.T) {
	info, errs := module(t, `string f(fs f) { "x"; }
string s() {
	localCwd
	"${f(fs { run "x" with option { mount scratch "/o" as out; }; })}"
	localCwd
}`)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if want := info.Module.Decls[1].(*ast.Func).Body.Stmts[1]; info.Scope["out"].Alias.Stmt != want {
		t.Errorf("statement = %v, want the literal", info.Scope["out"].Alias.Stmt)
	}
}

const lib = `export pub
export opts
export pipe
export other
export img
import other from "gone.hlb"
fs pub(string x, fs f) { image x; }
option::run opts(option::mount o) { mount scratch "/" with o; }
pipeline pipe(pipeline p) { stage p; }
fs img(option::image o) { image "x" with o; }
fs priv() {}
`

func TestResolve(t *testing.T) {
	libInfo, errs := module(t, lib)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for name, tc := range map[string]struct {
		src  string
		want []string
	}{
		"members of every sort": {
			"fs a() { lib.pub \"x\" scratch; run \"y\" with lib.opts(readonly); }\npipeline p() { lib.pipe fs { scratch; }; stage lib.pub(\"x\", scratch); }",
			nil,
		},
		"a builtin of several kinds as an argument": {
			"fs a() { run \"y\" with lib.opts(option::mount { sourcePath \"/\"; }); lib.img platform(1, \"x\"); }",
			[]string{"WRONG-KIND 2:85"},
		},
		"a literal of the wrong kind": {
			"fs a() { lib.pub 1 \"x\"; }", []string{"WRONG-KIND 2:18", "WRONG-KIND 2:20"},
		},
		"a block of the wrong kind": {
			"fs a() { lib.pub string { \"x\"; } string { \"y\"; }; }", []string{"WRONG-KIND 2:34"},
		},
		"a call of the wrong kind": {
			"fs f() {}\nfs a() { lib.pub f f; }", []string{"WRONG-KIND 3:18"},
		},
		"an empty bare option": {"fs a() { run \"x\" with lib.opts(option {}); }", nil},
		"a member within a member": {
			"fs a() { lib.pub \"x\" lib.pub(\"y\", scratch); lib.pub lib.pub(\"y\", scratch) scratch; }",
			[]string{"WRONG-KIND 2:53"},
		},
		"a member that isn't exported": {"fs a() { lib.priv; }", []string{"NOT-EXPORTED 2:14"}},
		"an import of the module": {
			"fs a() { lib.other; }", []string{"IMPORT-USED-DIRECTLY 2:14"},
		},
		"an extension is no member": {
			"fs a() { lib.cacheContext scratch; }", []string{"UNDEFINED 2:14"},
		},
		"options of a member": {
			"fs a() { lib.pub \"x\" scratch with option {}; lib.pub \"x\" scratch with option { dir \"/\"; }; }",
			[]string{"WRONG-KIND 2:71"},
		},
		"a member in an interpolation in an argument": {
			"fs a() { run \"x ${lib.pub(\"y\", scratch)}\"; }", []string{"WRONG-KIND 2:19"},
		},
		"a filesystem member as a stage, as reference": {"pipeline p() { stage lib.pub; }", []string{"ARG-COUNT 2:22"}},
	} {
		t.Run(name, func(t *testing.T) {
			info, errs := module(t, "import lib from \"lib.hlb\"\n"+tc.src)
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			imports := info.Imports()
			if len(imports) != 1 {
				t.Fatalf("imports = %v", imports)
			}
			for range 2 { // a second time changes nothing
				if diff := cmp.Diff(tc.want, hlbtest.Places(info.Resolve(imports[0], libInfo))); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
			if info.Imported(imports[0]) != libInfo {
				t.Error("the import isn't resolved")
			}
		})
	}
}

func TestMembersResolveToTheOtherModule(t *testing.T) {
	libInfo, _ := module(t, lib)
	info, errs := module(t, "import lib from \"lib.hlb\"\nimport unused from \"x\"\nfs a() { lib.pub \"x\" scratch; }")
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	imports := info.Imports()
	if len(imports) != 1 || imports[0].Name.Name != "lib" {
		t.Fatalf("imports = %v", imports)
	}
	callee := info.Module.Decls[2].(*ast.Func).Body.Stmts[0].(*ast.CallStmt).Callee
	if got := info.Callee(callee); got.What != check.MemberObject || got.Import != imports[0] {
		t.Errorf("before: %+v", got)
	}
	if errs := info.Resolve(imports[0], libInfo); len(errs) > 0 {
		t.Fatal(errs)
	}
	if got := info.Callee(callee); got != libInfo.Scope["pub"] || got.Module != libInfo {
		t.Errorf("after: %+v", got)
	}
}
