// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// FleetFacts is what a BuildCache's standing conditions are derived from.
type FleetFacts struct {
	// Wanted counts the daemons that the spec asks for, Ready those of them that are ready, and Updated those whose
	// pods run what the spec says.
	Wanted, Ready, Updated int32
	// Created is set when the daemons' workload exists, RolledOut when there is no pod too many and none too old.
	Created, RolledOut bool
	// Failure is what the last pass failed with; nil for none.
	Failure *Failure
}

// ReportFleet sets the standing conditions of a BuildCache.
func ReportFleet(s *v1alpha1.BuildCacheStatus, facts FleetFacts, now time.Time) {
	facts.summary().apply(&s.Conditions, s.ObservedGeneration, now)
}

func (f *FleetFacts) summary() Summary {
	switch {
	case f.Failure != nil:
		return f.Failure.Summary()
	case !f.Created:
		return Summary{Reason: v1alpha1.ReasonDaemonsNotReady, Message: "The daemons are being created"}
	case f.Wanted == 0 && f.RolledOut:
		return Summary{
			State:   Ready,
			Reason:  v1alpha1.ReasonScaledToZero,
			Message: "No daemon is wanted; volumes are kept as storage.retention says",
		}
	case f.Ready == f.Wanted && f.RolledOut:
		return Summary{
			State:   Ready,
			Reason:  v1alpha1.ReasonAllDaemonsReady,
			Message: fmt.Sprintf("%d of %d daemons take builds", f.Ready, f.Wanted),
		}
	default:
		return Summary{
			Reason: v1alpha1.ReasonDaemonsNotReady,
			Message: fmt.Sprintf("%d of %d daemons take builds; %d of %d pods are up to date",
				f.Ready, f.Wanted, min(f.Updated, f.Wanted), f.Wanted),
		}
	}
}
