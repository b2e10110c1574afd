// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"

	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

// A record of a cache mount has the mount's id in its description and nowhere else. The agent reads all of these forms.
func TestDescriptionsOfMounts(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	cases := map[string]struct {
		dest, id string
		args     []string
		want     string
	}{
		"the id stands quoted at the end": {
			"/c", "ns/c", []string{"/bin/true"}, `cached mount /c from exec /bin/true with id "ns/c"`,
		},
		"the command stands as it is, with its lines": {
			"/c", "ns/lines", []string{"/bin/sh", "-c", "true\ntrue\n"},
			"cached mount /c from exec /bin/sh -c true\ntrue\n with id \"ns/lines\"",
		},
		"also where it looks like an id": {
			"/c", "ns/like", []string{"/bin/echo", `with id "x"`},
			`cached mount /c from exec /bin/echo with id "x" with id "ns/like"`,
		},
		"an id with marks is escaped": {
			"/c", `ns/a"b\c`, []string{"/bin/true"}, `cached mount /c from exec /bin/true with id "ns/a\"b\\c"`,
		},
		"an id that is no text is escaped": {
			"/c", "ns/\u00a0é", []string{"/bin/true"}, `cached mount /c from exec /bin/true with id "ns/\u00a0é"`,
		},
		"an id that is the mount point is left out": {
			"/own", "/own", []string{"/bin/true"}, `cached mount /own from exec /bin/true`,
		},
		"a mount point with a word of the form": {
			"/a from exec b", "ns/from", []string{"/bin/true"},
			`cached mount /a from exec b from exec /bin/true with id "ns/from"`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			mounted := llb.AddMount(tc.dest, llb.Scratch(), llb.AsPersistentCacheDir(tc.id, llb.CacheMountShared))
			w.must(llb.Image(w.busybox).Run(llb.Args(tc.args), mounted, salt()).Root())
			var all []string
			for _, u := range w.mounts("") {
				if u.Description == tc.want {
					return
				}
				all = append(all, u.Description)
			}
			t.Errorf("want %q among\n%s", tc.want, strings.Join(all, "\n"))
		})
	}
}

// A mount with a base state is described as one without.
func TestADescriptionDoesNotTellTheBase(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	base := llb.Scratch().File(llb.Mkfile("/f", 0o644, []byte("x")))
	w.must(w.sh("true", llb.AddMount("/c", base, llb.AsPersistentCacheDir("ns/based", llb.CacheMountShared))).Root())
	if n := len(w.mounts("ns/based")); n != 1 {
		t.Errorf("%d records of the mount, want 1 described by its id alone", n)
	}
}
