// SPDX-License-Identifier: Apache-2.0

package ledger_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/agent/ledger"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func open(t *testing.T, path string) *ledger.Ledger {
	t.Helper()
	l, lost, err := ledger.Open(path)
	if lost != nil || err != nil {
		t.Fatal(lost, err)
	}
	return l
}

func record(t *testing.T, l *ledger.Ledger, use ledger.Use, at time.Time) {
	t.Helper()
	use.Epoch = l.Epoch()
	if err := l.Record(use, at); err != nil {
		t.Fatal(err)
	}
}

// knows reports whether the ledger has a successful build of the key in this epoch with all of its mounts still there.
func knows(l *ledger.Ledger, key string) bool {
	_, known := l.KeyMounts(key)
	return known
}

func TestALedgerSurvivesRestarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.json")
	l := open(t, path)
	if knows(l, "a") || !l.IsEmpty() {
		t.Error("a new ledger knows something")
	}
	record(t, l, ledger.Use{Key: "a", Fresh: true, Seconds: 42, Mounts: []string{"m"}}, start)
	record(t, l, ledger.Use{Key: "b", Fresh: true, Seconds: 7}, start.Add(time.Minute))
	record(t, l, ledger.Use{Key: "a", Seconds: 1}, start.Add(time.Hour))

	again := open(t, path)
	if again.Epoch() != l.Epoch() {
		t.Error("the epoch changed without a reset")
	}
	want := []v1alpha1.KeyUse{
		{Key: "a", LastUsed: metav1.NewTime(start.Add(time.Hour)), WarmSeconds: 1, ColdSeconds: 42},
		{Key: "b", LastUsed: metav1.NewTime(start.Add(time.Minute)), ColdSeconds: 7},
	}
	if diff := cmp.Diff(want, again.Keys()); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if at, known := again.MountUsed("m"); !known || !at.Equal(start) {
		t.Errorf("mount m was used at %v, %v", at, known)
	}
}

func TestAResetForgetsAndNamesANewEpoch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.json")
	l := open(t, path)
	old := l.Epoch()
	record(t, l, ledger.Use{Key: "a", Seconds: 1}, start)
	if err := l.Reset(); err != nil {
		t.Fatal(err)
	}
	if l.Epoch() == old || knows(l, "a") || knows(open(t, path), "a") {
		t.Error("the reset left something of the old epoch")
	}
	if err := l.Record(ledger.Use{Key: "late", Epoch: old, Seconds: 1}, start); err != nil || knows(l, "late") {
		t.Errorf("a build that began before the reset was recorded (%v)", err)
	}
}

func TestABrokenFileIsANewEpoch(t *testing.T) {
	for name, content := range map[string]string{"half a file": `{"epoch":"x","ke`, "no epoch": `{}`, "an empty file": ""} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "ledger.json")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			l, lost, err := ledger.Open(path)
			if lost == nil || err != nil {
				t.Fatalf("lost %v, error %v", lost, err)
			}
			if l.Epoch() == "" || open(t, path).Epoch() != l.Epoch() {
				t.Error("the new epoch was not written")
			}
		})
	}
}

func TestALedgerIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.json")
	keys := map[string]any{}
	for i := range 4200 {
		keys[fmt.Sprintf("k%04d", i)] = map[string]any{"lastUsed": start.Add(time.Duration(i) * time.Second)}
	}
	data, err := json.Marshal(map[string]any{"epoch": "e", "keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	l := open(t, path)
	record(t, l, ledger.Use{Key: "new", Seconds: 1, Mounts: []string{"m"}}, start.Add(2*time.Hour))
	if got := l.Keys(); len(got) != 256 || got[0].Key != "new" || got[1].Key != "k4199" {
		t.Errorf("%d keys are reported, the first are %s and %s", len(got), got[0].Key, got[1].Key)
	}
	if knows(l, "k0104") || !knows(l, "k0105") {
		t.Error("the ledger does not hold the 4096 keys used last")
	}
}

func TestAnUnwritableVolumeIsAnError(t *testing.T) {
	if _, _, err := ledger.Open(filepath.Join(t.TempDir(), "missing", "ledger.json")); err == nil {
		t.Error("a ledger was opened in a directory that does not exist")
	}
}
