// SPDX-License-Identifier: Apache-2.0

package attempt

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/failure"
	"github.com/openllb/hlb-operator/internal/status"
)

// sameDeath is how far apart the ends of attempts may be that one death has ended: an agent reports them within
// seconds, and the manager notices them together.
const sameDeath = time.Minute

// Neighbours counts those of the builds of its BuildCache that ran beside b in the session of its current attempt, and
// were there when the daemon died: they are still claimed by that session, or were lost by a death at about the same
// time. The current attempt of b may be lost already.
func Neighbours(b *v1alpha1.HLBBuild, builds []v1alpha1.HLBBuild, now time.Time) int {
	run := b.Status.Run
	if run == nil || run.StartedBy == "" || b.Status.Placement == nil {
		return 0
	}
	at := now
	if status.IsLost(b) && run.Lost.FinishedAt != nil {
		at = run.Lost.FinishedAt.Time
	}
	beside := neighbour{session: run.StartedBy, at: at}
	count := 0
	for i := range builds {
		other := &builds[i]
		if other.UID != b.UID && other.CacheName() == b.CacheName() && beside.was(other) {
			count++
		}
	}
	return count
}

// neighbour is what builds had in common that one death has ended: a session, whose ID no other has, and about when.
type neighbour struct {
	session string // its ID
	at      time.Time
}

func (n neighbour) was(b *v1alpha1.HLBBuild) bool {
	run := b.Status.Run
	if run == nil {
		return false
	}
	if run.StartedBy == n.session && !status.IsFinal(b) {
		return !status.IsLost(b) || n.died(run.Lost.Reason, run.Lost.FinishedAt)
	}
	if r := b.Status.Releasing; r != nil && r.StartedBy == n.session {
		return true
	}
	if status.IsFinal(b) && run.StartedBy == n.session && run.Lost != nil && run.Lost.Attempt == run.Attempt {
		return n.died(run.Lost.Reason, run.Lost.FinishedAt)
	}
	for i := range run.Attempts {
		if r := &run.Attempts[i]; r.StartedBy == n.session && n.died(r.Reason, r.FinishedAt) {
			return true
		}
	}
	return false
}

func (n neighbour) died(reason string, at *metav1.MicroTime) bool {
	return at != nil && failure.Of(reason).Death && n.at.Sub(at.Time).Abs() <= sameDeath
}
