// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"slices"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// surveyFrom is from how many mounts on one step looks which are empty. Each snapshot takes a step of its own.
const surveyFrom = 4

// withoutEmpty returns the mounts to take snapshots of, without those that one step finds empty. These are noted. Only
// mounts without a snapshot are looked at: the others are likely to have content. What can't be looked at stays in.
func (m *Maker) withoutEmpty(ctx context.Context, cache *v1alpha1.BuildCache, ids []string) []string {
	type look struct {
		uses, begun int64
	}
	looks := map[string]look{}
	var mounts []daemon.Mount
	for _, id := range ids {
		e, known := m.State.Entry(id)
		quiet, begun := m.State.quiet(id)
		p := m.policyOf(cache, id)
		if !known || !quiet || e.Ref != "" || e.Sharing == "locked" || p == nil || p.Snapshot == nil ||
			e.Outcome == v1alpha1.SnapshotEmpty && e.SnapshotUse == e.Uses {
			continue
		}
		looks[id] = look{e.Uses, begun}
		mounts = append(mounts, daemon.Mount{ID: id, Sharing: e.Sharing})
	}
	if len(mounts) < surveyFrom {
		return ids
	}
	program, err := m.LoadProgram()
	if err != nil {
		return ids
	}
	empty := map[string]bool{}
	for some := range slices.Chunk(mounts, daemon.MaxSurvey) {
		began := m.Now()
		found, err := m.Copier.Survey(ctx, program, some)
		if err != nil {
			continue
		}
		for _, mount := range found {
			was := looks[mount.ID]
			if quiet, begun := m.State.quiet(mount.ID); !quiet || begun != was.begun {
				continue
			}
			empty[mount.ID] = true
			m.State.edit(mount.ID, func(e *Entry) {
				*e = Entry{
					Sharing: e.Sharing, Dirty: e.Dirty, Uses: e.Uses, Seen: e.Seen, Root: e.Root,
					Tried: began.UTC(), Took: m.Now().Sub(began),
					Outcome: v1alpha1.SnapshotEmpty, SnapshotUse: was.uses,
				}
			})
		}
	}
	if len(empty) > 0 {
		m.State.saveNow() //nolint:errcheck // what is lost costs another look
	}
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return empty[id] })
}
