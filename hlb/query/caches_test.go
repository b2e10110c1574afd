// SPDX-License-Identifier: Apache-2.0

package query

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHints(t *testing.T) {
	src := `fs a() {
	run "x" with option {
		cacheMount "/var/lib/apt/"
		cacheMount "/x" with id("mine")
		cacheMount "/y" with option { id "a"; sharing "locked"; }
		cacheMount format("/%s", "z")
	}
	run "y" with cacheMount("rel/dir")
}
`
	f := Analyze("a.hlb", []byte(src))
	var got []string
	for _, h := range f.Hints(0, len(src)) {
		got = append(got, fmt.Sprintf("%d: %s", h.At.Line, h.Label))
	}
	want := []string{"3: id //var/lib/apt, locked", "4: shared", "8: id /rel/dir, shared"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if hints := f.Hints(0, 10); len(hints) > 0 {
		t.Errorf("%v is not in the range", hints)
	}
}

func TestLenses(t *testing.T) {
	f := Analyze("a.hlb", []byte(sample))
	if len(f.Found) > 0 {
		t.Fatal(f.Found)
	}
	lenses := f.Lenses()
	if len(lenses) != 1 || lenses[0].Span.Start.Line != 15 {
		t.Fatalf("%+v", lenses)
	}
	some := &Held{
		Mounts: map[string]int64{"//root/.cache/go-build": 1_500_000},
		Images: map[string]int64{"docker.io/library/golang:1.26": 500_000},
	}
	for title, held := range map[string]*Held{
		"1 cache mount, 1 image, 1 local source":                                                     nil,
		"1 cache mount, 1 image, 1 local source · daemon holds 0 of 1 mounts, 0 of 1 images, 0 B":    {},
		"1 cache mount, 1 image, 1 local source · daemon holds 1 of 1 mounts, 1 of 1 images, 2.0 MB": some,
	} {
		if got := lenses[0].Title(held); got != title {
			t.Errorf("%q, want %q", got, title)
		}
	}
	want := "cache mount //root/.cache/go-build at /root/.cache/go-build, shared, not on the daemon\n" +
		"image golang:1.26, not on the daemon\nlocal source .\n"
	if diff := cmp.Diff(want, lenses[0].Details(&Held{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := lenses[0].Details(some); !strings.Contains(got, "image golang:1.26, 500.0 kB on the daemon\n") {
		t.Errorf("an image that is there: %s", got)
	}
}

func TestImageName(t *testing.T) {
	const digest = "@sha256:0123456789012345678901234567890123456789012345678901234567890123"
	for ref, want := range map[string]string{
		"golang":                      "docker.io/library/golang:latest",
		"docker.io/library/golang:1":  "docker.io/library/golang:1",
		"r.example:5000/a:1" + digest: "r.example:5000/a:1",
		"r.example:5000/a" + digest:   "r.example:5000/a" + digest,
		"not a reference":             "not a reference",
	} {
		if got := ImageName(ref); got != want {
			t.Errorf("%s: %s, want %s", ref, got, want)
		}
	}
}
