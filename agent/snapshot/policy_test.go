// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func TestWhenASnapshotCopiesEverythingAgain(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		layers []int64
		want   bool
	}{
		"the first one":                          {nil, true},
		"a small layer on a large one":           {[]int64{100, 10}, false},
		"layers that weigh more than the bottom": {[]int64{100, 60, 41}, true},
		"ten layers":                             {[]int64{100, 1, 1, 1, 1, 1, 1, 1, 1, 1}, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := needsWhole(tc.layers); got != tc.want {
				t.Errorf("needsWhole(%v) = %v", tc.layers, got)
			}
		})
	}
}

func TestWhenASnapshotIsDue(t *testing.T) {
	t.Parallel()
	hourly := &v1alpha1.MountSnapshotSpec{Schedule: &v1alpha1.CronSchedule{Cron: "@hourly"}}
	cases := map[string]struct {
		spec    *v1alpha1.MountSnapshotSpec
		entry   Entry
		busy    bool
		now     time.Time
		want    bool
		wantErr string
	}{
		"not before the hour": {
			spec: hourly, entry: Entry{Seen: noon.Add(time.Minute)}, now: noon.Add(59 * time.Minute),
		},
		"a spread after the hour": {
			spec: hourly, entry: Entry{Seen: noon.Add(time.Minute)}, now: noon.Add(time.Hour + spread), want: true,
		},
		"not twice in an hour": {
			spec: hourly, entry: Entry{Seen: noon, Tried: noon.Add(time.Hour + spread)},
			now: noon.Add(time.Hour + 2*spread),
		},
		"one that was missed": {
			spec: hourly, entry: Entry{Tried: noon.Add(-72 * time.Hour)}, now: noon, want: true,
		},
		"never without a schedule": {
			spec: &v1alpha1.MountSnapshotSpec{}, entry: Entry{Seen: noon}, now: noon.Add(9999 * time.Hour),
		},
		"on request": {
			spec: &v1alpha1.MountSnapshotSpec{}, entry: Entry{Requested: true}, now: noon, want: true,
		},
		"not while the mount is busy": {
			spec: hourly, entry: Entry{Requested: true, Outcome: v1alpha1.SnapshotDeferred, Tried: noon}, busy: true,
			now: noon.Add(pauseWhileBusy - 1),
		},
		"to say that it still is": {
			spec: hourly, entry: Entry{Outcome: v1alpha1.SnapshotDeferred, Tried: noon}, busy: true,
			now: noon.Add(pauseWhileBusy), want: true,
		},
		"as soon as the mount is idle": {
			spec: hourly, entry: Entry{Outcome: v1alpha1.SnapshotDeferred, Tried: noon}, now: noon.Add(1), want: true,
		},
		"a disturbed one not at once": {
			spec: hourly, entry: Entry{Outcome: v1alpha1.SnapshotDeferred, Tried: noon, Disturbed: true},
			now: noon.Add(pauseAfterDisturbance - 1),
		},
		"a disturbed one after a pause": {
			spec: hourly, entry: Entry{Outcome: v1alpha1.SnapshotDeferred, Tried: noon, Disturbed: true},
			now: noon.Add(pauseAfterDisturbance), want: true,
		},
		"midnight of the zone": {
			spec: &v1alpha1.MountSnapshotSpec{Schedule: &v1alpha1.CronSchedule{Cron: "0 0 * * *",
				TimeZone: "Asia/Tokyo"}},
			entry: Entry{Tried: noon}, now: noon.Add(3*time.Hour + spread), want: true,
		},
		"soon after a failure": {
			entry: Entry{Requested: true, Outcome: v1alpha1.SnapshotFailed, Failures: 1, Tried: noon},
			now:   noon.Add(19 * time.Second),
		},
		"a while after a failure": {
			entry: Entry{Outcome: v1alpha1.SnapshotFailed, Failures: 1, Tried: noon}, now: noon.Add(20 * time.Second),
			want: true,
		},
		"a while after the third failure": {
			entry: Entry{Outcome: v1alpha1.SnapshotFailed, Failures: 3, Tried: noon}, now: noon.Add(79 * time.Second),
		},
		"longer after the third failure": {
			entry: Entry{Outcome: v1alpha1.SnapshotFailed, Failures: 3, Tried: noon}, now: noon.Add(80 * time.Second),
			want: true,
		},
		"an hour after many failures": {
			entry: Entry{Outcome: v1alpha1.SnapshotFailed, Failures: 99, Tried: noon}, now: noon.Add(time.Hour),
			want: true,
		},
		"a schedule that can't be read": {
			spec: &v1alpha1.MountSnapshotSpec{Schedule: &v1alpha1.CronSchedule{Cron: "soon"}}, now: noon,
			wantErr: "snapshot.schedule",
		},
		"a time zone that there is not": {
			spec: &v1alpha1.MountSnapshotSpec{Schedule: &v1alpha1.CronSchedule{Cron: "@daily", TimeZone: "Mars/Base"}},
			now:  noon, wantErr: "timeZone",
		},
		"a schedule by intervals": {
			spec: &v1alpha1.MountSnapshotSpec{Schedule: &v1alpha1.CronSchedule{Cron: "@every 1h"}}, now: noon,
			wantErr: "five fields",
		},
		"a schedule that never comes": {
			spec: &v1alpha1.MountSnapshotSpec{Schedule: &v1alpha1.CronSchedule{Cron: "0 0 30 2 *"}}, now: noon,
			wantErr: "never comes",
		},
		"a request beside a broken time zone": {
			spec:  &v1alpha1.MountSnapshotSpec{Schedule: &v1alpha1.CronSchedule{Cron: "@daily", TimeZone: "Mars/Base"}},
			entry: Entry{Requested: true}, now: noon, want: true,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := isDue(tc.spec, tc.entry, !tc.busy, tc.now, "cache-0/m")
			if got != tc.want || (err == nil) != (tc.wantErr == "") || err != nil &&
				!strings.Contains(err.Error(), tc.wantErr) {
				t.Errorf("due: %v, %v; want %v, %q", got, err, tc.want, tc.wantErr)
			}
		})
	}
}

