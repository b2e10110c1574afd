// SPDX-License-Identifier: Apache-2.0

package query

import "testing"

func TestImageAt(t *testing.T) {
	for name, tc := range map[string]struct {
		text      string // the cursor is at ¦
		want, tag string // empty for none
	}{
		"a tag that is begun":      {"fs d() {\n\timage \"golang:1.¦\"\n}\n", "golang", "1."},
		"right behind the colon":   {"fs d() {\n\timage \"golang:¦\"\n}\n", "golang", ""},
		"in its middle":            {"fs d() {\n\timage \"golang:1¦.26\"\n}\n", "golang", "1.26"},
		"of a registry":            {"fs d() {\n\timage \"r.example:5000/a/b:¦\"\n}\n", "r.example:5000/a/b", ""},
		"that is not closed":       {"fs d() {\n\timage \"golang:1¦\n}\n", "golang", "1"},
		"to push to":               {"fs d() {\n\tdockerPush \"r.example/a:v¦\"\n}\n", "r.example/a", "v"},
		"of a cache's image":       {"fs d() {\n\tcacheContext \"x\"\n\timage \"a:¦\"\n}\n", "a", ""},
		"the port of a registry":   {"fs d() {\n\timage \"r.example:50¦00/a\"\n}\n", "r.example", "5000"},
		"the path behind a port":   {"fs d() {\n\timage \"r.example:5000/a¦\"\n}\n", "", ""},
		"a name without a tag":     {"fs d() {\n\timage \"gol¦ang:1\"\n}\n", "", ""},
		"a digest":                 {"fs d() {\n\timage \"golang:1@sha256:¦\"\n}\n", "", ""},
		"another text":             {"fs d() {\n\tdir \"a:¦\"\n}\n", "", ""},
		"the ref of a repository":  {"fs d() {\n\tgit \"https://a\" \"v:¦\"\n}\n", "", ""},
		"a part of it is computed": {"fs d(string v) {\n\timage \"${v}:¦\"\n}\n", "", ""},
		"a comment":                {"fs d() {\n\timage \"a\" # b:¦\n}\n", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			src, offset := at(t, tc.text)
			got, ok := Analyze("a.hlb", src).ImageAt(offset)
			if ok != (tc.want != "") || got.Repository != tc.want {
				t.Fatalf("%+v, %v, want %q", got, ok, tc.want)
			}
			if tag := string(src[got.Tag.Start.Offset:got.Tag.End.Offset]); tag != tc.tag {
				t.Errorf("%q is replaced, want %q", tag, tc.tag)
			}
		})
	}
}
