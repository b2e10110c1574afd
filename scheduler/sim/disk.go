// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"slices"

	"github.com/openllb/hlb-operator/internal/eviction"
	"github.com/openllb/hlb-operator/scheduler"
)

// content is the true state of one key: its pushes so far and the copies on volumes.
type content struct {
	version uint32
	push    int
	built   bool // a build ended, so a snapshot exists where the workload has priming
	copies  []contentCopy
}

// contentCopy is a true copy. While making is set, it belongs to the build that makes it and is missing for others.
type contentCopy struct {
	at      int // daemon, by position in the view
	version uint32
	making  bool
	users   int
	endsAt  float64
	bytes   int64
	usedAt  float64
	lengths []programLengths // as its daemon's agent has measured them
}

// programLengths are the lengths of a program's latest builds on one daemon, in seconds; 0: none yet.
type programLengths struct {
	program    int
	cold, warm float64
	keys       int // of the program
}

// measure records the length of a build of a program that used the copy.
func (x *contentCopy) measure(program, keys int, cold bool, seconds float64) {
	at := slices.IndexFunc(x.lengths, func(l programLengths) bool { return l.program == program })
	if at < 0 {
		at = len(x.lengths)
		x.lengths = append(x.lengths, programLengths{program: program, keys: keys})
	}
	if cold {
		x.lengths[at].cold = seconds
	} else {
		x.lengths[at].warm = seconds
	}
}

// savedSeconds returns what the copy saves, as its daemon's agent knows it: the most over programs; 0: unknown.
func (x *contentCopy) savedSeconds() float64 {
	saved := 0.0
	for _, l := range x.lengths {
		saved = max(saved, eviction.SavedSeconds(l.cold, l.warm, l.keys))
	}
	return saved
}

// copyOn returns the copy on a daemon, or nil. The pointer is valid until copies change.
func (c *content) copyOn(at int) *contentCopy {
	for i := range c.copies {
		if c.copies[i].at == at {
			return &c.copies[i]
		}
	}
	return nil
}

// recordBuild records the end of a build of a push, and returns the version of the copy it leaves.
func (c *content) recordBuild(push int) uint32 {
	switch {
	case push > c.push:
		c.push = push
		c.version++
		return c.version
	case push == c.push:
		return c.version
	default:
		return c.version - 1 // a newer push ended before: at best as new as the push before that
	}
}

// stalePerPush is the part of the gain that a copy loses with each push it missed.
const stalePerPush = 0.02

// fresh returns the part of the gain that a copy gives, 0..1.
func (c *content) fresh(x *contentCopy) float64 {
	if x == nil || x.making {
		return 0
	}
	return max(0, 1-stalePerPush*float64(c.version-x.version))
}

// volume is one daemon's disk.
type volume struct {
	used int64
	keys []scheduler.KeyID
}

// content returns the entry of a key and creates it if needed.
func (sim *Simulation) content(key scheduler.KeyID) *content {
	c := sim.contents[key]
	if c == nil {
		c = &content{}
		sim.contents[key] = c
	}
	return c
}

// store adds a new copy of key on a daemon, after evicting unused copies to make room. If all that is left is in use,
// the volume overflows, so that the build does not fail.
func (sim *Simulation) store(key scheduler.KeyID, at int, bytes int64) *contentCopy {
	v := &sim.volumes[at]
	if v.used+bytes > sim.Workload.DiskBytes {
		for _, next := range sim.evictionOrder(at) {
			sim.evict(at, next.ID)
			if v.used+bytes <= sim.Workload.DiskBytes {
				break
			}
		}
	}
	v.used += bytes
	v.keys = append(v.keys, key)
	c := sim.content(key)
	c.copies = append(c.copies, contentCopy{at: at, making: true, bytes: bytes, usedAt: sim.Now})
	sim.View.Daemons[at].FreeBytes = sim.Workload.DiskBytes - v.used
	return &c.copies[len(c.copies)-1]
}

// evictsByWorth is implemented by policies whose agents evict by worth and know of each other's copies, as the
// project's do. Under other policies daemons evict the least recently used copy.
type evictsByWorth interface{ evictsByWorth() }

// evictionOrder returns the copies of a daemon that no build uses, in the order in which its agent evicts them.
func (sim *Simulation) evictionOrder(at int) []eviction.Copy[scheduler.KeyID] {
	_, byWorth := sim.policy.(evictsByWorth)
	var copies []eviction.Copy[scheduler.KeyID]
	for _, key := range sim.volumes[at].keys {
		x := sim.contents[key].copyOn(at)
		if x.users > 0 {
			continue
		}
		c := eviction.Copy[scheduler.KeyID]{ID: key, Bytes: x.bytes, UsedAtSeconds: x.usedAt}
		if byWorth {
			c.ReplicaUsedAtSeconds = sim.replicaUsedAt(key, at)
			c.LostSeconds = sim.lostSeconds(x)
		}
		copies = append(copies, c)
	}
	eviction.Order(copies, sim.Now)
	return copies
}

// replicaUsedAt returns the latest last use of the copies of a key on other daemons that take builds; 0: there is none.
func (sim *Simulation) replicaUsedAt(key scheduler.KeyID, at int) float64 {
	latest := 0.0
	for _, o := range sim.contents[key].copies {
		if o.at != at && !o.making && sim.View.Daemons[o.at].Phase == scheduler.Ready {
			latest = max(latest, o.usedAt)
		}
	}
	return latest
}

// lostSeconds returns what the next build loses without a copy, as its daemon's agent knows it; 0: unknown.
func (sim *Simulation) lostSeconds(x *contentCopy) float64 {
	if sim.Workload.Priming {
		return eviction.LostSeconds(x.savedSeconds(), x.bytes)
	}
	return eviction.LostSeconds(x.savedSeconds(), 0)
}

// nextEviction returns what a daemon's agent publishes about the copy that it evicts next, or false if none may be.
func (sim *Simulation) nextEviction(at int) (scheduler.KeyID, scheduler.NextEviction, bool) {
	order := sim.evictionOrder(at)
	if len(order) == 0 {
		return 0, scheduler.NextEviction{}, false
	}
	c := &order[0]
	next := scheduler.NextEviction{Bytes: c.Bytes, LostSeconds: c.LostSeconds, Redundant: c.IsRedundant()}
	return c.ID, next, true
}

// evict removes a daemon's copy of a key.
func (sim *Simulation) evict(at int, key scheduler.KeyID) {
	v := &sim.volumes[at]
	c := sim.contents[key]
	v.used -= c.copyOn(at).bytes
	c.copies = slices.DeleteFunc(c.copies, func(x contentCopy) bool { return x.at == at })
	i := slices.Index(v.keys, key)
	v.keys = slices.Delete(v.keys, i, i+1)
	sim.View.Daemons[at].FreeBytes = sim.Workload.DiskBytes - v.used
	sim.policy.Evicted(sim, key, at)
}

// wipe empties a volume. Builds that run there continue and leave no copy.
func (sim *Simulation) wipe(at int) {
	keys := sim.volumes[at].keys
	for len(keys) > 0 {
		sim.evict(at, keys[len(keys)-1])
		keys = sim.volumes[at].keys
	}
}
