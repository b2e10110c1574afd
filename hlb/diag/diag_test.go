// SPDX-License-Identifier: Apache-2.0

package diag

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func at(file string, offset, line, column, length int) Span {
	return Span{File: file,
		Start: Position{Offset: offset, Line: line, Column: column},
		End:   Position{Offset: offset + length, Line: line, Column: column + length}}
}

func TestRender(t *testing.T) {
	sources := map[string]string{
		"a.hlb": "fs a() {\n\timage 1\n}\n# far\n# away\nstring é() { x }\n",
		"b.hlb": "export a\n",
	}
	for name, tc := range map[string]struct {
		list List
		want string
	}{
		"a place is underlined below its line, tabs as four columns": {
			List{Errorf(WrongKind, at("a.hlb", 16, 2, 8, 1), "cannot use int as string")},
			"error[WRONG-KIND]: cannot use int as string\n --> a.hlb:2:8\n2 |     image 1\n  |           ^\n",
		},
		"lines between two places are left out, and other files come after": {
			List{Warningf(Deprecated, at("a.hlb", 57, 6, 15, 1), "no").WithHint("do").
				WithLabel(at("b.hlb", 0, 1, 1, 6), "exported here").WithLabel(at("a.hlb", 3, 1, 4, 1), "first")},
			"warning[DEPRECATED]: no\n --> a.hlb:6:15\n1 | fs a() {\n  |    - first\n...\n6 | string é() { x }\n  |               ^\n" +
				" ::: b.hlb:1:1\n1 | export a\n  | ------ exported here\n hint: do\n",
		},
		"a file without text is only named": {
			List{Errorf(Duplicate, at("gone.hlb", 0, 1, 1, 1), "twice")},
			"error[DUPLICATE]: twice\n --> gone.hlb:1:1\n",
		},
		"a diagnostic without a place has only its message": {
			List{Errorf(NoTarget, Span{}, "no target\x1b[31m `x`")},
			"error[NO-TARGET]: no target [31m `x`\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			r := Renderer{Source: func(file string) []byte {
				if text, ok := sources[file]; ok {
					return []byte(text)
				}
				return nil
			}}
			if err := r.Render(&b, tc.list); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, b.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestListIsAnErrorOnlyIfItHoldsOne(t *testing.T) {
	warning := Warningf(Deprecated, Span{}, "old")
	if err := (List{warning}).Err(); err != nil {
		t.Errorf("a warning became the error %v", err)
	}
	wrong := Errorf(Syntax, at("a.hlb", 0, 1, 1, 1), "no").WithHint("yes")
	err := List{warning, wrong}.Err()
	var d *Diagnostic
	if !errors.As(err, &d) || d != warning {
		t.Errorf("errors.As found %v in %v", d, err)
	}
	if want := "DEPRECATED: old\na.hlb:1:1: SYNTAX: no (yes)"; err.Error() != want {
		t.Errorf("error = %q, want %q", err, want)
	}
}

func TestSortKeepsTheFirstFileFirst(t *testing.T) {
	l := List{
		Errorf(Syntax, at("z", 9, 2, 1, 1), "second"), Errorf(Syntax, at("a", 0, 1, 1, 1), "third"),
		Errorf(Syntax, at("z", 1, 1, 2, 1), "first"),
	}
	l.Sort()
	var got []string
	for _, d := range l {
		got = append(got, d.Message)
	}
	if diff := cmp.Diff([]string{"first", "second", "third"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestJSONOfNothingIsAnEmptyArray(t *testing.T) {
	var b strings.Builder
	if err := WriteJSON(&b, nil); err != nil || b.String() != "[]\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
	b.Reset()
	if err := WriteJSON(&b, List{Errorf(Syntax, at("é", 0, 1, 2, 1), "<&>")}); err != nil {
		t.Fatal(err)
	}
	want := `[
  {
    "file": "é",
    "line": 1,
    "column": 2,
    "code": "SYNTAX",
    "message": "<&>",
    "hint": ""
  }
]
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}