func openState(t *testing.T) *State {
	t.Helper()
	return OpenState(filepath.Join(t.TempDir(), "state.json"), "epoch")
}

func begin(t *testing.T, s *State, id string) map[string]string {
	t.Helper()
	uses := map[string]string{id: "shared"}
	if _, err := s.Begin("epoch", uses, noon); err != nil {
		t.Fatal(err)
	}
	return uses
}

func end(t *testing.T, s *State, uses map[string]string, succeeded bool) {
	t.Helper()
	if err := s.End(uses, succeeded); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyASuccessfulStateIsQuiet(t *testing.T) {
	t.Parallel()
	s := openState(t)
	uses := begin(t, s, "m")
	if ok, _ := s.quiet("m"); ok {
		t.Error("the mount is quiet while a build uses it")
	}
	end(t, s, uses, false)
	if ok, _ := s.quiet("m"); ok {
		t.Error("the mount is quiet after a build that failed")
	}
	begin(t, s, "m")
	begin(t, s, "m")
	end(t, s, uses, true)
	if ok, _ := s.quiet("m"); ok {
		t.Error("the mount is quiet while one of two builds uses it")
	}
	end(t, s, uses, true)
	if ok, begun := s.quiet("m"); !ok || begun != 3 {
		t.Errorf("quiet: %v after %d builds, want true after 3", ok, begun)
	}
}

func TestAnAgentThatDiedLeavesItsMountsDirty(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state.json")
	begin(t, OpenState(path, "epoch"), "m")
	again := OpenState(path, "epoch")
	if ok, _ := again.quiet("m"); ok {
		t.Error("a mount is quiet although nobody knows how its build ended")
	}
	if e, known := again.Entry("m"); !known || e.Sharing != "shared" || e.Uses != 1 {
		t.Errorf("the mount is remembered as %+v, %v", e, known)
	}
	if _, known := OpenState(path, "another").Entry("m"); known {
		t.Error("a mount of another epoch is remembered")
	}
}

func TestRequestsAreForWhatIsThere(t *testing.T) {
	t.Parallel()
	s := openState(t)
	ask := func(value string) {
		t.Helper()
		if err := s.Ask(value); err != nil {
			t.Fatal(err)
		}
	}
	requested := func(id string) bool {
		e, _ := s.Entry(id)
		return e.Requested
	}
	ask("old")
	end(t, s, begin(t, s, "m"), true)
	if ask("old"); requested("m") {
		t.Error("a request from before the mount was there counts")
	}
	if ask("new"); !requested("m") {
		t.Error("a new request does not count")
	}

	s = openState(t)
	end(t, s, begin(t, s, "m"), true)
	if ask(""); requested("m") {
		t.Error("no request counts as one")
	}
	if ask("first"); !requested("m") {
		t.Error("a request before the agent's first look does not count")
	}
}

func TestMountsThatAreGoneAreForgotten(t *testing.T) {
	t.Parallel()
	s := openState(t)
	for _, id := range []string{"held", "gone", "busy", "new"} {
		uses := begin(t, s, id)
		if id != "busy" {
			end(t, s, uses, true)
		}
	}
	look := func() map[string]int64 {
		end(t, s, begin(t, s, "new"), true) // a whole build after the daemon was looked at
		return map[string]int64{"held": 1}
	}
	if err := s.Keep(look); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"busy", "held", "new"}, s.ids()); diff != "" {
		t.Errorf("remembered (-want +got):\n%s", diff)
	}
}

// TestStateIsForSeveral is one for the race detector, and for what is left when builds and looks come at the same time.
func TestStateIsForSeveral(t *testing.T) {
	t.Parallel()
	s := openState(t)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			id := fmt.Sprint("m", i)
			for range 20 {
				end(t, s, begin(t, s, id), true)
				if err := s.Keep(func() map[string]int64 {
					return map[string]int64{"m0": 1, "m1": 1, "m2": 1, "m3": 1}
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for i := range 4 {
		if e, known := s.Entry(fmt.Sprint("m", i)); !known || e.Uses != 20 || e.Dirty {
			t.Errorf("m%d is remembered as %+v, %v, want 20 uses", i, e, known)
		}
	}
}
