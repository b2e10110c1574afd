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

// TestUsesCountOnceTheirSizesAreKnown: a mount has no size while it is used for the first time.
func TestUsesCountOnceTheirSizesAreKnown(t *testing.T) {
	const mib = int64(1 << 20)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	type build struct {
		ids   []string
		held  map[string]int64
		after time.Duration
	}
	cases := map[string]struct {
		builds       []build
		wantAccesses int64
		wantBytes    int64
	}{
		"a size that comes with a later build": {[]build{
			{[]string{"a"}, map[string]int64{"a": 0}, 0},
			{[]string{"a"}, map[string]int64{"a": 0}, time.Minute},
			{[]string{"b"}, map[string]int64{"a": 3 * mib, "b": mib}, time.Minute},
		}, 3, 7 * mib},
		"a mount that is gone before it has a size": {[]build{
			{[]string{"a"}, map[string]int64{"a": 0}, 0},
			{[]string{"b"}, map[string]int64{"b": mib}, time.Minute},
		}, 1, mib},
		"a mount that never has one holds the others up for an hour": {[]build{
			{[]string{"empty"}, map[string]int64{"empty": 0}, 0},
			{[]string{"b"}, map[string]int64{"empty": 0, "b": mib}, time.Minute},
			{[]string{"b"}, map[string]int64{"empty": 0, "b": mib}, 2 * time.Hour},
		}, 2, 2 * mib},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s, lost := OpenSizing(filepath.Join(t.TempDir(), "sizing"), testr.New(t))
			if lost != nil {
				t.Fatal(lost)
			}
			at := now
			for _, b := range tc.builds {
				at = at.Add(b.after)
				s.Record(b.ids, b.held, at)
			}
			got := s.Report(100*mib, at)
			if got == nil || got.Accesses != tc.wantAccesses || (got.SeenBytes+mib/2)/mib != tc.wantBytes/mib {
				t.Errorf("got %+v, want %d accesses of %d bytes", got, tc.wantAccesses, tc.wantBytes)
			}
		})
	}
}
