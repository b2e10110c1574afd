// SPDX-License-Identifier: Apache-2.0

package usage_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/agent/usage"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func open(t *testing.T, path string) *usage.Journal {
	t.Helper()
	l, lost, err := usage.Open(path, testr.New(t))
	if lost != nil || err != nil {
		t.Fatal(lost, err)
	}
	return l
}

// knows reports whether the record has an entry of the key.
func knows(l *usage.Journal, key string) bool {
	_, known := l.KeyMounts(key)
	return known
}

func record(t *testing.T, l *usage.Journal, use usage.Build, at time.Time) {
	t.Helper()
	use.Epoch = l.Epoch()
	l.RecordBuild(use, at)
}

func TestARecordSurvivesRestarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.json")
	l := open(t, path)
	if knows(l, "a") || !l.IsEmpty() {
		t.Error("a new record knows something")
	}
	record(t, l, usage.Build{Key: "a", Fresh: true, Seconds: 42, Mounts: []string{"m"}}, start)
	record(t, l, usage.Build{Key: "b", Fresh: true, Seconds: 7}, start.Add(time.Minute))
	record(t, l, usage.Build{Key: "a", Seconds: 1}, start.Add(time.Hour))

	again := open(t, path)
	if again.Epoch() != l.Epoch() {
		t.Error("the epoch changed without a reset")
	}
	want := []v1alpha1.KeyUse{
		{Key: "a", LastUsed: metav1.NewTime(start.Add(time.Hour)), WarmSeconds: 1, ColdSeconds: 42},
		{Key: "b", LastUsed: metav1.NewTime(start.Add(time.Minute)), ColdSeconds: 7},
	}
	if diff := cmp.Diff(want, again.Snapshot().Keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if m, known := again.Mount("m"); !known || !m.LastUsed.Equal(start) {
		t.Errorf("mount m was used at %v, %v", m.LastUsed, known)
	}
}

func TestAResetForgetsAndNamesANewEpoch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.json")
	l := open(t, path)
	old := l.Epoch()
	record(t, l, usage.Build{Key: "a", Seconds: 1}, start)
	l.Reset()
	if l.Epoch() == old || knows(l, "a") || knows(open(t, path), "a") {
		t.Error("the reset left something of the old epoch")
	}
	l.RecordBuild(usage.Build{Key: "late", Epoch: old, Seconds: 1}, start)
	if knows(l, "late") {
		t.Error("a build that began before the reset was recorded")
	}
}

func TestABrokenFileIsANewEpoch(t *testing.T) {
	for name, content := range map[string]string{"half a file": `{"epoch":"x","ke`, "no epoch": `{}`,
		"an empty file": ""} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "usage.json")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			l, lost, err := usage.Open(path, testr.New(t))
			if lost == nil || err != nil {
				t.Fatalf("lost %v, error %v", lost, err)
			}
			if l.Epoch() == "" || open(t, path).Epoch() != l.Epoch() {
				t.Error("the new epoch was not written")
			}
		})
	}
}

func TestARecordIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.json")
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
	record(t, l, usage.Build{Key: "new", Seconds: 1, Mounts: []string{"m"}}, start.Add(2*time.Hour))
	if got := l.Snapshot().Keys; len(got) != 256 || got[0].Key != "new" || got[1].Key != "k4199" {
		t.Errorf("%d keys are reported, the first are %s and %s", len(got), got[0].Key, got[1].Key)
	}
	if knows(l, "k0104") || !knows(l, "k0105") {
		t.Error("the record does not hold the 4096 keys used last")
	}
}

func TestAnUnwritableVolumeIsAnError(t *testing.T) {
	if _, _, err := usage.Open(filepath.Join(t.TempDir(), "missing", "usage.json"), testr.New(t)); err == nil {
		t.Error("a record was opened in a directory that does not exist")
	}
}

func TestARecordTooLargeForItsFileKeepsTheLatest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.json")
	l := open(t, path)
	long := strings.Repeat("k", 1<<20)
	for i := range 12 {
		record(t, l, usage.Build{Key: fmt.Sprint(i, long), Seconds: 1}, start.Add(time.Duration(i)*time.Hour))
	}
	again := open(t, path)
	if again.Epoch() != l.Epoch() || !knows(again, fmt.Sprint(11, long)) || knows(again, fmt.Sprint(0, long)) {
		t.Error("the file does not hold the latest of twelve keys of 1 MiB")
	}
}
