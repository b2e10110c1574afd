// SPDX-License-Identifier: Apache-2.0

package format

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/syntax"
	"github.com/openllb/hlb-operator/test/kit/hlbtest"
)

func TestSource(t *testing.T) {
	for name, tc := range map[string]struct{ src, want string }{
		"a byte order mark goes":           {"\uFEFFfs a()", "fs a()\n"},
		"an empty file stays empty":        {"\n\n", ""},
		"a remark ends with one line feed": {"# x  \n\n\n", "# x\n"},
		"a block on one line stays on one": {
			"fs a() {scratch;env `k` \"v\";}", "fs a() { scratch; env `k` \"v\" }\n",
		},
		"an empty block closes at once": {"fs a( ) {\n\n}", "fs a() {}\n"},
		"statements get lines of their own": {
			"fs a() { scratch; dir \"/\"\n}", "fs a() {\n\tscratch\n\tdir \"/\"\n}\n",
		},
		"runs of empty lines collapse": {
			"fs a() {\n\n\n\tscratch\n\n\n\tdir \"/\"\n\n}", "fs a() {\n\tscratch\n\n\tdir \"/\"\n}\n",
		},
		"functions are parted by one empty line": {
			"fs a()\nfs b()\n\n\nfs c() fs d()", "fs a()\n\nfs b()\n\nfs c()\n\nfs d()\n",
		},
		"so are imports and exports": {
			"import a from \"x\" import b from \"y\"\nexport c\nexport d # last\n# more",
			"import a from \"x\"\n\nimport b from \"y\"\n\nexport c\n\nexport d # last\n\n# more\n",
		},
		"empty options go": {
			"fs a() {\n  run \"x\" with option { } as ()\n  dir \"/\" with option {\n\n}\n}",
			"fs a() {\n\trun \"x\" as ()\n\tdir \"/\"\n}\n",
		},
		"options with a remark or a kind stay": {
			"fs a() {\n  run \"x\" with option { # why\n}\n  run \"y\" with option::run {}\n}",
			"fs a() {\n\trun \"x\" with option { # why\n\t}\n\trun \"y\" with option::run {}\n}\n",
		},
		"a remark above a function stays there":  {"fs a()\n# doc\nfs b()", "fs a()\n\n# doc\nfs b()\n"},
		"a remark behind a function stays there": {"fs a() {} # one\nfs b()", "fs a() {} # one\n\nfs b()\n"},
		"remarks in a block": {
			"fs a() { # one\n# two\n  scratch # three\n\n# four\n}",
			"fs a() { # one\n\t# two\n\tscratch # three\n\n\t# four\n}\n",
		},
		"a list on one line": {
			"fs a(fs x string y,) {\n copy b (  1  2,) \"/\"\n}", "fs a(fs x, string y) {\n\tcopy b(1, 2) \"/\"\n}\n",
		},
		"a list on several lines": {
			"fs a(\nfs x # one\n# two\nstring y)", "fs a(\n\tfs x, # one\n\t# two\n\tstring y,\n)\n",
		},
		"a block in a list doesn't break it": {
			"fs a() {\n b c(fs {\n scratch\n})\n}", "fs a() {\n\tb c(fs {\n\t\tscratch\n\t})\n}\n",
		},
		"numbers keep their base":       {"int a() { 0O17; 0xFf; }", "int a() { 0o17; 0xff }\n"},
		"blanks in an interpolation go": {"string a() { \"${ b }\" }", "string a() { \"${b}\" }\n"},
		"the tag of a heredoc is indented": {
			"string a() {\n<<-X\n  body\nX\n}", "string a() {\n\t<<-X\n  body\n\tX\n}\n",
		},
		"unless blanks before it count": {
			"string a() {\n<<-X\n  body\n X\n}", "string a() {\n\t<<-X\n  body\n X\n}\n",
		},
		"blanks before it don't count when folding": {
			"string a() {\n<<~X\n  body\n X\n}", "string a() {\n\t<<~X\n  body\n\tX\n}\n",
		},
		"a block in a heredoc is indented from its line": {
			"fs a() {\n\trun <<-X\n\t\tone ${string {\n format \"a\"\n}} two ${string {\nformat \"b\"\n\t}}\n\t\tthree\n\tX\n}",
			"fs a() {\n\trun <<-X\n\t\tone ${string {\n\t\t\tformat \"a\"\n\t\t}} two ${string {\n\t\t\t" +
				"format \"b\"\n\t\t}}\n\t\tthree\n\tX\n}\n",
		},
		"a list and a nested heredoc likewise": {
			"fs a() {\n\trun <<X\n    x ${f(\n1\n)}\n  y ${string {\n<<Y\nz\nY\n}}\nX\n}",
			"fs a() {\n\trun <<X\n    x ${f(\n    \t1,\n    )}\n  y ${string {\n  \t<<Y\nz\nY\n  }}\n\tX\n}\n",
		},
		"a block in a string is indented from the line of the statement": {
			"fs a() {\n\trun \"one ${string {\nformat \"a\"\n}}\" with option {\ndir \"/\"\n}\n}",
			"fs a() {\n\trun \"one ${string {\n\t\tformat \"a\"\n\t}}\" with option {\n\t\tdir \"/\"\n\t}\n}\n",
		},
		"options and bindings": {
			"fs a() {\n dockerPush \"r\"   with  option {stargz} as ( digest  d,)\n}",
			"fs a() {\n\tdockerPush \"r\" with option { stargz } as (digest d)\n}\n",
		},
		"effects and variadic parameters": {
			"fs a(variadic fs b)binds(string c){}", "fs a(variadic fs b) binds (string c) {}\n",
		},
		"an import keeps its old form":         {"import a   \"b\"", "import a \"b\"\n"},
		"a remark after the parenthesis stays": {"fs a( # why\nfs b)", "fs a( # why\n\tfs b,\n)\n"},
		"carriage returns go, but those in strings": {
			"fs a() {\r\n\tenv \"a\r\nb\" `c`\r\n}\r\n", "fs a() {\n\tenv \"a\r\nb\" `c`\n}\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, errs := Source("a.hlb", []byte(tc.src), syntax.Limits{})
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			if diff := cmp.Diff(tc.want, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			again, _ := Source("a.hlb", got, syntax.Limits{})
			if diff := cmp.Diff(string(got), string(again)); diff != "" {
				t.Errorf("formatting twice (-once +twice):\n%s", diff)
			}
		})
	}
}

