// SPDX-License-Identifier: Apache-2.0

package cacheref_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/internal/cacheref"
)

func TestReferencesAreOneHoweverTheyAreWritten(t *testing.T) {
	const sum = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	cases := map[string]struct{ text, want string }{
		"the default registry":          {"alpine", "docker.io/library/alpine:latest"},
		"its old name":                  {"index.docker.io/library/alpine", "docker.io/library/alpine:latest"},
		"its server":                    {"registry-1.docker.io/alpine:3", "docker.io/library/alpine:3"},
		"its server with the port":      {"registry-1.docker.io:443/team/a", "docker.io/team/a:latest"},
		"a host with capitals":          {"Registry.Example.com/a", "registry.example.com/a:latest"},
		"the port that is the default":  {"registry.example.com:443/a:b", "registry.example.com/a:b"},
		"another port":                  {"registry.example.com:5000/a:b", "registry.example.com:5000/a:b"},
		"a digest decides over the tag": {"r.example.com/a:b@" + sum, "r.example.com/a@" + sum},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			ref, err := cacheref.Parse(tc.text)
			if err != nil || ref.String() != tc.want {
				t.Errorf("got %s, %v, want %s", ref, err, tc.want)
			}
		})
	}
}

func TestWhatTheOperatorKeepsIsNobodysElse(t *testing.T) {
	const (
		repository = "registry.example.com/team/cache"
		sum        = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
		own        = ":cache-a-0123456789abcdef"
		snapshot   = ":mount-a-0123456789abcdef-20261124T120000Z-01234567"
	)
	type verdict struct{ Image, Cache bool } // permitted to namespace a
	cases := map[string]struct {
		ref  string
		want verdict
	}{
		"another repository":                 {"registry.example.com/x:cache-b-0000000000000000", verdict{true, true}},
		"another tag of the repository":      {repository + ":main", verdict{true, true}},
		"the namespace's own build cache":    {repository + own, verdict{false, true}},
		"another namespace's":                {repository + ":cache-b-0123456789abcdef", verdict{}},
		"a longer namespace's":               {repository + ":cache-a-b-0123456789abcdef", verdict{}},
		"a tag that could be somebody's":     {repository + ":cache-a-latest", verdict{}},
		"a snapshot, even one of its own":    {repository + snapshot, verdict{}},
		"a snapshot of a time that is none":  {repository + ":mount-a-99991231T235959Z", verdict{}},
		"whatever a digest stands for":       {repository + sum, verdict{}},
		"a digest behind the own tag":        {repository + own + sum, verdict{}},
		"capitals are another way to write":  {"Registry.EXAMPLE.com/team/cache" + snapshot, verdict{}},
		"the default port, too":              {"registry.example.com:443/team/cache" + snapshot, verdict{}},
		"and what mirrors the repository":    {"upstream.example.com/team/cache" + snapshot, verdict{}},
		"not what a mirror has elsewhere":    {"upstream.example.com/cache" + snapshot, verdict{true, true}},
		"a second repository, for snapshots": {"team/snapshots" + snapshot, verdict{}},
		"by the server's own name":           {"registry-1.docker.io/team/snapshots" + snapshot, verdict{}},
		"by the old name":                    {"index.docker.io/team/snapshots" + snapshot, verdict{}},
		"what is no reference":               {"a b", verdict{}},
	}
	kept := cacheref.NewKept([]string{repository, "docker.io/team/snapshots", ""},
		map[string][]string{"upstream.example.com": {"registry.example.com"}})
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := verdict{kept.CheckImage(tc.ref) == nil, kept.CheckCache("a", tc.ref) == nil}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.ref, diff)
			}
		})
	}
}

func TestAMirrorOfAPathMirrorsWhatIsBelow(t *testing.T) {
	kept := cacheref.NewKept([]string{"m.example.com/hub/team/cache"},
		map[string][]string{"docker.io": {"m.example.com/hub/"}})
	for ref, want := range map[string]bool{"team/cache:cache-x": false, "other/cache:cache-x": true} {
		if got := kept.CheckImage(ref) == nil; got != want {
			t.Errorf("%s is permitted: %v, want %v", ref, got, want)
		}
	}
	got := kept.Aliases(cacheref.Repository{Host: "m.example.com", Path: "hub/team/cache"})
	want := []cacheref.Repository{{Host: "docker.io", Path: "team/cache"},
		{Host: "m.example.com", Path: "hub/team/cache"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("aliases (-want +got):\n%s", diff)
	}
}
