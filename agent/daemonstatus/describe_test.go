// SPDX-License-Identifier: Apache-2.0

package daemonstatus

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/agent/board"
	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/gc"
	"github.com/openllb/hlb-operator/agent/snapshot"
	"github.com/openllb/hlb-operator/agent/usage"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// longID is an id or key of so many characters that ends in a number.
func longID(prefix string, length, number int) string {
	tail := fmt.Sprintf("-%04d", number)
	return prefix + strings.Repeat("x", length-len(prefix)-len(tail)) + tail
}

// busyFacts are those of a daemon that holds so many mounts with ids of that many characters, a tenth of them empty,
// and knows 256 keys. Mount 0 was used last, and saves the most.
func busyFacts(mounts, idLength int) Facts {
	seen := &daemon.Observation{
		Version: "v0.34.2", Platform: "linux/amd64", Platforms: []string{"linux/amd64", "linux/386"},
		GCPolicy: []string{"type!=exec.cachemount minFreeSpace=1000000000"}, MountBytes: map[string]int64{},
	}
	f := Facts{
		Facts: board.Facts{
			Daemon: board.Daemon{Seen: seen, Budget: gc.Budget{CapacityBytes: 1 << 40}},
			Builds: board.Builds{Running: 3},
		},
		Cache: testbuild.BuildCache("ns", "cache", func(c *v1alpha1.BuildCache) {
			c.Spec.Mounts = []v1alpha1.MountPolicy{{ID: "*", Snapshot: &v1alpha1.MountSnapshotSpec{}}}
		}),
		AgentID: "pod/agent", Node: "node",
		Usage: usage.Snapshot{
			Epoch: "epoch", KeysTotal: 300, Mounts: map[string]usage.Mount{}, SavedSeconds: map[string]float64{},
		},
		Snapshots: map[string]snapshot.Entry{}, Now: now,
	}
	for i := range 256 {
		f.Usage.Keys = append(f.Usage.Keys, v1alpha1.KeyUse{
			Key: longID("key", 60, i), LastUsed: metav1.NewTime(now.Add(-time.Duration(i) * time.Hour)),
			WarmSeconds: 20, ColdSeconds: 400,
		})
	}
	for i := range mounts {
		id := longID("ns/mount", idLength, i)
		seen.MountBytes[id] = int64(i%10) << 28
		used := now.Add(-time.Duration(i) * time.Hour)
		f.Usage.SavedSeconds[id] = 1000
		f.Usage.Mounts[id] = usage.Mount{
			FirstUsed: used, LastUsed: used, Uses: 7, Users: []string{longID("key", 60, 1), longID("key", 60, 2)},
		}
		f.Snapshots[id] = snapshot.Entry{
			Outcome: v1alpha1.SnapshotPushed, Message: strings.Repeat("m", 400), Tried: used, Bytes: 1 << 28,
			Ref: "registry.example.com/team/cache@sha256:" + strings.Repeat("0", 64), Digest: "sha256:" +
				strings.Repeat("1", 64),
		}
	}
	return f
}

// described is a BuildDaemon with the facts as its status.
func described(f Facts) *v1alpha1.BuildDaemon {
	bd := testbuild.BuildDaemon("ns", "cache", 0)
	Describe(bd, f)
	return bd
}

