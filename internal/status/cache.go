// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// FleetFacts is what a BuildCache's standing conditions are derived from.
type FleetFacts struct {
	// Wanted counts the daemons that the spec asks for, Running the BuildDaemons that are to run, Ready those of them
	// that are ready, and Updated those whose pods run what the spec says. Pods counts all pods of the fleet.
	Wanted, Running, Ready, Updated, Pods int32
	// Troubles are those of the daemons that do not come up, by ordinal.
	Troubles []DaemonTrouble
	// Failure is what the last pass failed with; nil for none.
	Failure *Failure
}

// ReportFleet sets the standing conditions of a BuildCache.
func ReportFleet(s *v1alpha1.BuildCacheStatus, facts FleetFacts, now time.Time) {
	facts.summary().apply(&s.Conditions, s.ObservedGeneration, now)
}

// EndFleet reports that the fleet ends with its namespace, which its agents see.
func EndFleet(s *v1alpha1.BuildCacheStatus, generation int64, now time.Time) {
	Summary{
		Reason: v1alpha1.ReasonNamespaceTerminating, Message: "The namespace is being deleted, so all builds end",
	}.apply(&s.Conditions, generation, now)
}

// AwaitBuilds reports that the deletion of the fleet waits for builds that run.
func AwaitBuilds(s *v1alpha1.BuildCacheStatus, generation int64, running int, now time.Time) {
	Summary{
		Reason:  v1alpha1.ReasonInUse,
		Message: fmt.Sprintf("The BuildCache is deleted once %d running builds have ended", running),
	}.apply(&s.Conditions, generation, now)
}

// IsEnding reports whether a fleet's builds are to end at once: its BuildCache is being deleted, and is not protected,
// or its namespace is.
func IsEnding(cache *v1alpha1.BuildCache) bool {
	ready := meta.FindStatusCondition(cache.Status.Conditions, v1alpha1.ConditionReady)
	return ready != nil && ready.Reason == v1alpha1.ReasonNamespaceTerminating ||
		!cache.DeletionTimestamp.IsZero() && !slices.Contains(cache.Finalizers, v1alpha1.FinalizerProtect)
}

func (f *FleetFacts) summary() Summary {
	rolledOut := f.Running == f.Wanted && f.Updated == f.Wanted && f.Pods == f.Wanted
	switch {
	case f.Failure != nil:
		return f.Failure.Summary()
	case f.Wanted == 0 && rolledOut:
		return Summary{
			State:   Ready,
			Reason:  v1alpha1.ReasonScaledToZero,
			Message: "No daemon is wanted; volumes are kept as storage.retention says",
		}
	case f.Ready == f.Wanted && rolledOut:
		return Summary{
			State:   Ready,
			Reason:  v1alpha1.ReasonAllDaemonsReady,
			Message: fmt.Sprintf("%d of %d daemons are ready", f.Ready, f.Wanted),
		}
	case len(f.Troubles) > 0:
		return f.trouble()
	default:
		return Summary{
			Reason: v1alpha1.ReasonDaemonsNotReady,
			Message: fmt.Sprintf("%d of %d daemons are ready; %d of %d pods are up to date",
				f.Ready, f.Wanted, min(f.Updated, f.Wanted), f.Wanted),
		}
	}
}

// trouble is the summary of a fleet of which some daemons do not come up: it has the reason of the first one that only
// a user can help, or else of the first.
func (f *FleetFacts) trouble() Summary {
	worst := f.Troubles[0]
	for _, t := range f.Troubles {
		if t.UserOnly && !worst.UserOnly {
			worst = t
		}
	}
	s := Summary{Reason: worst.Reason, Message: fmt.Sprintf("%d of %d daemons are ready; %s: %s",
		f.Ready, f.Wanted, worst.Daemon, worst.Message)}
	if worst.UserOnly {
		s.State = Stalled
	}
	if others := len(f.Troubles) - 1; others > 0 {
		s.Message = fmt.Sprintf("%d of %d daemons are ready; %s, and %d more in trouble: %s",
			f.Ready, f.Wanted, worst.Daemon, others, worst.Message)
	}
	return s
}
