// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestANodeIsReadyByItsOwnWord(t *testing.T) {
	const ready = `"status":{"conditions":[{"type":"Ready","status":"True","lastHeartbeatTime":"2026-01-01T00:00:05Z"}]}`
	taint := func(key, effect string) string {
		return `{"spec":{"taints":[{"key":"` + key + `","effect":"` + effect + `"}]},` + ready + `}`
	}
	for name, tc := range map[string]struct{ node, want string }{
		"ready":              {"{" + ready + "}", ""},
		"ready and cordoned": {taint("node.kubernetes.io/unschedulable", "NoSchedule"), ""},
		"not reachable a moment ago": {
			taint("node.kubernetes.io/unreachable", "NoExecute"), "taint node.kubernetes.io/unreachable still stands",
		},
		"ready before its start": {`{"status":{"conditions":[{"type":"Ready","status":"True","lastHeartbeatTime":"2026-01-01T00:00:03Z"}]}}`,
			"no sign of life"},
		"not ready": {`{"status":{"conditions":[{"type":"Ready","status":"Unknown","reason":"R"}]}}`, "not ready: R"},
		"new":       {"{}", "no Ready condition yet"},
	} {
		t.Run(name, func(t *testing.T) {
			var n nodeObject
			if err := json.Unmarshal([]byte(tc.node), &n); err != nil {
				t.Fatal(err)
			}
			err := n.readySince(time.Date(2026, 1, 1, 0, 0, 4, 500, time.UTC))
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
