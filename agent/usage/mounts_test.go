// SPDX-License-Identifier: Apache-2.0

package usage_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/agent/usage"
)

func reconcile(l *usage.Journal, held map[string]int64, began time.Time) []string {
	return l.Reconcile(held, began)
}

func TestAMountsUsesAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.json")
	l := open(t, path)
	record(t, l, usage.Build{Key: "a", Seconds: 1, Mounts: []string{"m", "m"}}, start)
	record(t, l, usage.Build{Key: "b", Seconds: 1, Mounts: []string{"m"}}, start.Add(time.Hour))
	l.RecordMounts("a", l.Epoch(), []string{"m", "n"}, start.Add(2*time.Hour))
	reconcile(l, map[string]int64{"m": 7, "n": 0}, start.Add(3*time.Hour))
	again := open(t, path)
	want := map[string]usage.Mount{
		"m": {FirstUsed: start, LastUsed: start.Add(2 * time.Hour), Uses: 3, Bytes: 7, Users: []string{"a", "b"}},
		"n": {FirstUsed: start.Add(2 * time.Hour), LastUsed: start.Add(2 * time.Hour), Uses: 1, Users: []string{"a"}},
	}
	for id, w := range want {
		got, known := again.Mount(id)
		if diff := cmp.Diff(w, got); diff != "" || !known {
			t.Errorf("mount %s, known %v (-want +got):\n%s", id, known, diff)
		}
	}
	if diff := cmp.Diff(map[string]time.Time{"m": start.Add(2 * time.Hour), "n": start.Add(2 * time.Hour)},
		again.LastUses()); diff != "" {
		t.Errorf("last uses (-want +got):\n%s", diff)
	}
	if got := again.UsedSince(start.Add(2*time.Hour + 1)); len(got) != 0 {
		t.Errorf("%v were used since, want none", got)
	}
	l.RecordMounts("a", "another epoch", []string{"late"}, start)
	if _, known := l.Mount("late"); known {
		t.Error("a use of an earlier epoch was noted")
	}
}

func TestUsersAreTheLatestEight(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "usage.json"))
	for i := range 12 {
		record(t, l, usage.Build{Key: fmt.Sprint("k", i), Seconds: 1, Mounts: []string{"m"}}, start)
	}
	got, _ := l.Mount("m")
	if diff := cmp.Diff([]string{"k11", "k10", "k9", "k8", "k7", "k6", "k5", "k4"}, got.Users); diff != "" {
		t.Errorf("users (-want +got):\n%s", diff)
	}
}

