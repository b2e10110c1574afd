// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openllb/hlb-operator/agent"
	"github.com/openllb/hlb-operator/agent/gc"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// TestTheObjectOfAFullDaemonIsSmall has a daemon hold 1,000 mounts with ids of 200 characters and know 256 keys. The
// object is measured as the API server keeps it, managed fields and all.
func TestTheObjectOfAFullDaemonIsSmall(t *testing.T) {
	t.Parallel()
	w, h := newWorld(t), &holder{}
	keys, uses := map[string]any{}, map[string]any{}
	for i := range 256 {
		key := fmt.Sprintf("key-%s-%03d", strings.Repeat("k", 50), i)
		keys[key] = map[string]any{"lastUsed": time.Now(), "coldSeconds": 400, "warmSeconds": 20}
	}
	for i := range 1000 {
		id := fmt.Sprintf("%s/%s-%03d", w.ns, strings.Repeat("m", 195-len(w.ns)), i)
		uses[id] = map[string]any{"first": time.Now(), "last": time.Now(), "uses": 3, "seen": true}
		h.cache = append(h.cache, gc.Record{ID: fmt.Sprint("r-", i), Mount: id, Bytes: 1 << 20, LastUsed: time.Now()})
	}
	data, err := json.Marshal(map[string]any{"epoch": "e", "keys": keys, "mountUses": uses})
	if err != nil {
		t.Fatal(err)
	}
	w.start(h, "pod", func(o *agent.Options) {
		if err := os.WriteFile(filepath.Join(o.StateDir, "usage.json"), data, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	bd := w.tells("all mounts are counted", func(s *v1alpha1.BuildDaemonStatus) bool {
		return s.MountsTotal == 1000 && s.KeysTotal == 256
	})
	if data, err = json.Marshal(bd); err != nil {
		t.Fatal(err)
	}
	if len(data) > 32<<10 || len(bd.Status.Keys) < 60 || len(bd.Status.Mounts) < 30 || len(bd.ManagedFields) == 0 {
		t.Errorf("the object has %d bytes, %d keys and %d mounts", len(data), len(bd.Status.Keys),
			len(bd.Status.Mounts))
	}
}
