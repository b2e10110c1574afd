// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/openllb/hlb-operator/agent/board"
	"github.com/openllb/hlb-operator/agent/builds"
	"github.com/openllb/hlb-operator/agent/daemonstatus"
	"github.com/openllb/hlb-operator/agent/health"
	"github.com/openllb/hlb-operator/agent/inputs"
	"github.com/openllb/hlb-operator/agent/lease"
	"github.com/openllb/hlb-operator/agent/observer"
	"github.com/openllb/hlb-operator/agent/prefetch"
	"github.com/openllb/hlb-operator/agent/registrycleanup"
	"github.com/openllb/hlb-operator/agent/replicas"
	"github.com/openllb/hlb-operator/agent/retention"
	"github.com/openllb/hlb-operator/agent/run"
	"github.com/openllb/hlb-operator/agent/self"
	"github.com/openllb/hlb-operator/agent/snapshot"
	"github.com/openllb/hlb-operator/agent/stepnet"
	"github.com/openllb/hlb-operator/agent/usage"
	"github.com/openllb/hlb-operator/agent/volume"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/attempt"
)

// files are the agent's state files on the volume.
type files struct {
	usage     *usage.Journal
	sizing    *usage.Sizing
	snapshots *snapshot.State
	firstSeen *retention.FirstSeen
	ends      *run.Ends
}

// openFiles opens the state files in a directory, which it makes if need be. A file that can't be read is begun anew
// and logged; the error is that of writing.
func openFiles(dir string, log logr.Logger) (*files, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	out := &files{}
	journal, lostUsage, err := usage.Open(filepath.Join(dir, "usage.json"), log)
	if err != nil {
		return nil, err
	}
	var lostSizing, lostTags, lostEnds error
	out.usage = journal
	out.sizing, lostSizing = usage.OpenSizing(filepath.Join(dir, "sizing"), log)
	out.snapshots = snapshot.OpenState(filepath.Join(dir, "snapshots.json"), journal.Epoch())
	out.firstSeen, lostTags = retention.OpenFirstSeen(filepath.Join(dir, "retention.json"))
	out.ends, lostEnds = run.OpenEnds(filepath.Join(dir, "ends.json"))
	for _, lost := range []error{lostUsage, lostSizing, out.snapshots.Lost(), lostTags, lostEnds} {
		if lost != nil {
			log.Error(lost, "A state file was lost and is begun anew", "volumeEpoch", journal.Epoch())
		}
	}
	return out, nil
}

// wire makes the parts of an agent, each from those before it.
func wire(
	opts Options, mgr ctrl.Manager, me self.Self, keeper *lease.Keeper, f *files, builder Builder, log logr.Logger,
) (*Agent, error) {
	isolation, err := volume.Isolation()
	if err != nil {
		return nil, err
	}
	network, err := networkOf(opts.NetworkDir)
	if err != nil {
		return nil, err
	}
	facts, events, now := board.New(), mgr.GetEventRecorder("hlb-agent"), time.Now
	cached, live := mgr.GetClient(), mgr.GetAPIReader()
	session := func() attempt.Session {
		_, s := keeper.Session()
		return s
	}
	hasLease := func() bool { return session().IsHeld() }
	watcher := observer.New(observer.Config{
		Self: me, StateDir: opts.StateDir, Every: opts.ObserveEvery, Client: cached, Daemon: builder, Usage: f.usage,
		Snapshots: f.snapshots, Replicas: replicas.New(me, live, now), Board: facts, Events: events, Log: log, Now: now,
		Clock: keeper.Now,
	})
	maker := newMaker(opts, me, f, mgr, builder, now)
	maker.Clock = keeper.Now
	bound := builds.New(me, mgr, log)
	runner := run.New(run.Config{
		Self: me, StateDir: opts.StateDir, DaemonMemoryBytes: opts.DaemonMemoryBytes, Builds: bound, Client: cached,
		Live: live, Lease: keeper, Builder: builder, Daemon: watcher, Maker: maker, Usage: f.usage, Sizing: f.sizing,
		Board: facts, Ends: f.ends, Events: events, Log: log, Now: now,
	})
	prefetcher := &prefetch.Prefetcher{
		Self: me, Client: cached, Daemon: watcher, Maker: maker, Usage: f.usage, Board: facts, HasLease: hasLease,
		IsDraining: runner.IsDraining, Events: events, Log: log, Now: now,
	}
	snapshotter := &snapshot.Snapshotter{
		Maker: maker, Self: me, Client: cached, Daemon: watcher, HasLease: hasLease, RequestSync: facts.RequestSync,
		Events: events, Log: log,
	}
	cleaner := &registrycleanup.Cleaner{
		Self: me, Client: cached, Live: live, HasLease: hasLease, FirstSeen: f.firstSeen, Board: facts, Events: events,
		Log: log, Now: now, Clock: keeper.Now,
	}
	status := &daemonstatus.Writer{
		Self: me, Node: opts.Node, Isolation: isolation, Client: cached, Live: live, Session: session, Board: facts,
		Usage: f.usage, Sizing: f.sizing, Snapshots: f.snapshots, Events: events, Log: log, Now: now, Network: network,
	}
	monitor := health.New(health.Config{
		StateDir: opts.StateDir, RestartFile: opts.RestartFile, Daemon: checks{builder, maker}, Builds: runner,
		Lease: keeper, Publish: facts.SetHealth, Self: me, Client: cached, Events: events,
		Limits: health.DefaultLimits(), Log: log, Now: now,
	})
	a := &Agent{
		opts: opts, mgr: mgr, lease: keeper, observer: watcher, runner: runner, snapshotter: snapshotter,
		status: status, log: log,
	}
	return a, errors.Join(runner.SetUp(mgr), prefetcher.SetUp(mgr), a.addProbes(),
		a.addLoops(bound.Run, runner.DeliverKept, watcher.Run, snapshotter.Run, cleaner.Run, status.Run,
			monitor.Run))
}

// networkOf is what steps have for a network, nil where they were to share the pod's.
func networkOf(dir string) (*stepnet.State, error) {
	if dir == "" {
		return nil, nil
	}
	state, err := stepnet.ReadState(dir)
	return &state, err
}

// checks are those of a daemon's health.
type checks struct {
	Builder
	maker *snapshot.Maker
}

// CheckStep has buildkitd run a step that ends at once.
func (c checks) CheckStep(ctx context.Context) error {
	program, err := c.maker.LoadProgram()
	if err != nil {
		return err
	}
	return c.Builder.CheckStep(ctx, program)
}

// newMaker makes the maker of snapshots.
func newMaker(
	opts Options, me self.Self, f *files, mgr ctrl.Manager, builder Builder, now func() time.Time,
) *snapshot.Maker {
	live := mgr.GetAPIReader()
	return &snapshot.Maker{
		Daemon: me.Daemon, Copier: builder, State: f.snapshots, ProgramPath: opts.CopierPath,
		Now: now,
		DockerConfig: func(ctx context.Context, cache *v1alpha1.BuildCache) ([]byte, error) {
			return inputs.DockerConfig(ctx, live, me.Namespace, cache.Spec.Registry)
		},
		LastUsed: func(id string) time.Time {
			m, _ := f.usage.Mount(id)
			return m.LastUsed
		},
		Position: func(id string) string {
			m, _ := f.usage.Mount(id)
			return fmt.Sprintf("%s/%d", f.usage.Epoch(), m.Uses)
		},
	}
}
