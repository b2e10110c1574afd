// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/gc"
	"github.com/openllb/hlb-operator/agent/lease"
	"github.com/openllb/hlb-operator/agent/ledger"
	"github.com/openllb/hlb-operator/agent/snapshot"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/write"
)

// pingEvery is how soon a daemon that went away is noticed; a ping over the unix socket takes two milliseconds.
const pingEvery = 5 * time.Second

// pingTimeout bounds a ping: a daemon that does not answer for so long can't be given builds.
const pingTimeout = 10 * time.Second

// settleTime is how long changes are gathered before they are written: a build begins and ends, and others do, and
// all of it is one write.
const settleTime = time.Second

// restTime is the least time between two writes of gathered changes. A daemon whose builds take a second would write
// every second otherwise, and a hundred of them keep an API server busy; the manager knows from the builds themselves
// what they have made.
const restTime = 5 * time.Second

// inventory keeps the BuildDaemon's status in step with the daemon.
type inventory struct {
	opts      Options
	me        self
	client    client.Client // reads from the cache
	live      client.Reader
	daemon    Builder
	ledger    *ledger.Ledger
	snapshots *snapshot.State
	prefetch  *prefetcher
	sizing    *mountSizing
	peers     *peers
	lease     *lease.Keeper
	load      func() (running int, draining bool)
	isolation v1alpha1.Isolation
	cleaned   func() *metav1.Condition // how the last clean-up of the registry went, nil for none
	events    events.EventRecorder
	log       logr.Logger
	now       func() time.Time

	kicks chan struct{}

	refreshing sync.Mutex // one look at a time
	mu         sync.Mutex
	seen       *daemon.Observation // nil before the first look
	looked     time.Time           // when that look began
	unreached  error               // why the daemon does not answer, nil when it does
	volume     gc.Volume
	budget     gc.Budget // of the volume at the last look; zero before it, or while the BuildCache can't be read
	lastPrune  *v1alpha1.PruneStatus

	writing sync.Mutex // one write at a time
	mine    ownWrites
}

// ownWrites are the latest versions of the BuildDaemon that were read and written here. The cache may still show one
// of those before the last: an API server that is busy sends watch events late, and a patch on top of such a version
// would be refused.
type ownWrites struct {
	last  *v1alpha1.BuildDaemon // as the last write left it
	stale []string              // versions that the last write replaced, oldest first
}

// keptStale bounds ownWrites.stale: writes are seconds apart, and no cache is minutes late.
const keptStale = 16

// wrote notes a write on top of a version.
func (o *ownWrites) wrote(before string, after *v1alpha1.BuildDaemon) {
	o.stale = append(o.stale, before)
	o.stale = o.stale[max(0, len(o.stale)-keptStale):]
	o.last = after.DeepCopy()
}

// newer is bd, or what was written after it here.
func (o *ownWrites) newer(bd *v1alpha1.BuildDaemon) *v1alpha1.BuildDaemon {
	if o.last != nil && o.last.UID == bd.UID && slices.Contains(o.stale, bd.ResourceVersion) {
		return o.last.DeepCopy()
	}
	return bd
}

// run keeps the status until ctx is done.
func (i *inventory) run(ctx context.Context) {
	pings, looks, settled := time.NewTicker(pingEvery), time.NewTicker(i.opts.ObserveEvery), time.NewTimer(0)
	defer pings.Stop()
	defer looks.Stop()
	defer settled.Stop()
	i.refresh(ctx)
	var gathered time.Time // when changes were last gathered and written
	for {
		select {
		case <-ctx.Done():
			return
		case <-looks.C:
			i.refresh(ctx)
		case <-pings.C:
			i.update(ctx)
		case <-i.kicks:
			settled.Reset(max(settleTime, time.Until(gathered.Add(restTime))))
			select { // the kicks of this time are one
			case <-ctx.Done():
				return
			case <-settled.C:
			}
			i.update(ctx)
			gathered = time.Now()
		}
	}
}

// kick has the status brought up to date soon. It does not block.
func (i *inventory) kick() {
	select {
	case i.kicks <- struct{}{}:
	default: // one is due anyway
	}
}

// refresh looks at all of the daemon and writes what has changed.
func (i *inventory) refresh(ctx context.Context) {
	i.look(ctx)
	i.write(ctx)
}

// look looks at all of the daemon, prunes what is due, and writes nothing.
func (i *inventory) look(ctx context.Context) {
	i.refreshing.Lock()
	defer i.refreshing.Unlock()
	began, hadBuilds := i.now(), !i.ledger.IsEmpty()
	seen, err := i.daemon.Observe(ctx)
	if err == nil && hadBuilds {
		i.checkEpoch(seen)
	}
	i.note(seen, err)
	if err == nil {
		i.correctLedger(seen, began)
		i.collect(ctx, seen)
	}
}

