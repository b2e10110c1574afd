// SPDX-License-Identifier: Apache-2.0

package cacheref_test

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/openllb/hlb-operator/internal/cacheref"
)

const repository = "registry.example.com/team/build-cache"

func TestRefIsStable(t *testing.T) {
	// The hash begins what `printf app | sha256sum` prints; a change would orphan every cache in every registry.
	const want = repository + ":cache-team-a172cedcae47474b"
	if got := cacheref.Ref(repository, "team", "app"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTagsAreValidAndOwn(t *testing.T) {
	valid := regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	name := rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`)
	rapid.Check(t, func(t *rapid.T) {
		ns, key, other := name.Draw(t, "namespace"), rapid.String().Draw(t, "key"), name.Draw(t, "other")
		ref := cacheref.Ref(repository, ns, key)
		if tag := strings.TrimPrefix(ref, repository+":"); !valid.MatchString(tag) {
			t.Fatalf("%s is no valid tag", tag)
		}
		if !cacheref.Permitted(repository, ns, ref) {
			t.Fatalf("%s is refused to its own namespace %s", ref, ns)
		}
		if other != ns && cacheref.Permitted(repository, other, ref) {
			t.Fatalf("%s is permitted to namespace %s", ref, other)
		}
	})
}

func TestPermitted(t *testing.T) {
	cases := map[string]struct {
		repository, namespace, ref string
		want                       bool
	}{
		"another repository is the program's own business": {
			repository, "a", "registry.example.com/x:cache-b-0000000000000000", true,
		},
		"another tag of the repository is, too": {repository, "a", repository + ":main", true},
		"its own tag": {
			repository, "a", repository + ":cache-a-0123456789abcdef", true,
		},
		"another namespace's tag is refused": {
			repository, "a", repository + ":cache-b-0123456789abcdef", false,
		},
		"a namespace that begins with the name is another": {
			repository, "a", repository + ":cache-a-b-0123456789abcdef", false,
		},
		"a tag that could be somebody's is refused":          {repository, "a", repository + ":cache-a-latest", false},
		"without a registry cache there is nothing to guard": {"", "a", ":cache-b-0123456789abcdef", true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := cacheref.Permitted(tc.repository, tc.namespace, tc.ref); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}