func TestABuildDaemonIsBoundedInBytes(t *testing.T) {
	cases := map[string]struct {
		mounts, idLength   int
		wantKeys, wantMost int // at least so many keys and mounts are listed
		wantDetails        bool
	}{
		"1000 mounts with long ids":           {1000, 200, 60, 25, false},
		"1000 mounts with the longest ids":    {1000, 512, 60, 14, false},
		"212 mounts with short ids":           {212, 20, 60, 40, false},
		"few mounts leave their room to keys": {10, 20, 130, 9, true},
		"no mounts at all":                    {0, 20, 150, 0, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := busyFacts(tc.mounts, tc.idLength)
			bd := described(f)
			data, err := json.Marshal(bd)
			if err != nil {
				t.Fatal(err)
			}
			s := &bd.Status
			if len(data) > objectLimit-reserve/2 || len(s.Keys) < tc.wantKeys || len(s.Mounts) < tc.wantMost {
				t.Errorf("the object has %d bytes, %d keys and %d mounts", len(data), len(s.Keys), len(s.Mounts))
			}
			if int(s.MountsTotal) != tc.mounts || s.KeysTotal != 300 ||
				s.GC.MountsBytes != f.Daemon.Seen.AllMountBytes() {
				t.Errorf("totals are %d mounts of %d bytes, %d keys", s.MountsTotal, s.GC.MountsBytes, s.KeysTotal)
			}
			if diff := cmp.Diff(f.Usage.Keys[:len(s.Keys)], s.Keys); diff != "" {
				t.Errorf("keys, latest first (-want +got):\n%s", diff)
			}
			if slices.ContainsFunc(s.Mounts, func(m v1alpha1.MountUse) bool { return m.Bytes == 0 }) {
				t.Error("an empty mount is listed")
			}
			lacks := func(m v1alpha1.MountUse) bool { return m.Users == nil || m.Snapshot.Message == "" }
			if tc.wantDetails && slices.ContainsFunc(s.Mounts, lacks) {
				t.Errorf("mounts lack details although there is room: %+v", s.Mounts)
			}
		})
	}
}

func TestTheMountsThatMatterMostAreListedFirst(t *testing.T) {
	f := busyFacts(0, 0)
	add := func(id string, bytes int64, saved float64, idle time.Duration) {
		f.Daemon.Seen.MountBytes[id] = bytes
		f.Usage.Mounts[id] = usage.Mount{LastUsed: now.Add(-idle), Uses: 1}
		if saved > 0 {
			f.Usage.SavedSeconds[id] = saved
		}
	}
	add("ns/saves-much", 1<<20, 900, time.Minute)
	add("ns/saves-much-long-ago", 1<<20, 900, 300*time.Hour)
	add("ns/saves-little", 1<<20, 20, time.Minute)
	add("ns/large", 1<<40, 0, time.Minute)
	add("ns/small", 1<<20, 0, time.Minute)
	add("ns/empty", 0, 900, time.Minute)
	add("ns/folder-only", 4096, 900, time.Minute)
	var got []string
	for _, m := range described(f).Status.Mounts {
		got = append(got, m.ID)
	}
	want := []string{"ns/large", "ns/saves-much", "ns/saves-little", "ns/saves-much-long-ago", "ns/small"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
}

// TestARestartForgetsNoMounts describes a daemon before its new agent has observed it.
func TestARestartForgetsNoMounts(t *testing.T) {
	for name, tc := range map[string]struct {
		epoch string
		want  int
	}{
		"on the same volume": {"epoch", 9},
		"on another volume":  {"another", 0},
	} {
		t.Run(name, func(t *testing.T) {
			f := busyFacts(10, 20)
			bd := described(f)
			f.Daemon.Seen, f.Usage.Epoch = nil, tc.epoch
			Describe(bd, f)
			if got := len(bd.Status.Mounts); got != tc.want || bd.Status.VolumeEpoch != tc.epoch {
				t.Errorf("%d mounts in epoch %s, want %d", got, bd.Status.VolumeEpoch, tc.want)
			}
		})
	}
}

func TestWhatAChangeIsWorth(t *testing.T) {
	cases := map[string]struct {
		change func(*Facts)
		want   change
	}{
		"nothing": {func(*Facts) {}, none},
		"a key and its mount were used again": {func(f *Facts) {
			f.Usage.Keys[0].LastUsed, f.Usage.Keys[0].WarmSeconds = metav1.NewTime(now), 21
			m := f.Usage.Mounts["ns/mount-0001"]
			m.LastUsed, m.Uses = now, 8
			f.Usage.Mounts["ns/mount-0001"] = m
		}, minor},
		"the order of keys": {func(f *Facts) {
			f.Usage.Keys[0], f.Usage.Keys[1] = f.Usage.Keys[1], f.Usage.Keys[0]
		}, minor},
		"a build begins": {func(f *Facts) { f.Builds.Running++ }, minor},
		"the next eviction": {func(f *Facts) {
			f.Daemon.NextEviction = &v1alpha1.NextEviction{ID: "ns/mount-0001"}
		}, minor},
		"a mount grows":    {func(f *Facts) { f.Daemon.Seen.MountBytes["ns/mount-0001"] += 1 << 20 }, minor},
		"the volume grows": {func(f *Facts) { f.Daemon.Volume.CapacityBytes = 1 << 40 }, major},
		"a mount is gone":  {func(f *Facts) { delete(f.Daemon.Seen.MountBytes, "ns/mount-0001") }, major},
		"a new key":        {func(f *Facts) { f.Usage.Keys[0].Key = "new" }, major},
		"a snapshot is pushed": {func(f *Facts) {
			f.Snapshots["ns/mount-0001"] = snapshot.Entry{Outcome: v1alpha1.SnapshotPushed, Tried: now}
		}, major},
		"the daemon is gone":   {func(f *Facts) { f.Daemon.Unreached = errors.New("EOF") }, urgent},
		"the agent drains":     {func(f *Facts) { f.Builds.Draining = true }, urgent},
		"the volume is new":    {func(f *Facts) { f.Usage.Epoch = "another" }, urgent},
		"another agent begins": {func(f *Facts) { f.AgentID = "pod/other" }, urgent},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			before := described(busyFacts(3, 13))
			f := busyFacts(3, 13)
			tc.change(&f)
			after := before.DeepCopy()
			Describe(after, f)
			if got := changeOf(&before.Status, &after.Status); got != tc.want {
				t.Errorf("the change is %d, want %d:\n%s", got, tc.want, cmp.Diff(before.Status, after.Status))
			}
		})
	}
}

