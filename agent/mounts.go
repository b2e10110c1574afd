// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/inputs"
	"github.com/openllb/hlb-operator/agent/snapshot"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/internal/write"
)

// snapshotEvery is how often the agent asks itself whether a snapshot is due.
const snapshotEvery = 2 * time.Second

// snapshotTimeout bounds one snapshot, so that a registry that hangs does not keep all others from theirs.
const snapshotTimeout = 30 * time.Minute

// mounts makes the snapshots of the daemon's cache mounts and has fresh ones primed.
type mounts struct {
	*snapshot.Maker
	inventory *inventory
	taking    sync.Mutex // one snapshot at a time
}

func newMounts(w *worker) *mounts {
	state := snapshot.OpenState(filepath.Join(w.opts.StateDir, "snapshots.json"), w.ledger.Epoch())
	return &mounts{inventory: w.inventory, Maker: &snapshot.Maker{
		Namespace: w.opts.Namespace, Daemon: w.opts.Daemon, Copier: w.builder, State: state, ProgramPath: w.opts.CopierPath, Now: w.now,
		DockerConfig: func(ctx context.Context, cache *v1alpha1.BuildCache) ([]byte, error) {
			return inputs.DockerConfig(ctx, w.live, w.opts.Namespace, cache.Spec.Registry)
		},
		LastUsed: func(id string) time.Time {
			m, _ := w.ledger.Mount(id)
			return m.LastUsed
		},
		Position: func(id string) string {
			m, _ := w.ledger.Mount(id)
			return fmt.Sprintf("%s/%d", w.ledger.Epoch(), m.Uses)
		},
	}}
}

// run makes snapshots that are due until ctx is done.
func (m *mounts) run(ctx context.Context) {
	looks := time.NewTicker(snapshotEvery)
	defer looks.Stop()
	for {
		m.look(ctx) // at once: what was asked for before there were mounts is no request
		select {
		case <-ctx.Done():
			return
		case <-looks.C:
		}
	}
}

// look makes the snapshots that are due, one after the other.
func (m *mounts) look(ctx context.Context) {
	cache, bd := m.inventory.buildCache(ctx), &v1alpha1.BuildDaemon{}
	if cache == nil || m.inventory.client.Get(ctx, m.inventory.name(), bd) != nil {
		return
	}
	m.must(m.State.Ask(requestOf(cache, bd)))
	if _, held := m.inventory.lease.Session(); !held || !m.inventory.isServing() {
		return
	}
	m.must(m.State.Keep(m.inventory.mountBytes))
	for _, id := range m.Due(cache) {
		m.take(ctx, cache, bd, id)
	}
}

// requestOf is the annotations that ask for snapshots, empty when there is none.
func requestOf(cache *v1alpha1.BuildCache, bd *v1alpha1.BuildDaemon) string {
	all, one := cache.Annotations[v1alpha1.AnnotationSnapshotAt], bd.Annotations[v1alpha1.AnnotationSnapshotAt]
	if all == "" && one == "" {
		return ""
	}
	return all + "|" + one
}

// drain makes the snapshots that the shutdown of the daemon asks for, as far as they come before ctx is done.
func (m *mounts) drain(ctx context.Context) {
	cache, bd := m.inventory.buildCache(ctx), &v1alpha1.BuildDaemon{}
	if cache == nil || m.inventory.client.Get(ctx, m.inventory.name(), bd) != nil {
		return
	}
	for _, id := range m.Hot(cache) {
		m.take(ctx, cache, bd, id)
	}
	m.inventory.write(ctx)
}

func (m *mounts) take(ctx context.Context, cache *v1alpha1.BuildCache, bd *v1alpha1.BuildDaemon, id string) {
	m.taking.Lock()
	defer m.taking.Unlock()
	ctx, cancel := context.WithTimeout(ctx, snapshotTimeout)
	defer cancel()
	before, _ := m.State.Entry(id)
	after, err := m.Take(ctx, cache, id)
	m.must(err)
	m.inventory.kick()
	m.inventory.log.V(1).
		Info("Snapshot of a cache mount", "mount", id, "outcome", after.Outcome, "reason", after.Message)
	write.Send(m.inventory.events, snapshotEvents(bd, id, before, after)...)
}

// snapshotEvents lists the events of a snapshot that was tried.
func snapshotEvents(bd *v1alpha1.BuildDaemon, id string, before, after snapshot.Entry) []write.Event {
	switch {
	case after.Outcome == v1alpha1.SnapshotPushed:
		out := []write.Event{write.SnapshotPushed(bd, id, after.Bytes, after.Ref)}
		if after.Message != "" {
			out = append(out, write.SnapshotTrouble(bd, id, v1alpha1.ReasonSnapshotCleanUpFailed, after.Message))
		}
		return out
	case after.Overdue && !before.Overdue:
		note := fmt.Sprintf("No snapshot of cache mount %s for an hour: %s", id, after.Message)
		return []write.Event{write.SnapshotTrouble(bd, id, v1alpha1.ReasonSnapshotOverdue, note)}
	case after.Outcome == before.Outcome && after.Message == before.Message:
	case after.Outcome == v1alpha1.SnapshotFailed, after.Outcome == v1alpha1.SnapshotTooLarge:
		note := fmt.Sprintf("No snapshot of cache mount %s: %s", id, after.Message)
		return []write.Event{write.SnapshotTrouble(bd, id, v1alpha1.ReasonSnapshotFailed, note)}
	}
	return nil
}

// must logs that the state was not written, which costs a snapshot too many at worst.
func (m *mounts) must(err error) {
	if err != nil {
		m.inventory.log.Info("The state of snapshots was not written", "reason", err.Error())
	}
}

// snapshotStatus describes the last snapshot of a mount, nil for none.
func snapshotStatus(state *snapshot.State, id string) *v1alpha1.MountSnapshotStatus {
	e, known := state.Entry(id)
	if !known || e.Outcome == "" {
		return nil
	}
	return &v1alpha1.MountSnapshotStatus{
		Outcome: e.Outcome, Time: metav1.NewTime(e.Tried.Truncate(time.Second)), Message: status.Clip(e.Message, 512),
		Ref: e.Ref, Digest: e.Digest, Bytes: e.Bytes, DurationSeconds: int32((e.Took + time.Second - 1) / time.Second),
	}
}

// prepare primes the mounts of a build that has compiled.
func (t *task) prepare(ctx context.Context, used []daemon.Mount) {
	t.uses = snapshot.Sharing(used)
	var err error
	t.primed, err = t.mounts.Begin(ctx, t.cache, t.epoch, used, t.held, t.refresh)
	t.mounts.must(err)
}

// letGoOfMounts notes how the build ended, if it came to use mounts.
func (t *task) letGoOfMounts(succeeded bool) {
	if t.uses != nil {
		t.mounts.must(t.mounts.State.End(t.uses, succeeded))
	}
}
