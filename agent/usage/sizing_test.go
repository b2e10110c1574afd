// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
)

func TestSizingSurvivesRestarts(t *testing.T) {
	path, now := filepath.Join(t.TempDir(), "sizing"), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s, lost := OpenSizing(path, testr.New(t))
	if lost != nil || s.Report(100<<20, now) != nil {
		t.Fatalf("a new one says %+v, lost %v", s.Report(100<<20, now), lost)
	}
	for range 3 {
		s.Record([]string{"a", "b"}, map[string]int64{"a": 10 << 20, "b": 30 << 20, "c": 1}, now)
	}
	again, lost := OpenSizing(path, testr.New(t))
	if lost != nil {
		t.Fatal(lost)
	}
	if diff := cmp.Diff(s.Report(100<<20, now), again.Report(100<<20, now)); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
	got := again.Report(100<<20, now)
	if got.Accesses != 6 || got.SeenBytes != 120<<20 || got.Points[0].HitBasisPoints != 0 ||
		got.Points[3].HitBasisPoints != 6667 {
		t.Errorf("%+v, want 6 accesses of 120 MiB, two thirds of which hit in 100 MiB and none in 25", got)
	}
	if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if anew, lost := OpenSizing(path, testr.New(t)); lost == nil || anew.Report(1, now) != nil {
		t.Error("a broken file went unnoticed")
	}
}
