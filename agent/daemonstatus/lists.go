// SPDX-License-Identifier: Apache-2.0

package daemonstatus

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"time"

	"github.com/openllb/hlb-operator/agent/snapshot"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/eviction"
	"github.com/openllb/hlb-operator/internal/mountpolicy"
	"github.com/openllb/hlb-operator/internal/status"
)

// objectLimit bounds a BuildDaemon as the API server keeps it, in bytes: every watcher of a fleet gets each version of
// it. reserve is left for what others write and for managed fields.
const objectLimit, reserve = 32 << 10, 3 << 10

// listLimit is the API's limit of status.keys and status.mounts.
const listLimit = 256

// idLimit is the API's limit of a mount's id, in bytes.
const idLimit = 512

// usersLimit and messageLimit bound the parts of a listed mount that people read, in bytes.
const usersLimit, messageLimit = 256, 256

// fitLists puts keys and mounts, each in the order of what matters most, into the status as far as the object stays
// within its limit. Keys and mounts get half of the room each, and what the other leaves. Details of mounts that
// people read, but the manager does not, get what is left then.
func fitLists(bd *v1alpha1.BuildDaemon, keys []v1alpha1.KeyUse, mounts []v1alpha1.MountUse) {
	s := &bd.Status
	s.Keys, s.Mounts = nil, nil
	room := max(objectLimit-reserve-size(bd), 0)
	short := make([]v1alpha1.MountUse, len(mounts))
	for i := range mounts {
		short[i] = withoutDetails(mounts[i])
	}
	_, wanted := fit(mounts, room)
	s.Keys, _ = fit(keys, max(room/2, room-wanted))
	room -= size(s.Keys)
	s.Mounts, wanted = fit(short, room)
	room -= wanted
	for i := range s.Mounts {
		extra := size(&mounts[i]) - size(&s.Mounts[i])
		if extra > room {
			return
		}
		s.Mounts[i] = mounts[i]
		room -= extra
	}
}

// fit returns the first entries of a list that take no more than room, at most listLimit, and what they take.
func fit[E any](list []E, room int) (out []E, taken int) {
	for i := range list[:min(len(list), listLimit)] {
		bytes := size(&list[i]) + 1 // a comma
		if taken+bytes > room {
			return list[:i:i], taken
		}
		taken += bytes
	}
	return list[:min(len(list), listLimit)], taken
}

// size is the bytes of v as JSON.
func size(v any) int {
	data, err := json.Marshal(v)
	if err != nil {
		return 0 // API types always marshal
	}
	return len(data)
}

// withoutDetails is a mount as the manager needs it.
func withoutDetails(m v1alpha1.MountUse) v1alpha1.MountUse {
	m.Users, m.FirstUsed = nil, nil
	if m.Snapshot != nil {
		short := *m.Snapshot
		short.Message, short.Digest = "", ""
		m.Snapshot = &short
	}
	return m
}

// emptyFolderBytes is what an empty folder takes on ext4.
const emptyFolderBytes = 4096

// mountUses lists the cache mounts with content that the daemon holds, those first that matter most.
func mountUses(f *Facts) []v1alpha1.MountUse {
	if f.Daemon.Seen == nil {
		return nil
	}
	var out []v1alpha1.MountUse
	ranks := map[string]float64{}
	for id, bytes := range f.Daemon.Seen.MountBytes {
		entry := f.Snapshots[id]
		if len(id) > idLimit || f.Unfilled[id] || isEmpty(bytes, &entry) {
			continue // can't be reported under its own name, is not there yet, or is not worth it
		}
		out = append(out, mountUse(f, id, bytes, &entry))
		ranks[id] = rank(f, id, bytes)
	}
	slices.SortFunc(out, func(a, b v1alpha1.MountUse) int {
		return cmp.Or(cmp.Compare(ranks[b.ID], ranks[a.ID]), cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// isEmpty reports whether a mount has no content, as far as is known.
func isEmpty(bytes int64, e *snapshot.Entry) bool {
	return bytes == 0 || bytes == emptyFolderBytes || e.Outcome == v1alpha1.SnapshotEmpty && bytes < emptyFolderBytes
}

// mountUse describes one mount.
func mountUse(f *Facts, id string, bytes int64, e *snapshot.Entry) v1alpha1.MountUse {
	use := v1alpha1.MountUse{ID: id, Bytes: bytes, Snapshot: snapshotStatus(e)}
	if m, known := f.Usage.Mounts[id]; known {
		first, last := seconds(m.FirstUsed), seconds(m.LastUsed)
		use.LastUsed, use.Uses = &last, m.Uses
		if m.Uses > 0 {
			use.FirstUsed = &first
		}
		room := usersLimit
		for _, user := range m.Users {
			if room -= len(user); room < 0 {
				break
			}
			use.Users = append(use.Users, user)
		}
	}
	if f.Cache != nil {
		if p := mountpolicy.Of(f.Cache.ServedNamespaces(), f.Cache.Spec.Mounts, id); p != nil {
			use.Policy = p.ID
		}
	}
	return use
}

// snapshotStatus describes the last snapshot of a mount, nil for none.
func snapshotStatus(e *snapshot.Entry) *v1alpha1.MountSnapshotStatus {
	if e.Outcome == "" {
		return nil
	}
	return &v1alpha1.MountSnapshotStatus{
		Outcome: e.Outcome, Time: seconds(e.Tried), Message: status.Clip(e.Note(), messageLimit),
		Ref: e.Ref, Digest: e.Digest, Bytes: e.Bytes, DurationSeconds: int32((e.Took + time.Second - 1) / time.Second),
	}
}

// rank orders mounts by what matters to placement, the highest first: how much time the mount saves its builds, or
// else how large it is, and how recently it was used. Both are rounded to powers of two, so that the order is stable.
func rank(f *Facts, id string, bytes int64) float64 {
	saved, known := f.Usage.SavedSeconds[id]
	if !known {
		saved = float64(bytes) / eviction.PrimeBytesPerSecond // no build has shown it
	}
	idle := f.Now.Sub(f.Usage.Mounts[id].LastUsed)
	return math.Round(math.Log2(saved+1)) - math.Floor(math.Log2(1+max(idle.Hours(), 0)))
}
