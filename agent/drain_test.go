// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/agent"
	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
)

// withSnapshots gives all mounts a snapshot policy, and the BuildCache a registry that holds nothing.
func withSnapshots(t *testing.T) func(*v1alpha1.BuildCache) {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	return func(c *v1alpha1.BuildCache) {
		c.Spec.Registry = &v1alpha1.RegistryCacheSpec{Repository: strings.TrimPrefix(server.URL, "http://") + "/cache"}
		c.Spec.Mounts = []v1alpha1.MountPolicy{{ID: "*", Snapshot: &v1alpha1.MountSnapshotSpec{}}}
	}
}

// using is a build that uses a mount of the daemon, which holds it from then on, and that ends when ended is closed;
// nil ends it at once.
func (h *holder) using(ns, id string, begun, ended chan struct{}) func(context.Context,
	*daemon.Job) (*daemon.Outcome, error) {
	return func(ctx context.Context, job *daemon.Job) (*daemon.Outcome, error) {
		used := []daemon.Mount{{ID: ns + "/" + id, Target: "/c", Sharing: "shared"}}
		job.Prepare(ctx, used)
		seen, err := h.Observe(ctx)
		if _, held := seen.MountBytes[used[0].ID]; !held {
			h.put(ns, id, 7)
		}
		if ended != nil {
			close(begun)
			<-ended
		}
		return &daemon.Outcome{Total: 1, Mounts: used}, err
	}
}

// taken are the mounts that were snapshotted, in that order.
func (f *fakeBuilder) taken() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.snapshots)
}

// withCopier gives the agent a program to copy mounts with, which the fake daemon never runs.
func withCopier(t *testing.T) func(*agent.Options) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mountcopy")
	if err := os.WriteFile(path, []byte("program"), 0o755); err != nil {
		t.Fatal(err)
	}
	return func(o *agent.Options) { o.CopierPath = path }
}

// took waits until just these mounts were snapshotted.
func (w *world) took(h *holder, want ...string) {
	w.t.Helper()
	envtestkit.Eventually(w.t, func() error {
		if got := h.taken(); !slices.Equal(got, want) {
			return fmt.Errorf("snapshots of %q were made, want %q", got, want)
		}
		return nil
	})
}

func TestASnapshotIsMadeWhenAnAnnotationAsks(t *testing.T) {
	t.Parallel()
	for name, asked := range map[string]client.Object{"on the BuildCache": &v1alpha1.BuildCache{},
		"on the BuildDaemon": &v1alpha1.BuildDaemon{}} {
		t.Run(name, func(t *testing.T) {
			w, h := newWorld(t, withSnapshots(t)), &holder{}
			id := w.ns + "/go"
			h.builds = map[string]func(context.Context, *daemon.Job) (*daemon.Outcome, error){"program": h.using(w.ns,
				"go", nil, nil)}
			w.start(h, "pod", withCopier(t))
			b := w.bind("b", "program")
			w.eventually(b, "it is done", status.IsFinal)
			if p := b.Status.Prime; len(p) != 1 || p[0].ID != id || p[0].Outcome != v1alpha1.PrimeNoSnapshot {
				t.Errorf("prime is %+v, want no snapshot of %s", p, id)
			}
			if got := h.taken(); len(got) > 0 {
				t.Errorf("snapshots were made although nobody asked for one: %q", got)
			}
			key := client.ObjectKey{Namespace: w.ns, Name: "cache"}
			if _, daemon := asked.(*v1alpha1.BuildDaemon); daemon {
				key.Name = "cache-0"
			}
			if err := w.Client.Get(t.Context(), key, asked); err != nil {
				t.Fatal(err)
			}
			before := asked.DeepCopyObject().(client.Object)
			asked.SetAnnotations(map[string]string{v1alpha1.AnnotationSnapshotAt: "now"})
			if err := w.Client.Patch(t.Context(), asked, client.MergeFrom(before)); err != nil {
				t.Fatal(err)
			}
			w.took(h, id)
			w.snapshotReported(id)
		})
	}
}

// snapshotReported waits until the daemon reports the fake snapshot of a mount.
func (w *world) snapshotReported(id string) {
	w.t.Helper()
	envtestkit.Eventually(w.t, func() error {
		bd := &v1alpha1.BuildDaemon{}
		if err := w.Client.Get(w.t.Context(), client.ObjectKey{Namespace: w.ns, Name: "cache-0"}, bd); err != nil {
			return err
		}
		for _, m := range bd.Status.Mounts {
			if s := m.Snapshot; m.ID == id && s != nil && s.Outcome == v1alpha1.SnapshotPushed &&
				s.Digest == "sha256:tree" && s.Bytes == 7 {
				return nil
			}
		}
		return fmt.Errorf("no snapshot of %s among %+v", id, bd.Status.Mounts)
	})
}

// TestADrainSnapshotsIdleMountsFirst shuts the agent down while a build runs: the mount of an earlier build does not
// wait for it, its own does.
func TestADrainSnapshotsIdleMountsFirst(t *testing.T) {
	t.Parallel()
	w, h := newWorld(t, withSnapshots(t)), &holder{}
	begun, ended := make(chan struct{}), make(chan struct{})
	h.builds = map[string]func(context.Context, *daemon.Job) (*daemon.Outcome, error){
		"idle": h.using(w.ns, "idle", nil, nil), "busy": h.using(w.ns, "busy", begun, ended),
	}
	stop := w.start(h, "pod", withCopier(t))
	w.eventually(w.bind("idle", "idle"), "it is done", status.IsFinal)
	busy := w.bind("busy", "busy")
	await(t, begun, "the second build")
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	w.took(h, w.ns+"/idle")
	w.snapshotReported(w.ns + "/idle")
	close(ended)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	w.took(h, w.ns+"/idle", w.ns+"/busy")
	w.snapshotReported(w.ns + "/busy")
	w.eventually(busy, "it is done", status.IsFinal)
}
