// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"slices"

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

// store adds a new copy of key on a daemon, after evicting unused copies to make room.
func (sim *Simulation) store(key scheduler.KeyID, at int, bytes int64) *contentCopy {
	v := &sim.volumes[at]
	for v.used+bytes > sim.Workload.DiskBytes {
		if !sim.evictNext(at) {
			break // everything is in use: the volume overflows, so that the build does not fail
		}
	}
	v.used += bytes
	v.keys = append(v.keys, key)
	c := sim.content(key)
	c.copies = append(c.copies, contentCopy{at: at, making: true, bytes: bytes, usedAt: sim.Now})
	sim.View.Daemons[at].FreeBytes = sim.Workload.DiskBytes - v.used
	return &c.copies[len(c.copies)-1]
}

// evictNext drops an idle copy of a daemon, and says whether there was one: the one least recently used. Where the
// policy's agents know of each other's copies and of what they save, spare ones go before all others, and of equals
// the one with the highest scheduler.EvictionScore.
func (sim *Simulation) evictNext(at int) bool {
	agents, informed := sim.policy.(interface {
		lostSeconds(sim *Simulation, key scheduler.KeyID, bytes int64) float64
	})
	next, spare, most := -1, false, 0.0
	for i, key := range sim.volumes[at].keys {
		c := sim.contents[key].copyOn(at)
		if c.users > 0 {
			continue
		}
		s, score := false, sim.Now-c.usedAt
		if informed {
			s, score = sim.isRedundant(
				key,
				c,
			), scheduler.EvictionScore(
				score,
				max(agents.lostSeconds(sim, key, c.bytes), 1e-3)/float64(c.bytes),
			)
		}
		if next < 0 || s && !spare || s == spare && score > most {
			next, spare, most = i, s, score
		}
	}
	if next < 0 {
		return false
	}
	sim.evict(at, next)
	return true
}

// isSpare reports whether a daemon that takes builds has a copy that was used later than x, as agent/gc has it.
func (sim *Simulation) isRedundant(key scheduler.KeyID, x *contentCopy) bool {
	return slices.ContainsFunc(sim.contents[key].copies, func(o contentCopy) bool {
		return o.at != x.at && !o.making && o.usedAt > x.usedAt && sim.View.Daemons[o.at].Phase == scheduler.Ready
	})
}

// evict removes the copy of the i-th key of a volume.
func (sim *Simulation) evict(at, i int) {
	v := &sim.volumes[at]
	key := v.keys[i]
	c := sim.contents[key]
	v.used -= c.copyOn(at).bytes
	c.copies = slices.DeleteFunc(c.copies, func(x contentCopy) bool { return x.at == at })
	v.keys = slices.Delete(v.keys, i, i+1)
	sim.View.Daemons[at].FreeBytes = sim.Workload.DiskBytes - v.used
	sim.policy.Evicted(sim, key, at)
}

// wipe empties a volume. Builds that run there continue and leave no copy.
func (sim *Simulation) wipe(at int) {
	for len(sim.volumes[at].keys) > 0 {
		sim.evict(at, len(sim.volumes[at].keys)-1)
	}
}
