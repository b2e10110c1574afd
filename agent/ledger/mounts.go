// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"slices"
	"time"

	"github.com/openllb/hlb-operator/internal/eviction"
)

// users bounds the keys that are kept of a mount.
const users = 8

// Mount is what the ledger knows of a cache mount.
type Mount struct {
	// FirstUsed and LastUsed are when a build first and last had it, since it was last missed. One that was brought
	// in ahead of builds counts as last used then, and has no first use before a build has it.
	FirstUsed, LastUsed time.Time
	// Uses is how many builds have had it.
	Uses int64
	// Bytes it took at the last look; 0 before the first.
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
	// Seen by a look: a program's mount comes into being only when a step with it runs.
	Seen bool `json:"seen,omitempty"`
}

func (b *book) useMounts(key string, ids []string, now time.Time) {
	for _, id := range ids {
		e := b.Mounts[id]
		if e.Uses == 0 {
			e.First = now.UTC()
		}
		e.Last = now.UTC()
		e.Uses++
		others := slices.DeleteFunc(slices.Clone(e.Users), func(u string) bool { return u == key })
		e.Users = append([]string{key}, others[:min(len(others), users-1)]...)
		b.Mounts[id] = e
	}
	bound(b.Mounts, func(e mountEntry) time.Time { return e.Last })
}

// UseMounts notes that a build of a key had mounts and did not succeed, so that nothing is known of the key. The
// epoch is as in Use. On an error the note holds in memory only.
func (l *Ledger) UseMounts(key, epoch string, ids []string, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if epoch != l.book.Epoch || len(ids) == 0 {
		return nil
	}
	l.book.useMounts(key, slices.Compact(slices.Sorted(slices.Values(ids))), now)
	return l.save()
}

// BroughtIn notes that the daemon got a mount before a build had it, so that it is not the first to be pruned. The
// epoch is as in Use. On an error the note holds in memory only.
func (l *Ledger) BroughtIn(id, epoch string, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.book.Mounts[id]
	if epoch != l.book.Epoch || !e.Last.Before(now) {
		return nil
	}
	e.Last, e.Seen = now.UTC(), true
	l.book.Mounts[id] = e
	bound(l.book.Mounts, func(e mountEntry) time.Time { return e.Last })
	return l.save()
}

// Look corrects the ledger by a look at the daemon that began at a moment and found mounts of those sizes. A mount
// that an earlier look has seen and this one has not was evicted: the keys that it belongs to are fresh again and are
// forgotten. A mount that no look has ever seen was never made, because every step with it was found in the cache,
// and is forgotten alone. A mount used since the look began may be newer than it and stays. It returns the evicted,
// sorted. On an error the correction holds in memory only.
func (l *Ledger) Look(held map[string]int64, began time.Time) (evicted []string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed, unmade := false, []string{}
	for id, e := range l.book.Mounts {
		bytes, found := held[id]
		switch {
		case found && (!e.Seen || bytes > 0 && bytes != e.Bytes):
			e.Seen, changed = true, true
			if bytes > 0 { // 0 while a build has it
				e.Bytes = bytes
			}
			l.book.Mounts[id] = e
		case !found && e.Last.Before(began):
			delete(l.book.Mounts, id)
			changed = true
			if e.Seen {
				evicted = append(evicted, id)
			} else {
				unmade = append(unmade, id)
			}
		}
	}
	if !changed {
		return nil, nil
	}
	slices.Sort(evicted)
	l.book.forget(evicted, unmade)
	return evicted, l.save()
}

// forget takes the keys out that evicted mounts belong to, and unmade mounts out of the others.
func (b *book) forget(evicted, unmade []string) {
	for key, e := range b.Keys {
		if slices.ContainsFunc(e.Mounts, func(id string) bool { return slices.Contains(evicted, id) }) {
			delete(b.Keys, key)
			continue
		}
		e.Mounts = slices.DeleteFunc(e.Mounts, func(id string) bool { return slices.Contains(unmade, id) })
		b.Keys[key] = e
	}
}

// Mount returns what is known of a mount, false if no build has had it in this epoch and it was not brought in.
func (l *Ledger) Mount(id string) (Mount, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, known := l.book.Mounts[id]
	return Mount{
		FirstUsed: e.First,
		LastUsed:  e.Last,
		Uses:      e.Uses,
		Bytes:     e.Bytes,
		Users:     slices.Clone(e.Users),
	}, known
}

// MountUsed says when a build last had the mount, false if none had in this epoch.
func (l *Ledger) MountUsed(id string) (time.Time, bool) {
	m, known := l.Mount(id)
	return m.LastUsed, known
}

// MountsUsed says when builds last had the mounts, for all that the ledger knows. The map is the caller's.
func (l *Ledger) MountsUsed() map[string]time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]time.Time, len(l.book.Mounts))
	for id, e := range l.book.Mounts {
		out[id] = e.Last
	}
	return out
}

// MountsSaved is what builds gain by mounts, in seconds, by id: how much longer a key's latest cold build took than
// its latest warm one, in equal parts for its mounts, and of several keys the most. Mounts of keys that were not
// built both ways are not in it. The map is the caller's.
func (l *Ledger) MountsSaved() map[string]float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[string]float64{}
	for _, e := range l.book.Keys {
		saved := eviction.SavedSeconds(float64(e.ColdSeconds), float64(e.WarmSeconds), len(e.Mounts))
		for _, id := range e.Mounts {
			if saved > 0 {
				out[id] = max(out[id], saved)
			}
		}
	}
	return out
}

// MountsSince lists the mounts that builds have had since a moment, in no order.
func (l *Ledger) MountsSince(since time.Time) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ids []string
	for id, e := range l.book.Mounts {
		if !e.Last.Before(since) {
			ids = append(ids, id)
		}
	}
	return ids
}
