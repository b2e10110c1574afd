// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
)

// daemonsShown bounds status.daemons; the API's own limit.
const daemonsShown = 64

// fleetStatus derives a BuildCache's status from what is there. sts may be nil; daemons are sorted by ordinal.
func fleetStatus(
	cache *v1alpha1.BuildCache,
	sts *appsv1.StatefulSet,
	daemons []v1alpha1.BuildDaemon,
	failure *status.Failure,
	now time.Time,
) v1alpha1.BuildCacheStatus {
	out := *cache.Status.DeepCopy()
	out.ObservedGeneration = cache.Generation
	out.Isolation = cache.Spec.BuildKit.Isolation
	out.Selector = metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: daemonLabels(cache)})
	out.Replicas, out.ReadyReplicas, out.Daemons = 0, 0, nil
	if sts != nil {
		out.Replicas = sts.Status.Replicas
	}
	for i := range daemons {
		d := &daemons[i]
		if d.Spec.Ordinal >= wantedReplicas(cache) {
			continue
		}
		summary := summarize(d)
		if summary.Ready {
			out.ReadyReplicas++
		}
		if len(out.Daemons) < daemonsShown {
			out.Daemons = append(out.Daemons, summary)
		}
	}
	out.Sizing = fleetSizing(cache, daemons)
	status.ReportFleet(&out, fleetFacts(cache, sts, out.ReadyReplicas, failure), now)
	return out
}

func summarize(d *v1alpha1.BuildDaemon) v1alpha1.DaemonSummary {
	s := v1alpha1.DaemonSummary{
		Name:          d.Name,
		Node:          d.Status.NodeName,
		RunningBuilds: d.Status.RunningBuilds,
		Reason:        v1alpha1.ReasonNotStarted,
	}
	if ready := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
		s.Ready, s.Reason = status.IsReady(d), ready.Reason
	}
	return s
}

// fleetFacts gathers what the fleet's standing conditions are derived from.
func fleetFacts(
	cache *v1alpha1.BuildCache,
	sts *appsv1.StatefulSet,
	ready int32,
	failure *status.Failure,
) status.FleetFacts {
	facts := status.FleetFacts{Wanted: wantedReplicas(cache), Ready: ready, Failure: failure}
	if sts != nil {
		facts.Created, facts.Updated = true, sts.Status.UpdatedReplicas
		facts.RolledOut = sts.Status.ObservedGeneration == sts.Generation &&
			sts.Status.UpdatedReplicas == facts.Wanted && sts.Status.Replicas == facts.Wanted
	}
	return facts
}
