// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/buildstatus"
	"github.com/openllb/hlb-operator/scheduler"
)

// fleet is all that placement looks at for one BuildCache, read at one instant.
type fleet struct {
	cache   *v1alpha1.BuildCache
	daemons []v1alpha1.BuildDaemon
	builds  []v1alpha1.HLBBuild // every HLBBuild of the cache
	assumed map[attemptID]string
	memory  *memory
	now     time.Time
}

// attemptID names one attempt of one build.
type attemptID struct {
	uid     string
	run     string
	attempt int32
}

func attemptOf(b *v1alpha1.HLBBuild) attemptID {
	return attemptID{uid: string(b.UID), run: b.Status.Run.ID, attempt: b.Status.Run.Attempt}
}

// seconds puts an instant on the scheduler's clock: Unix seconds.
func seconds(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }

// pool is the name that the daemons' identities are derived from: stable for the life of the BuildCache, different in each namespace.
func (f *fleet) pool() string { return f.cache.Namespace + "/" + f.cache.Name }

// daemonOf is the daemon's stable identity: its ordinal, not its pod.
func (f *fleet) daemonOf(d *v1alpha1.BuildDaemon) scheduler.DaemonID {
	return scheduler.DaemonOf(f.pool(), int(d.Spec.Ordinal))
}

// keyOf is the identity of a cache key in the cache's namespace.
func (f *fleet) keyOf(key string) scheduler.KeyID { return scheduler.KeyOf(f.cache.Namespace, key) }

// view is the fleet as the scheduler sees it, and the queue of builds that want a daemon, in no particular order. queue[i] is about
// waiting[i].
func (f *fleet) view() (view *scheduler.View, queue []scheduler.Request, waiting []*v1alpha1.HLBBuild, err error) {
	f.memory.learn(f)
	ledger := f.ledger()
	bound := map[string][]*v1alpha1.HLBBuild{}
	for i := range f.builds {
		b := &f.builds[i]
		if buildstatus.NeedsRun(b) {
			continue // its next run is about to be opened; the old one no longer counts
		}
		switch {
		case buildstatus.IsBound(b):
			bound[b.Status.Placement.Daemon] = append(bound[b.Status.Placement.Daemon], b)
		case buildstatus.IsWaiting(b):
			if name, assumed := f.assumed[attemptOf(b)]; assumed {
				bound[name] = append(bound[name], b)
				continue
			}
			waiting = append(waiting, b)
			queue = append(queue, f.request(b))
		}
	}
	daemons := make([]scheduler.Daemon, 0, len(f.daemons))
	for i := range f.daemons {
		daemons = append(daemons, f.daemon(&f.daemons[i], bound[f.daemons[i].Name], ledger))
	}
	if view, err = scheduler.NewView(daemons, ledger, seconds(f.now)); err != nil {
		return nil, nil, nil, err
	}
	f.memory.attach(view, queue)
	return view, queue, waiting, nil
}

// ledger is what the daemons report of the keys they hold.
func (f *fleet) ledger() *scheduler.Ledger {
	ledger := scheduler.NewLedger()
	for i := range f.daemons {
		d := &f.daemons[i]
		for _, made := range f.memory.unreported(d, f.now) {
			ledger.Restore(made.key, scheduler.Copy{
				Daemon: f.daemonOf(d), Epoch: scheduler.EpochOf(d.Status.VolumeEpoch), State: scheduler.Confirmed,
				Version: f.memory.versionOf(made.key, d.Name), UsedAtSeconds: seconds(made.at),
			})
		}
		for _, use := range d.Status.Keys {
			key := f.keyOf(use.Key)
			ledger.Restore(key, scheduler.Copy{
				Daemon: f.daemonOf(d), Epoch: scheduler.EpochOf(d.Status.VolumeEpoch), State: scheduler.Confirmed,
				Version: f.memory.versionOf(key, d.Name), UsedAtSeconds: seconds(use.LastUsed.Time),
			})
		}
		for _, m := range d.Status.Mounts {
			c := scheduler.Copy{Daemon: f.daemonOf(d), Epoch: scheduler.EpochOf(d.Status.VolumeEpoch), State: scheduler.Confirmed, Bytes: m.Bytes}
			if m.LastUsed != nil {
				c.UsedAtSeconds = seconds(m.LastUsed.Time)
			}
			ledger.Restore(f.mountKey(m.ID), c)
		}
	}
	return ledger
}

