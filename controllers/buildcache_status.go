// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/buildstatus"
)

// daemonsShown bounds status.daemons; the API's own limit.
const daemonsShown = 64

// cacheVerdict is what the BuildCache's three standing conditions say.
type cacheVerdict struct {
	ready, stalled  bool
	reason, message string
}

// fleetStatus derives a BuildCache's status from what is there. sts may be nil; daemons are sorted by ordinal.
func fleetStatus(
	cache *v1alpha1.BuildCache,
	sts *appsv1.StatefulSet,
	daemons []v1alpha1.BuildDaemon,
	failure error,
	now time.Time,
) v1alpha1.BuildCacheStatus {
	status := *cache.Status.DeepCopy()
	status.ObservedGeneration = cache.Generation
	status.Isolation = cache.Spec.BuildKit.Isolation
	status.Selector = metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: daemonLabels(cache)})
	status.Replicas, status.ReadyReplicas, status.Daemons = 0, 0, nil
	if sts != nil {
		status.Replicas = sts.Status.Replicas
	}
	for i := range daemons {
		d := &daemons[i]
		if d.Spec.Ordinal >= wantedReplicas(cache) {
			continue
		}
		summary := summarize(d)
		if summary.Ready {
			status.ReadyReplicas++
		}
		if len(status.Daemons) < daemonsShown {
			status.Daemons = append(status.Daemons, summary)
		}
	}
	status.Sizing = fleetSizing(cache, daemons)
	setCacheConditions(&status, fleetVerdict(cache, sts, status.ReadyReplicas, failure), now)
	return status
}

func summarize(d *v1alpha1.BuildDaemon) v1alpha1.DaemonSummary {
	s := v1alpha1.DaemonSummary{
		Name:          d.Name,
		Node:          d.Status.NodeName,
		RunningBuilds: d.Status.RunningBuilds,
		Reason:        v1alpha1.ReasonNotStarted,
	}
	if ready := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
		s.Ready, s.Reason = ready.Status == metav1.ConditionTrue, ready.Reason
	}
	return s
}

// fleetVerdict says whether the fleet is as the spec wants it, and if not, why.
func fleetVerdict(cache *v1alpha1.BuildCache, sts *appsv1.StatefulSet, ready int32, failure error) cacheVerdict {
	wanted := wantedReplicas(cache)
	if failure != nil {
		return failureVerdict(failure)
	}
	if sts == nil {
		return cacheVerdict{reason: v1alpha1.ReasonDaemonsNotReady, message: "The daemons are being created"}
	}
	rolledOut := sts.Status.ObservedGeneration == sts.Generation && sts.Status.UpdatedReplicas == wanted &&
		sts.Status.Replicas == wanted
	switch {
	case wanted == 0 && rolledOut:
		return cacheVerdict{
			ready:   true,
			reason:  v1alpha1.ReasonScaledToZero,
			message: "No daemon is wanted; volumes are kept as storage.retention says",
		}
	case ready == wanted && rolledOut:
		return cacheVerdict{
			ready:   true,
			reason:  v1alpha1.ReasonAllDaemonsReady,
			message: fmt.Sprintf("%d of %d daemons take builds", ready, wanted),
		}
	default:
		return cacheVerdict{
			reason: v1alpha1.ReasonDaemonsNotReady,
			message: fmt.Sprintf("%d of %d daemons take builds; %d of %d pods are up to date",
				ready, wanted, min(sts.Status.UpdatedReplicas, wanted), wanted),
		}
	}
}

func setCacheConditions(status *v1alpha1.BuildCacheStatus, v cacheVerdict, now time.Time) {
	put := func(kind string, holds bool) {
		if !holds && kind != v1alpha1.ConditionReady {
			meta.RemoveStatusCondition(&status.Conditions, kind)
			return
		}
		value := metav1.ConditionFalse
		if holds {
			value = metav1.ConditionTrue
		}
		buildstatus.Set(&status.Conditions, metav1.Condition{
			Type: kind, Status: value, Reason: v.reason, Message: v.message, ObservedGeneration: status.ObservedGeneration,
		}, now)
	}
	put(v1alpha1.ConditionReady, v.ready)
	put(v1alpha1.ConditionStalled, v.stalled)
	put(v1alpha1.ConditionReconciling, !v.ready && !v.stalled)
}