func TestWritesAreSpreadOverTime(t *testing.T) {
	cases := map[string]struct {
		sinceWrite time.Duration // 0 for never
		change     change
		want       time.Duration
	}{
		"the first change settles":              {0, major, settleTime},
		"an urgent change waits for nothing":    {time.Millisecond, urgent, 0},
		"a major change rests":                  {2 * time.Second, major, restTime - 2*time.Second},
		"a minor change rests longer":           {2 * time.Second, minor, minorRestTime - 2*time.Second},
		"after a long rest a change settles":    {time.Hour, minor, settleTime},
		"without a change there is a next time": {time.Second, none, checkEvery},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var p pace
			if tc.sinceWrite > 0 {
				p.wrote(now.Add(-tc.sinceWrite))
			}
			got := p.due(tc.change, now)
			if got != tc.want {
				t.Errorf("the change waits %s, want %s", got, tc.want)
			}
			if again := p.due(tc.change, now.Add(got)); tc.change != none && again != 0 {
				t.Errorf("after that the change waits another %s", again)
			}
		})
	}
}

func TestRequestsThatWereTakenBackAreNotReported(t *testing.T) {
	at, later := metav1.NewTime(now), metav1.NewTime(now.Add(time.Minute))
	end := func(id string, at metav1.Time) v1alpha1.PrefetchStatus {
		return v1alpha1.PrefetchStatus{PrimeStatus: v1alpha1.PrimeStatus{ID: id}, RequestedAt: at}
	}
	f := busyFacts(0, 0)
	f.Prefetched = []v1alpha1.PrefetchStatus{end("ns/b", at), end("ns/a", at), end("ns/back", at), end("ns/anew", at)}
	bd := testbuild.BuildDaemon("ns", "cache", 0, func(bd *v1alpha1.BuildDaemon) {
		bd.Spec.Prefetch = []v1alpha1.PrefetchRequest{
			{ID: "ns/a", RequestedAt: at}, {ID: "ns/b", RequestedAt: at}, {ID: "ns/anew", RequestedAt: later},
		}
	})
	Describe(bd, f)
	if diff := cmp.Diff([]v1alpha1.PrefetchStatus{end("ns/a", at), end("ns/b", at)}, bd.Status.Prefetch); diff != "" {
		t.Errorf("prefetch (-want +got):\n%s", diff)
	}
}