func TestABrokenFileIsNotFormatted(t *testing.T) {
	if got, errs := Source("a.hlb", []byte("fs a( {"), syntax.Limits{}); got != nil || len(errs) == 0 {
		t.Errorf("got %q, %v", got, errs)
	}
}

// sameTree compares trees but for what formatting may change: spans, upper case in numbers, blanks before the tag of
// a heredoc, and empty options.
var sameTree = cmp.Options{
	cmpopts.IgnoreTypes(ast.At{}),
	cmpopts.IgnoreFields(ast.Module{}, "Source"),
	cmpopts.IgnoreFields(ast.Name{}, "Dot"),
	cmpopts.IgnoreFields(ast.As{}, "Word"),
	cmpopts.IgnoreFields(ast.Func{}, "Doc"),
	cmpopts.IgnoreFields(ast.CallStmt{}, "Doc"),
	cmpopts.EquateEmpty(),
	cmp.Transformer("options", func(w *ast.With) *ast.With {
		if w != nil && emptyOptions(w) {
			return nil
		}
		return w
	}),
	cmp.Comparer(func(a, b *ast.IntLit) bool { return a.Value == b.Value && strings.EqualFold(a.Text, b.Text) }),
	cmp.Comparer(func(a, b *ast.HeredocLit) bool {
		return a.Mode == b.Mode && a.Raw == b.Raw && a.Tag == b.Tag && trimmed(a) == trimmed(b)
	}),
}

// trimmed renders a heredoc as far as its value goes.
func trimmed(h *ast.HeredocLit) string {
	var b strings.Builder
	for _, p := range h.Parts {
		switch p := p.(type) {
		case *ast.Text:
			b.WriteString(p.Value)
		case *ast.Interp:
			var pr printer
			pr.expr(p.Value)
			b.WriteString("\x00" + pr.out.String() + "\x00")
		}
	}
	if h.Mode == ast.HeredocFold {
		return strings.TrimSpace(b.String())
	}
	return strings.TrimRight(b.String(), "\n\t")
}

func TestFormattingKeepsTheTreeAndIsIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src := hlbtest.Module(t)
		checkRoundTrip(t, []byte(src), true)
	})
}

type failer interface {
	Fatalf(format string, args ...any)
}

// checkRoundTrip holds the formatter against its promises for src. If mustParse is not set, sources that don't parse
// are passed over.
func checkRoundTrip(t failer, src []byte, mustParse bool) {
	mod, errs := syntax.Parse("a.hlb", src, syntax.Limits{})
	if len(errs) > 0 {
		if mustParse {
			t.Fatalf("%q doesn't parse: %v", src, errs)
		}
		return
	}
	once := Module(mod)
	again, errs := syntax.Parse("a.hlb", once, syntax.Limits{})
	if len(errs) > 0 {
		t.Fatalf("%q became %q: %v", src, once, errs)
	}
	if diff := cmp.Diff(mod, again, sameTree); diff != "" {
		t.Fatalf("%q became %q (-before +after):\n%s", src, once, diff)
	}
	if twice := Module(again); !bytes.Equal(once, twice) {
		t.Fatalf("%q became %q, then %q", src, once, twice)
	}
}

func FuzzFormat(f *testing.F) {
	for _, seed := range hlbtest.Seeds() {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, src []byte) { checkRoundTrip(t, src, false) })
}