// daemon describes one daemon and notes in the ledger what its bound builds are making.
func (f *fleet) daemon(d *v1alpha1.BuildDaemon, bound []*v1alpha1.HLBBuild, ledger *scheduler.Ledger) scheduler.Daemon {
	out := scheduler.Daemon{
		ID:          f.daemonOf(d),
		Name:        d.Name,
		Phase:       f.phase(d),
		Epoch:       scheduler.EpochOf(d.Status.VolumeEpoch),
		Slots:       f.cache.Spec.BuildKit.MaxConcurrentBuilds,
		VolumeBytes: d.Status.CapacityBytes,
		FreeBytes:   max(d.Status.CapacityBytes-d.Status.UsedBytes, 0),
	}
	if d.Status.Platform != "" {
		out.Platforms = []string{d.Status.Platform}
	}
	for _, b := range bound {
		began := f.now
		if b.Status.Run.StartedAt != nil {
			out.Running++
			began = b.Status.Run.StartedAt.Time
		} else {
			out.Reserved++
		}
		expected := f.memory.expected(f, b)
		ends := seconds(began) + expected
		out.Busy = append(out.Busy, scheduler.Busy{EndsAtSeconds: ends, ExpectedSeconds: expected})
		ledger.Begin(f.keyOf(b.Status.Run.Key), out.ID, out.Epoch, seconds(began), ends, seconds(began)+float64(b.Spec.TimeoutSeconds))
	}
	return out
}

// phase translates a BuildDaemon's conditions.
func (f *fleet) phase(d *v1alpha1.BuildDaemon) scheduler.Phase {
	conditions := d.Status.Conditions
	ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	switch {
	case !d.DeletionTimestamp.IsZero():
		return scheduler.Gone
	case d.Spec.Ordinal >= wantedReplicas(f.cache) && ready != nil && ready.Reason == v1alpha1.ReasonScaledDown:
		return scheduler.Dormant
	case d.Spec.Ordinal >= wantedReplicas(f.cache), meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionDraining):
		return scheduler.Draining // also a surplus daemon whose pod has not been told yet
	case ready == nil || ready.Status != metav1.ConditionTrue:
		return scheduler.NotReady
	case meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionDiskPressure):
		return scheduler.Cordoned
	default:
		return scheduler.Ready
	}
}

// mountKey is the identity of a cache mount, apart from those of cache keys.
func (f *fleet) mountKey(id string) scheduler.KeyID {
	return scheduler.KeyOf(f.cache.Namespace+"\x00mount", id)
}

// keysOf are what a build would profit from: its cache key, and half as much its cache mounts, as far as a build of the key has told of them.
func (f *fleet) keysOf(b *v1alpha1.HLBBuild) []scheduler.KeyUse {
	keys := []scheduler.KeyUse{{ID: f.keyOf(b.Status.Run.Key), Gain: 1}}
	mounts := f.memory.mountsOf(keys[0].ID)
	mounts = mounts[:min(len(mounts), requestMounts)]
	for _, m := range mounts {
		keys = append(keys, scheduler.KeyUse{ID: f.mountKey(m.ID), Gain: 0.5 / float64(len(mounts)), Bytes: m.Bytes})
	}
	return keys
}

// requestMounts bounds the cache mounts that placement weighs: a request has eight keys at most.
const requestMounts = 7

// request describes one waiting build.
func (f *fleet) request(b *v1alpha1.HLBBuild) scheduler.Request {
	r := scheduler.Request{
		UID:        string(b.UID),
		Queue:      b.Spec.Queue,
		Priority:   b.Spec.Priority,
		Keys:       f.keysOf(b),
		AgeSeconds: f.now.Sub(b.Status.Run.QueuedAt.Time).Seconds(),
	}
	r.WarmSeconds, r.ColdSeconds = f.memory.estimates.Expect(r.Keys[0].ID, scopes(b.Spec.Queue), f.memory.params)
	if lost := b.Status.Run.Lost; lost != nil {
		for i := range f.daemons {
			if f.daemons[i].Name == lost.Daemon {
				r.FailedOn = append(r.FailedOn, f.daemonOf(&f.daemons[i]))
			}
		}
	}
	return r
}
