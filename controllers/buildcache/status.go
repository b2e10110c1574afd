// SPDX-License-Identifier: Apache-2.0

package buildcache

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/workload"
	"github.com/openllb/hlb-operator/internal/sizing"
	"github.com/openllb/hlb-operator/internal/status"
)

// daemonsShown bounds status.daemons; the API's own limit.
const daemonsShown = 64

// fleetStatus derives a BuildCache's status from what one pass has read. failure is nil for a pass that went well.
func fleetStatus(s *snapshot, failure *status.Failure) v1alpha1.BuildCacheStatus {
	out := *s.cache.Status.DeepCopy()
	out.ObservedGeneration = s.cache.Generation
	out.Isolation = s.cache.Spec.BuildKit.Isolation
	out.Selector = metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: workload.FleetLabels(s.cache.Name)})
	out.Replicas, out.ReadyReplicas, out.Daemons = 0, 0, nil
	facts := status.FleetFacts{Wanted: wantedReplicas(s.cache), Failure: failure}
	var reports []*v1alpha1.DaemonSizing
	var used, capacity int64
	for _, d := range s.daemons {
		if d.pod != nil {
			out.Replicas++
		}
		if d.Spec.Suspend {
			continue
		}
		facts.Running++
		if status.IsReady(d.BuildDaemon) {
			out.ReadyReplicas++
		}
		if d.isUpdated() {
			facts.Updated++
		}
		if t := troubleOf(&d); t != nil {
			facts.Troubles = append(facts.Troubles, *t)
		}
		if len(out.Daemons) < daemonsShown {
			out.Daemons = append(out.Daemons, summarize(&d))
		}
		reports = append(reports, d.Status.Sizing)
		used, capacity = used+d.Status.UsedBytes, capacity+d.Status.CapacityBytes
	}
	for _, r := range s.remains {
		if r.pod != nil {
			out.Replicas++
		}
	}
	facts.Pods, facts.Ready = out.Replicas, out.ReadyReplicas
	out.ReadyDisplay = fmt.Sprintf("%d/%d", out.ReadyReplicas, facts.Wanted)
	out.Usage = usage(used, capacity)
	// Daemons that sleep have no say: their keys have moved.
	out.Sizing = sizing.Advise(reports, sizing.VolumeSize(s.cache))
	status.ReportFleet(&out, facts, s.now)
	return out
}

// isUpdated reports whether the daemon's pod is of the present template.
func (d *daemon) isUpdated() bool {
	return d.pod != nil && d.pod.DeletionTimestamp.IsZero() && d.differs == workload.UpToDate && !isAgentReplaced(d.pod)
}

// troubleOf is why a daemon does not come up, nil for none that is known.
func troubleOf(d *daemon) *status.DaemonTrouble {
	ready := d.ready()
	if ready.Status == metav1.ConditionTrue || !status.IsTrouble(ready.Reason) {
		return nil
	}
	return &status.DaemonTrouble{
		Daemon: d.Name,
		Trouble: status.Trouble{
			Reason: ready.Reason, Message: ready.Message, UserOnly: status.IsStalled(d.Status.Conditions),
		},
	}
}

func summarize(d *daemon) v1alpha1.DaemonSummary {
	out := v1alpha1.DaemonSummary{
		Name:          d.Name,
		Ready:         status.IsReady(d.BuildDaemon),
		Reason:        d.ready().Reason,
		Node:          d.Status.NodeName,
		RunningBuilds: d.Status.RunningBuilds,
	}
	if out.Reason == "" {
		out.Reason = v1alpha1.ReasonNotStarted
	}
	return out
}

// usage is how much of the fleet's volumes is in use, for people; empty while no daemon has reported.
func usage(used, capacity int64) string {
	if capacity <= 0 {
		return ""
	}
	const gib = 1 << 30
	size := resource.NewQuantity((capacity+gib-1)/gib*gib, resource.BinarySI)
	return fmt.Sprintf("%d%% of %s", used*100/capacity, size.String())
}
