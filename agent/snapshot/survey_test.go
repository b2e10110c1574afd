// SPDX-License-Identifier: Apache-2.0

package snapshot_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/go-logr/logr"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"k8s.io/client-go/tools/events"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/mountcopy"
	"github.com/openllb/hlb-operator/agent/snapshot"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// countingSnapshots counts the steps that copy a mount.
type countingSnapshots struct {
	snapshot.Copier
	calls int
}

func (c *countingSnapshots) Snapshot(
	ctx context.Context, m *daemon.MountCopy,
) (mountcopy.Result, string, error) {
	c.calls++
	return c.Copier.Snapshot(ctx, m)
}

// TestManyEmptyMountsTakeOneStep has one of many mounts hold a file without bytes, which takes no room either.
func TestManyEmptyMountsTakeOneStep(t *testing.T) {
	const count = 120
	w := newWorld(t)
	w.cache.Spec.Mounts[0].ID = "*"
	a := w.site("a")
	run := []llb.RunOption{llb.Args([]string{"/bin/sh", "-ec", "touch /c7/f"})}
	sharing := map[string]string{}
	for i := range count {
		id := fmt.Sprintf("ns/%d", i)
		sharing[id] = "shared"
		run = append(run, llb.AddMount(fmt.Sprintf("/c%d", i), llb.Scratch(),
			llb.AsPersistentCacheDir(id, llb.CacheMountShared)))
	}
	def, err := llb.Image(w.base).Run(run...).Root().Marshal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.State.Begin("epoch", sharing, a.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := a.client.Solve(t.Context(), def, client.SolveOpt{}, nil); err != nil {
		t.Fatal(err)
	}
	if err := a.State.End(sharing, true); err != nil {
		t.Fatal(err)
	}
	steps := &countingSnapshots{Copier: a.Copier}
	a.Copier = steps
	s := &snapshot.Snapshotter{
		Maker: a.Maker, RequestSync: func() {}, Events: events.NewFakeRecorder(count), Log: logr.Discard(),
	}
	snapshot.TakeAll(s, t.Context(), w.cache, &v1alpha1.BuildDaemon{}, a.Hot(w.cache))
	for id := range sharing {
		want := v1alpha1.SnapshotEmpty
		if id == "ns/7" {
			want = v1alpha1.SnapshotPushed
		}
		if e, _ := a.State.Entry(id); e.Outcome != want {
			t.Errorf("the snapshot of %s is %s: %s, want %s", id, e.Outcome, e.Message, want)
		}
	}
	if steps.calls != 1 {
		t.Errorf("%d mounts were copied, want the one with content", steps.calls)
	}
}