// update asks only whether the daemon answers and how full the volume is, and writes what has changed. The first
// answer after a silence is followed by a whole look, since the daemon may come back with another cache; so is a
// volume with less free than it should have.
func (i *inventory) update(ctx context.Context) {
	wasServing := i.isServing()
	ping, cancel := context.WithTimeout(ctx, pingTimeout)
	err := i.daemon.Ping(ping)
	cancel()
	if err == nil && !wasServing {
		i.refresh(ctx)
		return
	}
	i.note(nil, err)
	if err == nil && i.isShort() {
		i.refresh(ctx) // which prunes
		return
	}
	i.write(ctx)
}

// checkEpoch begins a new epoch when the cache is empty although the ledger had builds before the look: somebody has
// reset it.
func (i *inventory) checkEpoch(seen *daemon.Observation) {
	if seen.Records > 0 {
		return
	}
	if err := i.ledger.Reset(); err != nil {
		i.log.Info("The ledger was not written", "reason", err.Error())
	}
	i.log.Info("The daemon's cache is empty, so a new epoch begins", "volumeEpoch", i.ledger.Epoch())
}

func (i *inventory) note(seen *daemon.Observation, err error) {
	used, volumeErr := volumeAt(i.opts.StateDir)
	if volumeErr != nil {
		i.log.Info("Can't read how full the volume is", "reason", volumeErr.Error())
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if seen != nil {
		i.seen = seen
	}
	if err != nil && i.unreached == nil {
		i.log.Info("The daemon does not answer", "reason", err.Error())
	}
	i.unreached = err
	if volumeErr == nil {
		i.volume = used
	}
}

// isServing says whether the daemon answered when last asked, and was looked at before.
func (i *inventory) isServing() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.seen != nil && i.unreached == nil
}

// mountBytes are the cache mounts that the daemon held at the last look, with what they took then, and those that
// builds have had since, with 0 when they are new. Those that are still being brought in ahead of builds are not
// among them. The map is the caller's.
func (i *inventory) mountBytes() map[string]int64 {
	i.mu.Lock()
	held, looked := map[string]int64{}, i.looked
	if i.seen != nil {
		maps.Copy(held, i.seen.MountBytes)
	}
	i.mu.Unlock()
	for _, id := range i.ledger.MountsSince(looked) {
		held[id] = max(held[id], 0)
	}
	maps.DeleteFunc(held, func(id string, _ int64) bool { return i.snapshots.IsUnfilled(id) })
	return held
}

// isVolumeFull says whether the volume has no room for a step now.
func (i *inventory) isVolumeFull() bool {
	v, err := volumeAt(i.opts.StateDir)
	return err == nil && isFull(v)
}

// write brings the BuildDaemon's status up to date. Without the Lease nothing is written; the next ping tries again,
// as it does after an error.
func (i *inventory) write(ctx context.Context) {
	if _, held := i.lease.Session(); !held {
		return
	}
	i.writing.Lock()
	defer i.writing.Unlock()
	bd := &v1alpha1.BuildDaemon{}
	if err := i.client.Get(ctx, i.name(), bd); err != nil {
		if !apierrors.IsNotFound(err) { // the manager has yet to make it, and its coming wakes us
			i.log.Info("Can't read the BuildDaemon", "reason", err.Error())
		}
		return
	}
	cache := i.buildCache(ctx)
	writer := &write.Writer{Client: i.client, Live: i.live, Events: i.events}
	alive := func(*v1alpha1.BuildDaemon) bool { return ctx.Err() == nil }
	done, err := write.Reread(ctx, writer, i.mine.newer(bd), alive, func(bd *v1alpha1.BuildDaemon) {
		i.describe(bd, cache)
	})
	switch {
	case err != nil && ctx.Err() == nil:
		i.log.Info("Can't write the BuildDaemon's status", "reason", err.Error())
	case done.Outcome == write.Written:
		i.mine.wrote(done.Before.ResourceVersion, done.After)
	}
}

// name is the BuildDaemon's.
func (i *inventory) name() types.NamespacedName {
	return types.NamespacedName{Namespace: i.opts.Namespace, Name: i.opts.Daemon}
}

// hasLooked says whether the daemon was looked at.
func (i *inventory) hasLooked() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.seen != nil
}

// buildCache is the daemon's BuildCache, nil when it can't be read.
func (i *inventory) buildCache(ctx context.Context) *v1alpha1.BuildCache {
	cache := &v1alpha1.BuildCache{}
	if err := i.client.Get(ctx, types.NamespacedName{Namespace: i.opts.Namespace, Name: i.opts.Cache}, cache); err != nil {
		return nil
	}
	return cache
}
