// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"slices"

	"github.com/openllb/hlb-operator/scheduler"
)

// content is one key as it really is: how many pushes were built, the newest of them, and the copies on volumes.
type content struct {
	version uint32
	push    int
	built   bool // a build ended, so a snapshot exists where the workload has priming
	copies  []contentCopy
}

// copied is a real copy. While making is set it is the first build's, not there yet for others.
type contentCopy struct {
	at      int // daemon, by position in the view
	version uint32
	making  bool
	users   int
	endsAt  float64
	bytes   int64
	usedAt  float64
}

// on is the copy on a daemon, or nil. The pointer is good until the next change of copies.
func (c *content) copyOn(at int) *contentCopy {
	for i := range c.copies {
		if c.copies[i].at == at {
			return &c.copies[i]
		}
	}
	return nil
}

// saw takes in the end of a build of a push, and returns the version that a copy has which saw it.
func (c *content) recordBuild(push int) uint32 {
	switch {
	case push > c.push:
		c.push = push
		c.version++
		return c.version
	case push == c.push:
		return c.version
	default:
		return c.version - 1 // it was overtaken: at best as new as the push before
	}
}

// stalePerPush is the part of the gain that a copy loses with each push it has not seen.
const stalePerPush = 0.02

// fresh is the part of the gain that a copy gives.
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

// content finds or makes the entry of a key.
func (w *Simulation) content(key scheduler.KeyID) *content {
	c := w.contents[key]
	if c == nil {
		c = &content{}
		w.contents[key] = c
	}
	return c
}

// store makes room for a new copy of key on a daemon, evicting copies that nobody uses, and notes it.
func (w *Simulation) store(key scheduler.KeyID, at int, bytes int64) *contentCopy {
	v := &w.volumes[at]
	for v.used+bytes > w.Workload.DiskBytes {
		if !w.evictNext(at) {
			break // everything is in use: the volume overflows rather than the build failing
		}
	}
	v.used += bytes
	v.keys = append(v.keys, key)
	c := w.content(key)
	c.copies = append(c.copies, contentCopy{at: at, making: true, bytes: bytes, usedAt: w.Now})
	w.View.Daemons[at].FreeBytes = w.Workload.DiskBytes - v.used
	return &c.copies[len(c.copies)-1]
}

// evictNext drops an idle copy of a daemon, and says whether there was one: the one least recently used. Where the
// policy's agents know of each other's copies and of what they save, spare ones go before all others, and of equals
// the one with the highest scheduler.EvictionScore.
func (w *Simulation) evictNext(at int) bool {
	agents, informed := w.policy.(interface {
		lostSeconds(w *Simulation, key scheduler.KeyID, bytes int64) float64
	})
	next, spare, most := -1, false, 0.0
	for i, key := range w.volumes[at].keys {
		c := w.contents[key].copyOn(at)
		if c.users > 0 {
			continue
		}
		s, score := false, w.Now-c.usedAt
		if informed {
			s, score = w.isRedundant(
				key,
				c,
			), scheduler.EvictionScore(
				score,
				max(agents.lostSeconds(w, key, c.bytes), 1e-3)/float64(c.bytes),
			)
		}
		if next < 0 || s && !spare || s == spare && score > most {
			next, spare, most = i, s, score
		}
	}
	if next < 0 {
		return false
	}
	w.evict(at, next)
	return true
}

// isSpare reports whether a daemon that takes builds has a copy that was used later than x, as agent/gc has it.
func (w *Simulation) isRedundant(key scheduler.KeyID, x *contentCopy) bool {
	return slices.ContainsFunc(w.contents[key].copies, func(o contentCopy) bool {
		return o.at != x.at && !o.making && o.usedAt > x.usedAt && w.View.Daemons[o.at].Phase == scheduler.Ready
	})
}

// evict drops the copy of the i-th key of a volume.
func (w *Simulation) evict(at, i int) {
	v := &w.volumes[at]
	key := v.keys[i]
	c := w.contents[key]
	v.used -= c.copyOn(at).bytes
	c.copies = slices.DeleteFunc(c.copies, func(x contentCopy) bool { return x.at == at })
	v.keys = slices.Delete(v.keys, i, i+1)
	w.View.Daemons[at].FreeBytes = w.Workload.DiskBytes - v.used
	w.policy.Evicted(w, key, at)
}

// wipe empties a volume. Builds that still run there go on and leave nothing.
func (w *Simulation) wipe(at int) {
	for len(w.volumes[at].keys) > 0 {
		w.evict(at, len(w.volumes[at].keys)-1)
	}
}
