// SPDX-License-Identifier: Apache-2.0

package syntax

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/test/kit/hlbtest"
)

func TestErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		src  string
		want []string
	}{
		"every statement that can't be read is reported": {
			"fs a() {\n\t;x\n\tscratch\n\t)\n}\nfs b() { image \"\\q\"; -; }",
			[]string{"SYNTAX 2:2", "SYNTAX 4:2", "SYNTAX 6:17", "SYNTAX 6:22"},
		},
		"a broken declaration doesn't hide the next": {
			"fs a(fs) { scratch }\nfs b() { ; }", []string{"SYNTAX 1:8", "SYNTAX 2:10"},
		},
		"what follows a lost brace is passed over": {
			"fs a()\n{\n\timage ;\n}\nfs b( { }\nfs c() {;}", []string{"SYNTAX 2:1", "SYNTAX 5:7", "SYNTAX 6:9"},
		},
		"a block that isn't closed":      {"fs a() {\n\tscratch\n", []string{"SYNTAX 3:1"}},
		"a string that isn't closed":     {"fs a() { image \"x; }", []string{"SYNTAX 1:21"}},
		"a raw string that isn't closed": {"fs a() { image `x; }\n", []string{"SYNTAX 2:1"}},
		"a heredoc that isn't closed":    {"fs a() { image <<X\nx XY; }", []string{"SYNTAX 2:8"}},
		"a raw heredoc that isn't closed": {
			"fs a() { image <<`X`\nx XY; }", []string{"SYNTAX 2:8"},
		},
		"a heredoc without a tag":              {"fs a() { image << X; }", []string{"SYNTAX 1:16"}},
		"a heredoc whose tag has one backtick": {"fs a() { image <<`X; }", []string{"SYNTAX 1:16"}},
		"a backslash before the end of a line": {
			"fs a() { image \"x\\\ny\"; }", []string{"SYNTAX 1:18"},
		},
		"a line feed in an interpolation": {
			"fs a() { image \"${\nx}\"; }", []string{"SYNTAX 1:19"},
		},
		"a remark in an interpolation": {
			"fs a() { image \"${x # y\n}\"; }", []string{"SYNTAX 1:21"},
		},
		"a closer that matches nothing": {"}\nfs a() {}", []string{"SYNTAX 1:1"}},
		"a parenthesis closed by a brace": {
			"fs a() { b c(1 }\nfs d() { ; }", []string{"SYNTAX 1:16", "SYNTAX 2:10"},
		},
		"a brace closed by a parenthesis": {
			"fs a() { b c(fs { x ) 1; }\nfs d() { ; }", []string{"SYNTAX 1:21", "SYNTAX 2:10"},
		},
		"columns count characters":             {"fs a() { image \"éé\" ) }", []string{"SYNTAX 1:21"}},
		"a byte that is no text":               {"fs a() { }\n# é\xff", []string{"SYNTAX 2:4"}},
		"a member of a number":                 {"fs a() { image 1.x }", []string{"SYNTAX 1:17"}},
		"an import needs a name":               {"import \"x\"", []string{"SYNTAX 1:8"}},
		"an import needs an operand":           {"import x from\n\"y\"", []string{"SYNTAX 1:14"}},
		"an export needs a name":               {"export\nfs a()", []string{"SYNTAX 1:7"}},
		"a comma stands between elements only": {"fs a(,) {}", []string{"SYNTAX 1:6"}},
		"one comma only":                       {"fs a() { b c(1,,2) }", []string{"SYNTAX 1:16"}},
		"options need an operand":              {"fs a() { b with; }", []string{"SYNTAX 1:16"}},
		"bindings have two names":              {"fs a() { b as (c); }", []string{"SYNTAX 1:17"}},
		"the file name of nothing":             {"hello", []string{"SYNTAX 1:6"}},
		"numbers that fit": {
			"int a() { 9223372036854775807; 0x7fffffffffffffff }", nil,
		},
		"numbers that don't": {
			"int a() { 9223372036854775808; 0x8000000000000000 }", []string{"SYNTAX 1:11", "SYNTAX 1:32"},
		},
		"a number ends before a colon":                        {"int a() { b 10:c }", nil},
		"a keyword does too":                                  {"import:a from \"x\"", nil},
		"a prefix without digits is an identifier":            {"int a() { 0x; 0b; 1_0; 12ab }", nil},
		"words that end like a tag don't close a heredoc":     {"string a() { <<X\naX X_ X\n}", nil},
		"a dollar before a tag leaves it a tag":               {"string a() { <<X\n$X }", nil},
		"statements without a terminator between":             {"fs a() { b with c d as e f \"x\" as g h }", nil},
		"literals without a terminator between":               {"string a() { \"b\" \"c\" <<X X `d` }", nil},
		"binds as the name of a kind":                         {"fs a() binds b()", nil},
		"variadic as a kind":                                  {"fs a(variadic x, variadic variadic variadic)", nil},
		"an argument list over several lines":                 {"fs a() { b c(\n\n# x\n1\n2, # y\n3\n) d }", nil},
		"quotes in interpolations in quotes":                  {"string a() { \"${b(\"${c(\"d\")}\")}\" }", nil},
		"a heredoc in an interpolation in a heredoc":          {"string a() { <<X\n${b(<<X\ninner X)} X }", nil},
		"a carriage return before a line feed ends a comment": {"# a\r\nfs a() # b\r\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			mod, errs := Parse("a.hlb", []byte(tc.src), Limits{})
			if diff := cmp.Diff(tc.want, hlbtest.Places(errs)); diff != "" {
				t.Errorf("(-want +got):\n%s\n%v", diff, errs)
			}
			if mod == nil {
				t.Error("no tree")
			}
		})
	}
}

