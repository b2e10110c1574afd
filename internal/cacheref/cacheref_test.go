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
		kept := cacheref.NewKept([]string{repository}, nil)
		if err := kept.CheckCache(ns, ref); err != nil {
			t.Fatalf("%s is refused to its own namespace %s: %v", ref, ns, err)
		}
		if other != ns && kept.CheckCache(other, ref) == nil {
			t.Fatalf("%s is permitted to namespace %s", ref, other)
		}
		if kept.CheckImage(ref) == nil {
			t.Fatalf("%s may be pushed over", ref)
		}
	})
}
