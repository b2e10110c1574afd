// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"slices"
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/scheduler"
)

// daemonState is what is known of a daemon. Exported fields are learned.
type daemonState struct {
	Name string   `json:"name"`
	Pull pullRate `json:"pull,omitzero"`
	// EvictSecondsPerGB is what later builds lose by each GB that is evicted there, as of the last sweep.
	EvictSecondsPerGB float64 `json:"evictSecondsPerGB,omitempty"`
	// Unreported copies, oldest first.
	Unreported []unreportedCopy `json:"unreported,omitempty"`
	// Served is set if it took builds, or was cordoned only, when it was last observed. Away is set while it does not
	// and is expected back.
	Served bool     `json:"served,omitempty"`
	Away   *absence `json:"away,omitempty"`

	object  *v1alpha1.BuildDaemon // nil for one that is gone
	version string
	cycle   uint64 // in which it was last observed
	dirty   bool   // is, view and ledger are out of date
	is      scheduler.Daemon
	bound   []boundBuild
	noted   []scheduler.KeyID // whose copies the ledger has for it
	keptFor string            // the UID of the isolated build that it is kept free for, empty for none
}

// unreportedCopy is a copy that a build has just made or used, which its daemon may not have reported yet.
type unreportedCopy struct {
	Key   scheduler.KeyID `json:"key,string"`
	Epoch string          `json:"epoch"`
	At    time.Time       `json:"at"`
}

// reportWithin is how long a daemon may take to report a key after a build of it has ended.
const reportWithin = time.Minute

// daemon finds or makes an entry.
func (s *State) daemon(name string) *daemonState {
	d := s.daemons[name]
	if d == nil {
		d = &daemonState{Name: name}
		s.daemons[name] = d
	}
	return d
}

// observeDaemons takes in daemons that are new, changed or gone.
func (s *State) observeDaemons(obs *Observation) {
	s.cycle++
	changed := false
	for _, o := range obs.Daemons {
		d := s.daemon(o.Name)
		if id := s.identity.daemon(o); d.object == nil || d.is.ID != id {
			s.forget(d)
			changed, d.dirty, d.is.ID = true, true, id
		}
		if d.version == "" || d.version != o.ResourceVersion {
			d.version, d.dirty = o.ResourceVersion, true
			s.observeSnapshots(o)
		}
		d.object, d.cycle = o, s.cycle
		s.observeAbsence(d)
	}
	for _, name := range obs.RemovedDaemons {
		if d := s.daemons[name]; d != nil && d.object != nil {
			s.dropDaemon(d)
			changed = true
		}
	}
	if obs.Full { // also of those that were gone before, or were restored
		for _, d := range s.daemons {
			if d.cycle != s.cycle {
				changed = changed || d.object != nil
				s.dropDaemon(d)
			}
		}
	}
	if changed {
		s.updateMembers()
	}
}

// updateMembers lists the daemons that exist, and has the view made anew.
func (s *State) updateMembers() {
	s.view, s.members = nil, nil
	for _, d := range s.daemons {
		if d.object != nil {
			s.members = append(s.members, d)
		}
	}
	slices.SortFunc(s.members, func(a, b *daemonState) int { return cmp.Compare(a.Name, b.Name) })
}

// dropDaemon forgets a daemon that is gone, but not the builds that are bound to it.
func (s *State) dropDaemon(d *daemonState) {
	s.forget(d)
	d.object, d.Unreported, d.version, d.Served, d.Away = nil, nil, "", false, nil
	if len(d.bound) == 0 {
		delete(s.daemons, d.Name)
	}
}

// expireUnreported drops copies that were made so long ago that their daemons have reported them or never will.
func (s *State) expireUnreported() {
	for _, d := range s.members {
		for len(d.Unreported) > 0 && s.now.Sub(d.Unreported[0].At) > reportWithin {
			d.Unreported, d.dirty = d.Unreported[1:], true
		}
	}
}

// daemonOf describes a daemon without its builds.
func (s *State) daemonOf(d *v1alpha1.BuildDaemon) scheduler.Daemon {
	out := scheduler.Daemon{
		ID:          s.identity.daemon(d),
		Name:        d.Name,
		Phase:       phase(d),
		Epoch:       scheduler.EpochOf(d.Status.VolumeEpoch),
		Slots:       s.cache.Spec.BuildKit.MaxConcurrentBuilds,
		VolumeBytes: d.Status.CapacityBytes,
		FreeBytes:   roomBytes(&d.Status),
	}
	for _, p := range d.Status.Platforms {
		out.Platforms = append(out.Platforms, normalPlatform(p))
	}
	if len(out.Platforms) == 0 && d.Status.Platform != "" {
		out.Platforms = []string{normalPlatform(d.Status.Platform)} // as agents of earlier versions report it
	}
	return out
}

// normalPlatform is a platform in its most common spelling: without the variant that an architecture has anyway. An
// arm without one is v7.
func normalPlatform(p string) string {
	switch p {
	case "linux/amd64/v1", "linux/arm64/v8":
		return p[:len(p)-len("/v1")]
	case "linux/arm":
		return "linux/arm/v7"
	default:
		return p
	}
}

// phase translates a daemon's phase. One that was scaled away and is wanted again is on its way up.
func phase(d *v1alpha1.BuildDaemon) scheduler.Phase {
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

// noteCopies puts the copies that a daemon reports, and those that builds have made there lately, into the ledger.
func (s *State) noteCopies(d *daemonState) {
	status := &d.object.Status
	put := func(key scheduler.KeyID, c scheduler.Copy) {
		c.Daemon, c.Epoch, c.State = d.is.ID, d.is.Epoch, scheduler.Confirmed
		s.ledger.Restore(key, c)
		if known := s.keys[key]; known != nil {
			s.ledger.Advance(key, known.Version)
		}
		d.noted = append(d.noted, key)
	}
	for _, c := range d.Unreported {
		if c.Epoch == status.VolumeEpoch {
			put(c.Key, scheduler.Copy{Version: s.versionOf(c.Key, d.Name), UsedAtSeconds: seconds(c.At)})
		}
	}
	for i := range status.Keys {
		use := &status.Keys[i]
		key := s.key(use.Key)
		put(key, scheduler.Copy{Version: s.versionOf(key, d.Name), UsedAtSeconds: seconds(use.LastUsed.Time)})
	}
	for i := range status.Mounts {
		use := &status.Mounts[i]
		c := scheduler.Copy{Bytes: use.Bytes}
		if use.LastUsed != nil {
			c.UsedAtSeconds = seconds(use.LastUsed.Time)
		}
		put(s.mount(use.ID), c)
	}
}

// roomBytes is the space on a daemon's volume until its agent evicts a cache mount: within the bound of all mounts
// together, and without the space that is kept free. An agent that has just started reports no bounds.
func roomBytes(s *v1alpha1.BuildDaemonStatus) int64 {
	room := s.CapacityBytes - s.UsedBytes
	if s.GC != nil {
		room = min(room-s.GC.FreeBytes, s.GC.MountsBudgetBytes-s.GC.MountsBytes)
	}
	return max(room, 0)
}
