// SPDX-License-Identifier: Apache-2.0

package daemonstatus

import (
	"cmp"
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
	case !equality.Semantic.DeepEqual(coarse(before), coarse(after)):
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

// coarseBytes is the step in which the size of a mount is a major change.
const coarseBytes = 64 << 20

// coarse returns a status without what is a minor change, and with lists in a fixed order.
func coarse(s *v1alpha1.BuildDaemonStatus) *v1alpha1.BuildDaemonStatus {
	out := s.DeepCopy()
	out.Conditions, out.Sizing = nil, nil // their states were compared
	out.Usage, out.RunningBuilds, out.CacheBytes, out.UsedBytes, out.UsedInodes = "", 0, 0, 0, 0
	if out.GC != nil {
		out.GC.MountsBytes, out.GC.LayersBytes, out.GC.NextEviction = 0, 0, nil
	}
	for i := range out.Keys {
		out.Keys[i] = v1alpha1.KeyUse{Key: out.Keys[i].Key}
	}
	slices.SortFunc(out.Keys, func(a, b v1alpha1.KeyUse) int { return cmp.Compare(a.Key, b.Key) })
	for i := range out.Mounts {
		m := &out.Mounts[i]
		m.Bytes, m.Users = m.Bytes/coarseBytes, nil
		m.FirstUsed, m.LastUsed, m.Uses = nil, nil, min(m.Uses, 1) // a prefetched mount's first use matters
	}
	slices.SortFunc(out.Mounts, func(a, b v1alpha1.MountUse) int { return cmp.Compare(a.ID, b.ID) })
	return out
}
