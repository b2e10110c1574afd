// SPDX-License-Identifier: Apache-2.0

package module

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for name, tc := range map[string]struct {
		in   string
		want URI
	}{
		"a path is taken as it is":     {"./a/b.hlb", URI{Path: "./a/b.hlb"}},
		"the file scheme means a path": {"file:a.hlb", URI{Path: "a.hlb"}},
		"a repository alone means build.hlb": {
			"git://h/o/r", URI{Scheme: "git", Host: "h", Path: "/o/r", File: "build.hlb"},
		},
		"the first @ of the path parts the ref": {
			"git://h/r@a@b", URI{Scheme: "git", Host: "h", Path: "/r", Ref: "a@b", File: "build.hlb"},
		},
		"the last colon parts the file": {
			"git://h:1/a:b:/f", URI{Scheme: "git", Host: "h:1", Path: "/a:b", File: "/f"},
		},
		"ref and file together": {
			"git://h/o/r@v1:sub/x.hlb", URI{Scheme: "git", Host: "h", Path: "/o/r", Ref: "v1", File: "sub/x.hlb"},
		},
		"user, port and home directory over ssh": {
			"git+ssh://u@h:22/~x/r.git@m:/f",
			URI{Scheme: "git+ssh", User: "u", Host: "h:22", Path: "/~x/r.git", Ref: "m", File: "/f"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(tc.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseRefusesOtherSchemes(t *testing.T) {
	_, err := Parse("ftp://h/x.hlb")
	var scheme *SchemeError
	if !errors.As(err, &scheme) || scheme.Scheme != "ftp" {
		t.Errorf("got %v, want a SchemeError", err)
	}
	if _, err := Parse("git://h"); err == nil {
		t.Error("a host without a repository was accepted")
	}
}

func TestRemote(t *testing.T) {
	for in, want := range map[string]string{
		"git://h/o/r":         "https://h/o/r",
		"git+https://u@h/r":   "https://u@h/r",
		"git+ssh://h/r":       "ssh://git@h/r",
		"git+ssh://me@h:22/r": "ssh://me@h:22/r",
	} {
		u, err := Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := u.Remote(false); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func TestTreesCantBeLeft(t *testing.T) {
	for name, tc := range map[string]struct {
		root    Root
		dir, in string
		want    string // empty if refused
	}{
		"a path beside the file":                       {Tree{}, "sub", "o.hlb", "sub/o.hlb"},
		"up inside the tree":                           {Tree{}, "sub", "../p.hlb", "p.hlb"},
		"up out of the tree":                           {Tree{}, "sub", "../../p.hlb", ""},
		"an absolute path":                             {Tree{}, ".", "/etc/passwd", ""},
		"the home directory":                           {Tree{}, ".", "~/x", ""},
		"an absolute path inside a built filesystem":   {Built{}, "sub", "/p.hlb", "p.hlb"},
		"up out of a built filesystem":                 {Built{}, ".", "../p.hlb", ""},
		"up out of a built filesystem from its root":   {Built{}, "sub", "/../p.hlb", ""},
		"another user's home is not known on machines": {Machine{}, ".", "~bob/x", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tc.root.Resolve(tc.dir, tc.in)
			if (err != nil) != (tc.want == "") || got != tc.want {
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			}
		})
	}
}
