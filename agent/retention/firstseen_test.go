// SPDX-License-Identifier: Apache-2.0

package retention

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/internal/cacheref"
)

func TestTagsAreAsOldAsTheirContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "retention.json")
	kept, rewritten := cacheref.Tag("ns", "kept"), cacheref.Tag("ns", "rewritten")
	snapshot := cacheref.MountTag("ns", "go", noon.Add(-day), "c-0")
	future := cacheref.MountTag("ns", "go", noon.Add(365*day), "c-0") // of a clock that was wrong
	look := func(edition string, now time.Time) []Tag {
		t.Helper()
		seen, lost := OpenFirstSeen(path)
		if lost != nil {
			t.Fatal(lost)
		}
		tags, err := seen.Observe("r/cache", []string{"ns"},
			[]string{kept, rewritten, snapshot, future, "latest", cacheref.Tag("other", "a")},
			func(tag string) (string, error) {
				if tag == rewritten {
					return edition, nil
				}
				return "sha256:same", nil
			}, now)
		if err != nil {
			t.Fatal(err)
		}
		return tags
	}
	look("one", noon)
	want := []Tag{{kept, noon}, {rewritten, noon.Add(time.Hour)}, {snapshot, noon.Add(-day)}, {future, noon}}
	if diff := cmp.Diff(want, look("two", noon.Add(time.Hour))); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
}