func TestLimits(t *testing.T) {
	nested := func(n int) string {
		return "string a() { " + strings.Repeat("b(", n) + strings.Repeat(")", n) + " }"
	}
	for name, tc := range map[string]struct {
		src    string
		limits Limits
		want   []string
	}{
		"a file at the limit":     {"# 456", Limits{MaxBytes: 5}, nil},
		"a file beyond the limit": {"# 4567", Limits{MaxBytes: 5}, []string{"SOURCE-TOO-LARGE 1:1"}},
		"a depth at the limit":    {"string a() { b c(\"${d}\") }", Limits{MaxDepth: 4}, nil},
		"a depth beyond the limit": {
			"string a() { b c(\"${d}\") }", Limits{MaxDepth: 3}, []string{"TOO-DEEP 1:19"},
		},
		"the default depth": {
			strings.ReplaceAll(nested(300), "a() { b", "a() { x b"), Limits{}, []string{"TOO-DEEP 1:527"},
		},
		"a depth nobody should allow": {
			"fs a() " + strings.Repeat("{b fs ", 10_001), Limits{MaxDepth: 1 << 30}, []string{"TOO-DEEP 1:60008"},
		},
		"a number of errors": {
			strings.Repeat("fs a() {;}\n", 100), Limits{MaxErrors: 2}, []string{"SYNTAX 1:9", "SYNTAX 2:9"},
		},
		"nesting of another sort counts": {
			"fs a() " + strings.Repeat("{ b fs ", 300), Limits{}, []string{"TOO-DEEP 1:1800"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, errs := Parse("a.hlb", []byte(tc.src), tc.limits)
			if diff := cmp.Diff(tc.want, hlbtest.Places(errs)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDocs(t *testing.T) {
	src := `# about the file

# Doc of a,
#  indented.
fs a() { # not a doc
	# Doc of the call.
	run "x"
	scratch # behind
	dir "/"
}
# not
fs b()
`
	mod, errs := Parse("a.hlb", []byte(strings.Replace(src, "# not\n", "# not\n\n", 1)), Limits{})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	a, b := mod.Decls[0].(*ast.Func), mod.Decls[1].(*ast.Func)
	got := []string{a.Doc, a.Body.Stmts[0].(*ast.CallStmt).Doc, a.Body.Stmts[2].(*ast.CallStmt).Doc, b.Doc}
	if diff := cmp.Diff([]string{"Doc of a,\n indented.", "Doc of the call.", "", ""}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSpansHoldWhatWasRead(t *testing.T) {
	src := "import m from fs { local \".\" }\nexport x\nfs é_() {}\n"
	src = strings.Replace(src, "é_", "b", 1) +
		"fs a(variadic fs s) binds (string d) {\n\tm.f \"x${b(1)}\" with option { y } as (e f)\n}\n"
	mod, errs := Parse("a.hlb", []byte(src), Limits{})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	var got []string
	ast.Inspect(mod, func(n ast.Node) bool {
		sp := n.Span()
		switch n.(type) {
		case *ast.Module, *ast.Func, *ast.Block:
		default:
			got = append(got,
				fmt.Sprintf("%d:%d %s", sp.Start.Line, sp.Start.Column, src[sp.Start.Offset:sp.End.Offset]))
		}
		return true
	})
	want := []string{
		"1:1 import m from fs { local \".\" }", "1:8 m", "1:15 fs { local \".\" }", "1:15 fs", "1:20 local \".\"",
		"1:20 local", "1:20 local",
		"1:26 \".\"", "1:27 .", "2:1 export x", "2:8 x", "3:1 fs", "3:4 b", "3:5 ()", "4:1 fs", "4:4 a",
		"4:5 (variadic fs s)",
		"4:6 variadic fs s", "4:6 variadic", "4:15 fs", "4:18 s", "4:27 (string d)", "4:28 string d", "4:28 string",
		"4:35 d",
		"5:2 m.f \"x${b(1)}\" with option { y } as (e f)", "5:2 m.f", "5:2 m", "5:4 f", "5:6 \"x${b(1)}\"", "5:7 x",
		"5:8 ${b(1)}",
		"5:10 b(1)", "5:10 b", "5:10 b", "5:11 (1)", "5:12 1", "5:17 with option { y }", "5:22 option { y }",
		"5:22 option", "5:31 y",
		"5:31 y", "5:31 y", "5:35 as (e f)", "5:38 (e f)", "5:39 e f", "5:39 e", "5:41 f",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestHostileSourcesAreReadInLinearTime: sources that made an earlier lexer look at the rest of the file again and
// again. A quadratic one takes minutes for each.
func TestHostileSourcesAreReadInLinearTime(t *testing.T) {
	const n = 1 << 18
	for name, src := range map[string]string{
		"raw heredocs that aren't closed": "fs a() { ; " + strings.Repeat("<<`A` ", n),
		"closers in deep brackets":        "fs a() { ; " + strings.Repeat("{", n) + strings.Repeat(")", n),
		"openers of interpolations":       "fs a() { ; " + strings.Repeat("\"${", n),
		"heredocs in heredocs":            "string a() { " + strings.Repeat("<<A ${", n),
		"declarations in open lists":      strings.Repeat("fs a(\n", n),
		"imports in open lists":           strings.Repeat("import a from b(\n", n),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			if _, errs := Parse("a.hlb", []byte(src), Limits{}); len(errs) == 0 {
				t.Error("it parses")
			}
			if spent := time.Since(start); spent > 20*time.Second {
				t.Errorf("took %s", spent)
			}
		})
	}
}

// checkParse holds the parser against its promises for any input.
func checkParse(t interface{ Fatalf(string, ...any) }, src []byte) {
	limits := Limits{MaxDepth: 40, MaxErrors: 7, MaxBytes: 1 << 16}
	mod, errs := Parse("a.hlb", src, limits)
	if mod == nil || len(errs) > limits.MaxErrors {
		t.Fatalf("%q: tree %v, %d errors", src, mod, len(errs))
	}
	for _, d := range errs {
		if !d.Primary.IsValid() || d.Primary.End.Offset > len(src) || d.Primary.Start.Offset > d.Primary.End.Offset {
			t.Fatalf("%q: %v points nowhere: %+v", src, d, d.Primary)
		}
	}
	ast.Inspect(mod, func(n ast.Node) bool {
		if sp := n.Span(); !sp.IsValid() || sp.End.Offset > len(src) || sp.Start.Offset > sp.End.Offset {
			t.Fatalf("%q: %T has the span %+v", src, n, sp)
		}
		return true
	})
}

func TestNoInputPanics(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkParse(t, []byte(hlbtest.Soup(t))) })
}

// TestTokensCoverTheSource: whatever the lexer skips between two tokens is blank.
func TestTokensCoverTheSource(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkTokens(t, []byte(strings.ToValidUTF8(hlbtest.Soup(t), "?"))) })
}

func checkTokens(t interface{ Fatalf(string, ...any) }, src []byte) {
	l := newLexer(src, 20)
	last := 0
	for range 2*len(src) + 2 {
		tok := l.next()
		if gap := src[last:tok.start.Offset]; strings.Trim(string(gap), " \t\r\n") != "" {
			t.Fatalf("%q: %q was skipped", src, gap)
		}
		if tok.kind == tEOF || tok.kind == tTooDeep {
			return
		}
		if tok.end.Offset <= last {
			t.Fatalf("%q: no progress at %d", src, last)
		}
		last = tok.end.Offset
	}
	t.Fatalf("%q: the lexer doesn't end", src)
}

func FuzzParse(f *testing.F) {
	for _, seed := range hlbtest.Seeds() {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, src []byte) { checkParse(t, src) })
}

func FuzzLexer(f *testing.F) {
	for _, seed := range hlbtest.Seeds() {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, src []byte) { checkTokens(t, []byte(strings.ToValidUTF8(string(src), "?"))) })
}