func TestAnEvictedMountMakesItsKeysFresh(t *testing.T) {
	later := start.Add(time.Hour)
	cases := map[string]struct {
		held        map[string]int64
		began       time.Time
		wantEvicted []string
		wantFresh   []string
	}{
		"all are held": {map[string]int64{"go": 1, "mod": 1, "npm": 1}, later, nil, nil},
		"one of two is evicted": {
			map[string]int64{"mod": 1, "npm": 1}, later, []string{"go"}, []string{"api", "web"},
		},
		"the mount of one key is evicted": {
			map[string]int64{"go": 1, "mod": 1}, later, []string{"npm"}, []string{"web"},
		},
		"all are evicted":                {nil, later, []string{"go", "mod", "npm"}, []string{"api", "web"}},
		"uses since the look began stay": {nil, start, nil, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "usage.json")
			l := open(t, path)
			record(t, l, usage.Build{Key: "api", Seconds: 1, Mounts: []string{"mod", "go"}}, start)
			record(t, l, usage.Build{Key: "web", Seconds: 1, Mounts: []string{"go", "npm"}}, start)
			record(t, l, usage.Build{Key: "docs", Seconds: 1}, start)
			reconcile(l, map[string]int64{"go": 1, "mod": 1, "npm": 1}, start)
			if diff := cmp.Diff(tc.wantEvicted, reconcile(l, tc.held, tc.began)); diff != "" {
				t.Errorf("evicted (-want +got):\n%s", diff)
			}
			for _, l := range []*usage.Journal{l, open(t, path)} {
				var fresh []string
				for _, key := range []string{"api", "docs", "web"} {
					if !knows(l, key) {
						fresh = append(fresh, key)
					}
				}
				if diff := cmp.Diff(tc.wantFresh, fresh); diff != "" {
					t.Errorf("fresh keys (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestAMountThatNoStepMadeLeavesItsKeyWarm(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "usage.json"))
	record(t, l, usage.Build{Key: "k", Seconds: 1, Mounts: []string{"made", "unmade"}}, start)
	if got := reconcile(l, map[string]int64{"made": 1}, start.Add(time.Hour)); len(got) != 0 {
		t.Errorf("evicted %v, want none", got)
	}
	mounts, known := l.KeyMounts("k")
	if diff := cmp.Diff([]string{"made"}, mounts); diff != "" || !known {
		t.Errorf("known %v, mounts (-want +got):\n%s", known, diff)
	}
	if _, known := l.Mount("unmade"); known {
		t.Error("the record still lists a mount that was never made")
	}
	if got := reconcile(l, nil, start.Add(2*time.Hour)); len(got) != 1 || knows(l, "k") {
		t.Errorf("evicted %v, the key is known: %v; want it fresh once the mount that was made is gone", got,
			knows(l, "k"))
	}
}

func TestAMountThatWasBroughtInCountsAsUsedThen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.json")
	l := open(t, path)
	record(t, l, usage.Build{Key: "a", Seconds: 1, Mounts: []string{"used"}}, start.Add(time.Hour))
	for _, id := range []string{"idle", "used", "taken"} {
		l.RecordPrefetch(id, l.Epoch(), start)
	}
	l.RecordPrefetch("late", "another epoch", start)
	record(t, l, usage.Build{Key: "a", Seconds: 1, Mounts: []string{"taken"}}, start.Add(2*time.Hour))
	if got := reconcile(l, map[string]int64{"idle": 7, "used": 7, "taken": 7}, start.Add(3*time.Hour)); len(got) > 0 {
		t.Errorf("%v were evicted, want none", got)
	}
	again := open(t, path)
	for id, want := range map[string]usage.Mount{
		"idle": {LastUsed: start, Bytes: 7},
		"used": {
			FirstUsed: start.Add(time.Hour), LastUsed: start.Add(time.Hour), Uses: 1, Bytes: 7, Users: []string{"a"},
		},
		"taken": {
			FirstUsed: start.Add(2 * time.Hour), LastUsed: start.Add(2 * time.Hour), Uses: 1, Bytes: 7,
			Users: []string{"a"},
		},
		"late": {},
	} {
		got, _ := again.Mount(id)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("mount %s (-want +got):\n%s", id, diff)
		}
	}
}

func TestWhatMountsSave(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "usage.json"))
	for _, b := range []struct {
		key        string
		cold, warm int32
		mounts     []string
	}{
		{"two mounts share", 100, 10, []string{"a", "b"}},
		{"of several keys the most counts", 60, 20, []string{"a"}},
		{"a cold build that ended early", 50, 80, []string{"early"}},
		{"never built warm", 100, 0, []string{"cold"}},
		{"never built cold", 0, 10, []string{"warm"}},
	} {
		if b.cold > 0 {
			record(t, l, usage.Build{Key: b.key, Fresh: true, Seconds: b.cold, Mounts: b.mounts}, start)
		}
		if b.warm > 0 {
			record(t, l, usage.Build{Key: b.key, Seconds: b.warm, Mounts: b.mounts}, start)
		}
	}
	want := map[string]float64{"a": 45, "b": 45, "early": 5, "cold": 75, "warm": 30}
	if diff := cmp.Diff(want, l.SavedSeconds()); diff != "" {
		t.Errorf("seconds saved (-want +got):\n%s", diff)
	}
}

// TestUsesOfAWrongClockDoNotLast: a use far in the future would keep a mount listed that is gone.
func TestUsesOfAWrongClockDoNotLast(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "usage.json"))
	record(t, j, usage.Build{Key: "k", Seconds: 1, Mounts: []string{"a"}}, start.Add(365*24*time.Hour))
	reconcile(j, map[string]int64{"a": 1}, start)
	if m, known := j.Mount("a"); !known || m.LastUsed.After(start) {
		t.Errorf("the mount was last used %s, want no later than %s", m.LastUsed, start)
	}
	if gone := reconcile(j, map[string]int64{}, start.Add(time.Minute)); len(gone) != 1 {
		t.Errorf("evicted are %v, want the mount", gone)
	}
}
