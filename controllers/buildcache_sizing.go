// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/sizing"
)

// fleetSizing merges what the wanted daemons say about the size of their volumes; those beyond are asleep and their
// keys have moved.
func fleetSizing(cache *v1alpha1.BuildCache, daemons []v1alpha1.BuildDaemon) *v1alpha1.SizingStatus {
	var reports []*v1alpha1.DaemonSizing
	for i := range daemons {
		if daemons[i].Spec.Ordinal < wantedReplicas(cache) {
			reports = append(reports, daemons[i].Status.Sizing)
		}
	}
	return sizing.Advise(reports, sizing.VolumeSize(cache))
}
