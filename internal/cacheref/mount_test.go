// SPDX-License-Identifier: Apache-2.0

package cacheref

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func TestMountTagsComeNewestFirst(t *testing.T) {
	old, young := MountTag("ns", "go", noon, "d-0"), MountTag("ns", "go", noon.Add(time.Second), "d-1")
	all := []string{old, "latest", MountTag("ns", "npm", noon, "d-0"), young, MountTag("ns-2", "go", noon, "d-0"),
		Tag("ns", "go")}
	if diff := cmp.Diff([]string{young, old}, MountTags(all, "ns", "go")); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	if at, ok := MountTagTime(young); !ok || !at.Equal(noon.Add(time.Second)) {
		t.Errorf("%s is of %v, %v", young, at, ok)
	}
}

func TestLongestMountTagIsValid(t *testing.T) {
	if tag := MountTag(strings.Repeat("n", 63), "id", noon, "d"); len(tag) > 128 {
		t.Errorf("%s has %d characters, a tag at most 128", tag, len(tag))
	}
}

// TestOwnedTagsAreTheOnesMade: whatever the namespaces, a tag belongs to the one that it was made for and to no other.
func TestOwnedTagsAreTheOnesMade(t *testing.T) {
	name := rapid.StringMatching(`[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?`)
	rapid.Check(t, func(t *rapid.T) {
		mine, other, id := name.Draw(t, "mine"), name.Draw(t, "other"), rapid.String().Draw(t, "id")
		for _, tag := range []string{Tag(mine, id), MountTag(mine, id, noon, other)} {
			if !Owned(mine, tag) {
				t.Errorf("%s is not owned by %s", tag, mine)
			}
			if other != mine && Owned(other, tag) {
				t.Errorf("%s is owned by %s", tag, other)
			}
			if Owned(mine, tag+"x") || Owned(mine, "x"+tag) {
				t.Errorf("more than %s is owned", tag)
			}
		}
		if foreign := rapid.StringMatching(`[A-Za-z0-9_][-A-Za-z0-9_.]{0,40}`).
			Draw(t, "foreign"); Owned(mine, foreign) &&
			!strings.HasPrefix(foreign, "cache-"+mine+"-") && !strings.HasPrefix(foreign, "mount-"+mine+"-") {
			t.Errorf("the foreign tag %s is owned by %s", foreign, mine)
		}
	})
}

func TestSnapshotsOfAMountHaveOneSubject(t *testing.T) {
	want := MountSubject("ns", "go")
	for _, tag := range []string{MountTag("ns", "go", noon, "d-0"), MountTag("ns", "go", noon.Add(time.Hour), "d-1")} {
		if got, ok := Subject("ns", tag); !ok || got != want {
			t.Errorf("the subject of %s is %s, %v, want %s", tag, got, ok, want)
		}
	}
	if got, ok := Subject("ns", Tag("ns", "app")); !ok || got != Tag("ns", "app") {
		t.Errorf("the subject of build cache is %s, %v, want its tag", got, ok)
	}
	if got, ok := Subject("ns", Tag("other", "app")); ok {
		t.Errorf("another namespace's tag has the subject %s", got)
	}
}
