// SPDX-License-Identifier: Apache-2.0

package daemonstatus

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// change is how much a status differs from the written one.
type change int

const (
	// none: nothing differs.
	none change = iota
	// minor: only figures differ that nobody acts on within seconds, such as when a mount was last used.
	minor
	// major: what the daemon holds or has done differs.
	major
	// urgent: whether and how the daemon takes builds differs.
	urgent
)

// settleTime is how long a change waits for others to be written with it: a build begins and ends, and others do, and
// all of it is one write. restTime is the least time between writes of major changes, minorRestTime that before a
// write of minor ones. The manager knows from the builds themselves what they have used.
const (
	settleTime    = time.Second
	restTime      = 5 * time.Second
	minorRestTime = 30 * time.Second
)

// pace spreads writes over time.
type pace struct {
	written time.Time // the last write
	pending time.Time // when the oldest change that is not written was found, zero for none
}

// due returns how long a change found at now has to wait, 0 when it is to be written at once. Without a change it is
// the time until the next comparison.
func (p *pace) due(c change, now time.Time) time.Duration {
	if c == none {
		p.pending = time.Time{}
		return checkEvery
	}
	if p.pending.IsZero() {
		p.pending = now
	}
	rest := restTime
	switch c {
	case urgent:
		return 0
	case minor:
		rest = minorRestTime
	}
	at := p.pending.Add(settleTime)
	if rested := p.written.Add(rest); rested.After(at) {
		at = rested
	}
	return max(at.Sub(now), 0)
}

// wrote records a write.
func (p *pace) wrote(now time.Time) { p.written, p.pending = now, time.Time{} }

// changeOf returns how much two statuses differ.
func changeOf(before, after *v1alpha1.BuildDaemonStatus) change {
	switch {
	case equality.Semantic.DeepEqual(before, after):
		return none
	case before.AgentID != after.AgentID || before.VolumeEpoch != after.VolumeEpoch || before.Slots != after.Slots ||
		!equality.Semantic.DeepEqual(states(before.Conditions), states(after.Conditions)):
		return urgent
	case !equality.Semantic.DeepEqual(coarse(before), coarse(after)), keysChanged(before, after),
		mountsChanged(before, after):
		return major
	}
	return minor
}

// states are the conditions' states, by type.
func states(conditions []metav1.Condition) map[string][2]string {
	out := map[string][2]string{}
	for _, c := range conditions {
		out[c.Type] = [2]string{string(c.Status), c.Reason}
	}
	return out
}

// coarse returns a status without what is a minor change, and without keys and mounts.
func coarse(s *v1alpha1.BuildDaemonStatus) *v1alpha1.BuildDaemonStatus {
	out := s.DeepCopy()
	out.Conditions, out.Sizing = nil, nil // their states were compared
	out.Usage, out.RunningBuilds, out.CacheBytes, out.UsedBytes, out.UsedInodes = "", 0, 0, 0, 0
	if out.GC != nil {
		out.GC.MountsBytes, out.GC.LayersBytes, out.GC.NextEviction = 0, 0, nil
	}
	out.Keys, out.Mounts = nil, nil
	return out
}

// keysChanged reports whether a key is new. Keys that are gone change the total. The second half of the list is left
// out: as lists are cut by bytes, entries at their ends come and go with the size of anything else.
func keysChanged(before, after *v1alpha1.BuildDaemonStatus) bool {
	known := map[string]bool{}
	for i := range before.Keys {
		known[before.Keys[i].Key] = true
	}
	return slices.ContainsFunc(after.Keys[:half(len(after.Keys))], func(k v1alpha1.KeyUse) bool {
		return !known[k.Key]
	})
}

// mountsChanged reports whether a mount of the list's first half is new, or one that was listed has changed.
func mountsChanged(before, after *v1alpha1.BuildDaemonStatus) bool {
	known := map[string]v1alpha1.MountUse{}
	for i := range before.Mounts {
		known[before.Mounts[i].ID] = coarseMount(&before.Mounts[i])
	}
	for i := range after.Mounts {
		was, listed := known[after.Mounts[i].ID]
		if listed && !equality.Semantic.DeepEqual(was, coarseMount(&after.Mounts[i])) ||
			!listed && i < half(len(after.Mounts)) {
			return true
		}
	}
	return false
}

func half(n int) int { return (n + 1) / 2 }

// coarseBytes is the step in which the size of a mount is a major change.
const coarseBytes = 64 << 20

// coarseMount returns a mount without what is a minor change. A prefetched mount's first use is a major one.
func coarseMount(m *v1alpha1.MountUse) v1alpha1.MountUse {
	out := withoutDetails(*m)
	out.Bytes, out.LastUsed, out.Uses = out.Bytes/coarseBytes, nil, min(out.Uses, 1)
	return out
}
