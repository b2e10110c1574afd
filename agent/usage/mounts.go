// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"slices"
	"time"

	"github.com/openllb/hlb-operator/internal/eviction"
)

// futureSlack is how far ahead of an observation a use may be: builds go on meanwhile, and clocks differ a little.
const futureSlack = 10 * time.Minute

// users bounds the keys that are kept of a mount.
const users = 8

// Mount is what the record knows of a cache mount.
type Mount struct {
	// FirstUsed and LastUsed are when a build first and last used it, since it was last evicted. A prefetched mount
	// counts as last used then, and has no first use before a build uses it.
	FirstUsed, LastUsed time.Time
	// Uses is how many builds have used it.
	Uses int64
	// Bytes it took at the last observation; 0 before the first.
	Bytes int64
	// Users are the keys of the builds, the latest first, at most 8.
	Users []string
}

type mountEntry struct {
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last"`
	Uses  int64     `json:"uses"`
	Bytes int64     `json:"bytes,omitempty"`
	Users []string  `json:"users,omitempty"`
	// Seen by an observation: a program's mount is made only when a step with it runs.
	Seen bool `json:"seen,omitempty"`
}

func (e mountEntry) lastUsed() time.Time { return e.Last }

func (c *content) useMounts(key string, ids []string, now time.Time) {
	for _, id := range ids {
		e := c.Mounts[id]
		if e.Uses == 0 {
			e.First = now.UTC()
		}
		e.Last = now.UTC()
		e.Uses++
		others := slices.DeleteFunc(slices.Clone(e.Users), func(u string) bool { return u == key })
		e.Users = append([]string{key}, others[:min(len(others), users-1)]...)
		c.Mounts[id] = e
	}
	bound(c.Mounts, keep, mountEntry.lastUsed)
}

// RecordMounts records that a build of a key used mounts and did not succeed, so that the key's own entry stays. The
// epoch is as in Build.
func (j *Journal) RecordMounts(key, epoch string, ids []string, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if epoch != j.content.Epoch || len(ids) == 0 {
		return
	}
	j.content.useMounts(key, slices.Compact(slices.Sorted(slices.Values(ids))), now)
	j.save()
}

// RecordPrefetch records that a mount was filled before a build used it, so that it is not the first to be evicted.
// The epoch is as in Build.
func (j *Journal) RecordPrefetch(id, epoch string, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := j.content.Mounts[id]
	if epoch != j.content.Epoch || !e.Last.Before(now) {
		return
	}
	e.Last, e.Seen = now.UTC(), true
	j.content.Mounts[id] = e
	bound(j.content.Mounts, keep, mountEntry.lastUsed)
	j.save()
}

// Reconcile corrects the record by an observation of the daemon that began at a moment and found mounts of those
// sizes, and returns the evicted mounts, sorted.
//
// A use in the future, by a clock that was wrong, counts as one at the observation.
//
// A mount that an earlier observation found and this one did not was evicted: its keys are fresh again and are
// forgotten. A mount that no observation ever found was never made, because every step with it was found in the cache,
// and is forgotten alone. A mount used since the observation began may be newer than it and stays.
func (j *Journal) Reconcile(held map[string]int64, began time.Time) (evicted []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	changed, unmade := false, []string{}
	for id, e := range j.content.Mounts {
		bytes, found := held[id]
		if e.Last.Sub(began) > futureSlack {
			e.Last, changed = began.UTC(), true
			j.content.Mounts[id] = e
		}
		switch {
		case found && (!e.Seen || bytes > 0 && bytes != e.Bytes):
			e.Seen, changed = true, true
			if bytes > 0 { // 0 while a build uses it
				e.Bytes = bytes
			}
			j.content.Mounts[id] = e
		case !found && e.Last.Before(began):
			delete(j.content.Mounts, id)
			changed = true
			if e.Seen {
				evicted = append(evicted, id)
			} else {
				unmade = append(unmade, id)
			}
		}
	}
	if !changed {
		return nil
	}
	slices.Sort(evicted)
	j.content.forget(evicted, unmade)
	j.save()
	return evicted
}

// forget takes the keys out that evicted mounts belong to, and unmade mounts out of the others.
func (c *content) forget(evicted, unmade []string) {
	for key, e := range c.Keys {
		if slices.ContainsFunc(e.Mounts, func(id string) bool { return slices.Contains(evicted, id) }) {
			delete(c.Keys, key)
			continue
		}
		e.Mounts = slices.DeleteFunc(e.Mounts, func(id string) bool { return slices.Contains(unmade, id) })
		c.Keys[key] = e
	}
}

// Mount returns what is known of a mount, false if no build has used it in this epoch and it was not prefetched.
func (j *Journal) Mount(id string) (Mount, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e, known := j.content.Mounts[id]
	return e.mount(), known
}

func (e mountEntry) mount() Mount {
	return Mount{
		FirstUsed: e.First, LastUsed: e.Last, Uses: e.Uses, Bytes: e.Bytes, Users: slices.Clone(e.Users),
	}
}

// LastUses returns when builds last used each mount, by id. The map is the caller's.
func (j *Journal) LastUses() map[string]time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := make(map[string]time.Time, len(j.content.Mounts))
	for id, e := range j.content.Mounts {
		out[id] = e.Last
	}
	return out
}

// SavedSeconds returns how much time each mount saves its builds, by id: the key's latest cold build less its latest
// warm one, shared equally by the key's mounts; of several keys the largest. See eviction.SavedSeconds for keys that
// were built one way only. The map is the caller's.
func (j *Journal) SavedSeconds() map[string]float64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.content.savedSeconds()
}

func (c *content) savedSeconds() map[string]float64 {
	out := map[string]float64{}
	for _, e := range c.Keys {
		saved := eviction.SavedSeconds(float64(e.ColdSeconds), float64(e.WarmSeconds), len(e.Mounts))
		if saved <= 0 {
			continue
		}
		for _, id := range e.Mounts {
			out[id] = max(out[id], saved)
		}
	}
	return out
}

// UsedSince lists the mounts that builds have used since a moment, in no order.
func (j *Journal) UsedSince(since time.Time) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var ids []string
	for id, e := range j.content.Mounts {
		if !e.Last.Before(since) {
			ids = append(ids, id)
		}
	}
	return ids
}
