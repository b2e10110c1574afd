// SPDX-License-Identifier: Apache-2.0

package retention

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/openllb/hlb-operator/internal/cacheref"
)

// FuzzFirstSeen: whatever a volume holds, tags are observed, none is older than the file says, and the file that is
// written can be read.
func FuzzFirstSeen(f *testing.F) {
	tag := cacheref.Tag("ns", "app")
	f.Add([]byte(`{"r.example.com/c":{"`+tag+`":{"digest":"sha256:1","since":"2026-01-02T03:04:05Z"}}}`), tag)
	f.Add([]byte(`{"r.example.com/c":null}`), tag)
	f.Add([]byte(`{"r.example.com/c":{"`+tag+`":{"digest":"sha256:1","since":"tomorrow"}}}`), tag)
	f.Add([]byte(`null`), "latest")
	f.Add([]byte(``), "mount-ns-0123456789abcdef-20269924T120000Z-01234567")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		path := filepath.Join(t.TempDir(), "first-seen.json")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		seen, _ := OpenFirstSeen(path)
		digest := func(string) (string, error) { return "sha256:1", nil }
		tags, err := seen.Observe("r.example.com/c", served, []string{name, tag}, digest, time.Unix(1_800_000_000, 0))
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range tags {
			if !cacheref.Owned("ns", got.Name) {
				t.Errorf("%q is none of the operator's tags", got.Name)
			}
		}
		if _, lost := OpenFirstSeen(path); lost != nil {
			t.Errorf("the file that was written can't be read: %v", lost)
		}
	})
}
