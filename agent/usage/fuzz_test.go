// SPDX-License-Identifier: Apache-2.0

package usage_test

import (
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/openllb/hlb-operator/agent/usage"
)

// FuzzOpen: whatever a volume holds as its usage record, it is replaced by a new one, or a record that goes on and can
// be opened again.
func FuzzOpen(f *testing.F) {
	for _, seed := range []string{
		`{"epoch":"e","keys":{"a":{"lastUsed":"2026-01-02T03:04:05Z","warmSeconds":1,"coldSeconds":42,"mounts":["m"]}},` +
			`"mountUses":{"m":{"first":"2026-01-02T03:04:05Z","last":"2026-01-02T03:04:05Z","uses":2,"users":["a"]}}}`,
		`{"epoch":"e","keys":{"a":{"warmSeconds":2147483647,"coldSeconds":-2147483648,"mounts":["m","m",""]}}}`,
		`{"epoch":"e","keys":null,"mountUses":null}`, `{"epoch":""}`, `{"epoch":"e","keys":[]}`, `null`, `[]`, ``, `{`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "usage.json")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		l, _, err := usage.Open(path, logr.Discard())
		if err != nil {
			t.Fatal(err)
		}
		l.RecordBuild(usage.Build{Key: "a", Epoch: l.Epoch(), Seconds: 3, Mounts: []string{"m", "n"}}, start)
		l.Reconcile(map[string]int64{"m": 1 << 20}, start.Add(time.Hour))
		for id, seconds := range l.SavedSeconds() {
			if math.IsNaN(seconds) || math.IsInf(seconds, 0) {
				t.Errorf("%q saves %v seconds", id, seconds)
			}
		}
		l.Snapshot()
		again, lost, err := usage.Open(path, logr.Discard())
		if lost != nil || err != nil {
			t.Fatalf("the record that was written can't be read: %v, %v", lost, err)
		}
		if again.Epoch() != l.Epoch() {
			t.Errorf("the epoch is %q, and was %q", again.Epoch(), l.Epoch())
		}
	})
}
