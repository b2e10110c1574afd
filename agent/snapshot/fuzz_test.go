// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// FuzzState: whatever a volume holds as the state of snapshots, builds begin and end on it, and it knows no mount of
// another epoch.
func FuzzState(f *testing.F) {
	for _, seed := range []string{
		`{"epoch":"e","mounts":{"m":{"sharing":"shared","uses":3,"seen":"2026-01-02T03:04:05Z","failures":2}},"request":"r"}`,
		`{"epoch":"e","mounts":{"m":{"uses":9223372036854775807,"failures":-1}},"unfilled":{"m":true}}`,
		`{"epoch":"f","mounts":{"m":{}}}`, `{"epoch":"e","mounts":null,"unfilled":null}`, `null`, `[]`, ``, `{`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "snapshots.json")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s := OpenState(path, "e")
		sharing := map[string]string{"m": "shared"}
		if _, err := s.Begin("e", sharing, time.Unix(1_800_000_000, 0)); err != nil {
			t.Fatal(err)
		}
		if err := s.End(sharing, true); err != nil {
			t.Fatal(err)
		}
		if e, known := s.Entry("m"); !known || e.Dirty {
			t.Errorf("a mount that was used is %+v, %v", e, known)
		}
		if again := OpenState(path, "e"); again.Lost() != nil {
			t.Errorf("the state that was written can't be read: %v", again.Lost())
		}
		if other := OpenState(path, "another"); len(other.Entries()) > 0 || len(other.Unfilled()) > 0 {
			t.Errorf("mounts of another epoch are known: %v, %v", other.Entries(), other.Unfilled())
		}
	})
}
