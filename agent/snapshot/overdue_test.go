// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/openllb/hlb-operator/agent/self"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// TestAnOverdueSnapshotIsReportedOnce tries to snapshot a mount that a build uses for hours.
func TestAnOverdueSnapshotIsReportedOnce(t *testing.T) {
	t.Parallel()
	const id = "ns/busy"
	clock, told := envtestkit.NewClock(), &envtestkit.Recorder{}
	state := OpenState(filepath.Join(t.TempDir(), "state.json"), "epoch")
	m := &Snapshotter{
		Maker: &Maker{Daemon: "cache-0", State: state, Now: clock.Now},
		Self:  self.Self{Namespace: "ns", Cache: "cache", Daemon: "cache-0"}, RequestSync: func() {},
		Events: told, Log: logr.Discard(),
	}
	cache := testbuild.BuildCache("ns", "cache", func(c *v1alpha1.BuildCache) {
		c.Spec.Mounts = []v1alpha1.MountPolicy{{ID: "busy", Snapshot: &v1alpha1.MountSnapshotSpec{}}}
	})
	if _, err := state.Begin("epoch", map[string]string{id: "shared"}, clock.Now()); err != nil {
		t.Fatal(err)
	}
	for range 9 { // two hours
		m.take(t.Context(), cache, testbuild.BuildDaemon("ns", "cache", 0), id)
		clock.Step(15 * time.Minute)
	}
	want := []string{v1alpha1.ReasonSnapshotOverdue}
	if got := told.Reasons(); !slices.Equal(got, want) {
		t.Errorf("events are %q, want %q", got, want)
	}
}
