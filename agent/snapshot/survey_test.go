// SPDX-License-Identifier: Apache-2.0

package snapshot_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

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
	calls atomic.Int32
}

func (c *countingSnapshots) Snapshot(
	ctx context.Context, m *daemon.MountCopy,
) (mountcopy.Result, string, error) {
	c.calls.Add(1)
	return c.Copier.Snapshot(ctx, m)
}

// TestManyEmptyMountsTakeOneStep has one of many mounts hold a file without bytes, which takes no room either, and
// three some bytes.
func TestManyEmptyMountsTakeOneStep(t *testing.T) {
	t.Parallel()
	const count = 209
	w := newWorld(t)
	w.cache.Spec.Mounts[0].ID = "*"
	a := w.site("a")
	const fill = "touch /c7/f; for i in 10 20 30; do yes | head -c 1000000 > /c$i/f; done"
	run := []llb.RunOption{llb.Args([]string{"/bin/sh", "-ec", fill})}
	filled := map[string]bool{"ns/7": true, "ns/10": true, "ns/20": true, "ns/30": true}
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
	began := time.Now()
	snapshot.TakeAll(s, t.Context(), w.cache, &v1alpha1.BuildDaemon{}, a.Hot(w.cache))
	t.Logf("snapshots of %d mounts took %.1f s", count, time.Since(began).Seconds())
	for id := range sharing {
		want := v1alpha1.SnapshotEmpty
		if filled[id] {
			want = v1alpha1.SnapshotPushed
		}
		if e, _ := a.State.Entry(id); e.Outcome != want {
			t.Errorf("the snapshot of %s is %s: %s, want %s", id, e.Outcome, e.Message, want)
		}
	}
	if n := steps.calls.Load(); n != int32(len(filled)) {
		t.Errorf("%d mounts were copied, want those with content", n)
	}
}
