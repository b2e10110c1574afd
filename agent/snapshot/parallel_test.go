// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/mountcopy"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

// slowCopier finds every mount empty, after a while.
type slowCopier struct {
	Copier
	mu               sync.Mutex
	now, most, calls int
	ids              map[string]bool
}

func (c *slowCopier) Snapshot(_ context.Context, m *daemon.MountCopy) (mountcopy.Result, string, error) {
	c.mu.Lock()
	c.now++
	c.calls++
	c.most = max(c.most, c.now)
	if c.ids[m.ID] {
		c.mu.Unlock()
		return mountcopy.Result{}, "", fmt.Errorf("two snapshots of %s at once", m.ID)
	}
	c.ids[m.ID] = true
	c.mu.Unlock()
	time.Sleep(20 * time.Millisecond)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now--
	delete(c.ids, m.ID)
	return mountcopy.Result{Outcome: mountcopy.Empty}, "", nil
}

// Survey finds none empty, so that each is copied.
func (c *slowCopier) Survey(context.Context, []byte, []daemon.Mount) ([]daemon.Mount, error) {
	return nil, nil
}

// TestManyMountsAreCopiedSeveralAtATime asks twice, and from two sides: a mount is copied once, and no two copies of
// one run at once.
func TestManyMountsAreCopiedSeveralAtATime(t *testing.T) {
	t.Parallel()
	const count = 40
	program := filepath.Join(t.TempDir(), "mountcopy")
	if err := os.WriteFile(program, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	copier := &slowCopier{ids: map[string]bool{}}
	m := &Maker{
		Daemon: "a", Copier: copier, ProgramPath: program, Now: time.Now,
		State:        OpenState(filepath.Join(t.TempDir(), "state.json"), "epoch"),
		Position:     func(string) string { return "" },
		DockerConfig: func(context.Context, *v1alpha1.BuildCache) ([]byte, error) { return nil, nil },
	}
	cache := &v1alpha1.BuildCache{ObjectMeta: metav1.ObjectMeta{Namespace: "ns"}, Spec: v1alpha1.BuildCacheSpec{
		Registry: &v1alpha1.RegistryCacheSpec{Repository: buildkittest.StartRegistry(t).Ref("cache")},
		Mounts:   []v1alpha1.MountPolicy{{ID: "*", Snapshot: &v1alpha1.MountSnapshotSpec{}}},
	}}
	sharing, ids := map[string]string{}, []string{}
	for i := range count {
		ids = append(ids, fmt.Sprintf("ns/%d", i))
		sharing[ids[i]] = "shared"
	}
	if _, err := m.State.Begin("epoch", sharing, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := m.State.End(sharing, true); err != nil {
		t.Fatal(err)
	}
	s := &Snapshotter{Maker: m, RequestSync: func() {}, Events: events.NewFakeRecorder(count), Log: logr.Discard()}
	var sides sync.WaitGroup
	for range 2 {
		sides.Go(func() { s.takeAll(t.Context(), cache, &v1alpha1.BuildDaemon{}, ids) })
	}
	sides.Wait()
	if copier.calls != count || copier.most < 2 || copier.most > 2*parallelSnapshots {
		t.Errorf("%d copies of %d mounts, at most %d at a time", copier.calls, count, copier.most)
	}
	for _, id := range ids {
		if e, _ := m.State.Entry(id); e.Outcome != v1alpha1.SnapshotEmpty {
			t.Fatalf("the snapshot of %s is %s: %s", id, e.Outcome, e.Message)
		}
	}
}
