// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openllb/hlb-operator/agent"
	"github.com/openllb/hlb-operator/agent/gc"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// builtBefore is a usage record of two keys, of which one was built in 1000 s cold and 100 s warm with the mount "old",
// and one in as many and warm with "new".
const builtBefore = `{"epoch": "e", "keys": {
	"k-old": {"lastUsed": "2026-01-01T00:00:00Z", "coldSeconds": 1000, "warmSeconds": 100, "mounts": ["NS/old"]},
	"k-new": {"lastUsed": "2026-01-01T00:00:00Z", "coldSeconds": 1000, "warmSeconds": WARM, "mounts": ["NS/new"]}}}`

// TestTheMountThatIsWorthLeastGoes has a daemon of 10Gi hold two mounts of 3Gi, one more than its bound of half
// allows. The old one was last used nine hours ago, the new one six.
func TestTheMountThatIsWorthLeastGoes(t *testing.T) {
	t.Parallel()
	snapshots := func(id string) string {
		return `{"epoch": "e", "mounts": {"NS/` + id + `": {"ref": "r@sha256:0", "bytes": 1000000000}}}`
	}
	for name, c := range map[string]struct {
		warm, snapshots, want string
	}{
		"both save as much, so the old one goes":                 {"100", "{}", "old"},
		"the new one saves a ninth, so it goes":                  {"900", "{}", "new"},
		"it saves as much, but is brought back in a few seconds": {"100", snapshots("new"), "new"},
		"what the old one saves comes back in seconds":           {"900", snapshots("old"), "old"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *v1alpha1.BuildCache) {
				c.Spec.Registry = &v1alpha1.RegistryCacheSpec{Repository: "registry.invalid/cache"}
				c.Spec.Mounts = []v1alpha1.MountPolicy{{ID: "*", Prime: v1alpha1.PrimeOnFreshDaemon}}
			})
			h := &holder{}
			for id, hours := range map[string]int{"old": 9, "new": 6} {
				h.cache = append(h.cache,
					gc.Record{ID: "r-" + id, Mount: w.ns + "/" + id, Bytes: 3 << 30,
						LastUsed: time.Now().Add(-time.Duration(hours) * time.Hour)})
			}
			w.start(h, "pod-a", func(o *agent.Options) {
				o.ObserveEvery = 100 * time.Millisecond
				for file, text := range map[string]string{"usage.json": builtBefore, "snapshots.json": c.snapshots} {
					text = strings.NewReplacer("NS", w.ns, "WARM", c.warm).Replace(text)
					if err := os.WriteFile(filepath.Join(o.StateDir, file), []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			})
			if got := w.pruned(); !slices.Equal(got, []string{w.ns + "/" + c.want}) {
				t.Errorf("pruned %v, want %s", got, c.want)
			}
			left := map[string]string{"old": "new", "new": "old"}[c.want]
			w.tells("the other one is evicted next", func(s *v1alpha1.BuildDaemonStatus) bool {
				next := s.GC.NextEviction
				return next != nil && next.ID == w.ns+"/"+left && next.Bytes == 3<<30 && next.LostSeconds > 0
			})
		})
	}
}
