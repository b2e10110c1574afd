// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"time"

	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/scheduler"
)

// fleet is all that placement looks at for one BuildCache, read at one instant. Daemons and builds are the manager's
// cache's own: they are not to be changed.
type fleet struct {
	cache   *v1alpha1.BuildCache
	daemons []v1alpha1.BuildDaemon
	builds  []v1alpha1.HLBBuild // every HLBBuild of the cache
	memory  *memory
	now     time.Time
}

// seconds puts an instant on the scheduler's clock: Unix seconds.
func seconds(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }

// pool is the name that the daemons' identities are derived from: stable for the life of the BuildCache, different in
// each namespace.
func (f *fleet) pool() string { return f.cache.Namespace + "/" + f.cache.Name }

// daemonOf is the daemon's stable identity: its ordinal, not its pod.
func (f *fleet) daemonOf(d *v1alpha1.BuildDaemon) scheduler.DaemonID {
	return scheduler.DaemonOf(f.pool(), int(d.Spec.Ordinal))
}

// keyOf is the identity of a cache key in the cache's namespace.
func (f *fleet) keyOf(key string) scheduler.KeyID { return scheduler.KeyOf(f.cache.Namespace, key) }

// view is the fleet as the scheduler sees it, and the queue of builds that want a daemon, in no particular order.
// queue[i] is about waiting[i]. The view is the memory's own: the next round changes it.
func (f *fleet) view() (view *scheduler.View, queue []scheduler.Request, waiting []inLine, err error) {
	m := f.memory
	waiting = m.learn(f)
	queue = make([]scheduler.Request, len(waiting))
	for i := range waiting {
		queue[i] = f.request(waiting[i].build, waiting[i].known)
	}
	if err := m.refresh(f); err != nil {
		return nil, nil, nil, err
	}
	m.learnOrders(waiting)
	return m.view, queue, waiting, nil
}

// eachCopy tells of the copies that a daemon reports, and of those that builds have made there lately.
func (f *fleet) eachCopy(d *v1alpha1.BuildDaemon, made []madeCopy, tell func(scheduler.KeyID, scheduler.Copy)) {
	daemon, epoch := f.daemonOf(d), scheduler.EpochOf(d.Status.VolumeEpoch)
	for _, c := range made {
		if c.epoch == d.Status.VolumeEpoch {
			tell(
				c.key,
				scheduler.Copy{
					Daemon:        daemon,
					Epoch:         epoch,
					State:         scheduler.Confirmed,
					Version:       f.memory.versionOf(c.key, d.Name),
					UsedAtSeconds: seconds(c.at),
				},
			)
		}
	}
	for i := range d.Status.Keys {
		use := &d.Status.Keys[i]
		key := f.keyOf(use.Key)
		tell(key, scheduler.Copy{
			Daemon: daemon, Epoch: epoch, State: scheduler.Confirmed, Version: f.memory.versionOf(key, d.Name), UsedAtSeconds: seconds(use.LastUsed.Time),
		})
	}
	for i := range d.Status.Mounts {
		use := &d.Status.Mounts[i]
		c := scheduler.Copy{Daemon: daemon, Epoch: epoch, State: scheduler.Confirmed, Bytes: use.Bytes}
		if use.LastUsed != nil {
			c.UsedAtSeconds = seconds(use.LastUsed.Time)
		}
		tell(f.mountKey(use.ID), c)
	}
}

// daemon describes one daemon without the builds it has.
func (f *fleet) daemon(d *v1alpha1.BuildDaemon) scheduler.Daemon {
	out := scheduler.Daemon{
		ID:          f.daemonOf(d),
		Name:        d.Name,
		Phase:       f.phase(d),
		Epoch:       scheduler.EpochOf(d.Status.VolumeEpoch),
		Slots:       f.cache.Spec.BuildKit.MaxConcurrentBuilds,
		VolumeBytes: d.Status.CapacityBytes,
		FreeBytes:   roomBytes(&d.Status),
	}
	for _, p := range d.Status.Platforms {
		out.Platforms = append(out.Platforms, plainPlatform(p))
	}
	if len(out.Platforms) == 0 && d.Status.Platform != "" {
		out.Platforms = []string{plainPlatform(d.Status.Platform)} // as agents of earlier versions report it
	}
	return out
}

// plainPlatform writes a platform as it is most often written: the variant that an architecture has anyway is left
// out, and an arm without one is v7.
func plainPlatform(p string) string {
	switch p {
	case "linux/amd64/v1", "linux/arm64/v8":
		return p[:len(p)-len("/v1")]
	case "linux/arm":
		return "linux/arm/v7"
	default:
		return p
	}
}

// wantedReplicas is spec.replicas with its default.
func wantedReplicas(cache *v1alpha1.BuildCache) int32 { return ptr.Deref(cache.Spec.Replicas, 1) }

// phase translates a daemon's phase. One that was scaled away and is wanted again is on its way up.
func (f *fleet) phase(d *v1alpha1.BuildDaemon) scheduler.Phase {
	switch phase := status.PhaseOfDaemon(d); {
	case phase == status.DaemonDeleting:
		return scheduler.Gone
	case phase == status.DaemonDormant && d.Spec.Suspend:
		return scheduler.Dormant
	case phase == status.DaemonDraining:
		return scheduler.Draining
	case phase == status.DaemonServing:
		return scheduler.Ready
	case phase == status.DaemonCordoned:
		return scheduler.Cordoned
	default:
		return scheduler.NotReady
	}
}

// mountKey is the identity of a cache mount, apart from those of cache keys.
func (f *fleet) mountKey(id string) scheduler.KeyID {
	return scheduler.KeyOf(f.cache.Namespace+"\x00mount", id)
}

// request describes one waiting build.
func (f *fleet) request(b *v1alpha1.HLBBuild, k *knownBuild) scheduler.Request {
	m := f.memory
	if k.demand == nil || k.demand.usedAt.IsZero() {
		k.demand = m.demandOf(f, b)
	} else {
		m.renew(f, k.demand)
	}
	r := scheduler.Request{
		UID:         string(b.UID),
		Queue:       b.Spec.Queue,
		Priority:    b.Spec.Priority,
		Platform:    plainPlatform(b.Spec.Platform()),
		Keys:        k.demand.keys,
		AgeSeconds:  f.now.Sub(b.Status.Run.QueuedAt.Time).Seconds(),
		WarmSeconds: k.demand.warm,
		ColdSeconds: k.demand.cold,
	}
	if lost := b.Status.Run.Lost; lost != nil {
		if d := m.daemons[lost.Daemon]; d != nil && d.at >= 0 {
			r.FailedOn = append(r.FailedOn, f.daemonOf(&f.daemons[d.at]))
		}
	}
	return r
}
