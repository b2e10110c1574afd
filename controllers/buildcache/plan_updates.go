// SPDX-License-Identifier: Apache-2.0

package buildcache

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/workload"
	"github.com/openllb/hlb-operator/internal/status"
)

const (
	// startPatience is how long a daemon may take to come up before a roll-out goes on without it: a pull of a large
	// image and the attachment of a volume take minutes.
	startPatience = 10 * time.Minute
	// troublePatience is how long that is once the trouble has a name.
	troublePatience = time.Minute
	// deadNodePatience is how long a node may be silent before the end of a deleted BuildDaemon's pod is no longer
	// waited for.
	deadNodePatience = time.Minute
)

// decideUpdates chooses which daemons get the present template now.
//
// Daemons that do not come up are first, whatever updateStrategy.maxUnavailable is: they have nothing to lose. Of the
// others as many are taken as maxUnavailable leaves. A daemon that does not come up stands in the way of no other,
// unless the roll-out itself may have broken it: it took builds before, no other daemon takes builds with the present
// template, and its trouble is not of its node or volume. Then the roll-out stops, as with an image that can't start.
func decideUpdates(s *snapshot, p *plan) {
	members := s.members(p)
	proven := slices.ContainsFunc(members, func(d daemon) bool { return d.differs == workload.UpToDate && d.serves() })
	budget, outdated := s.maxUnavailable(), []daemon{}
	for _, d := range members {
		if d.counts(s.now, proven) {
			budget--
		}
		switch {
		case d.canUpdate():
			if !d.serves() && !isPodReady(d.pod) {
				p.update(d)
			} else {
				outdated = append(outdated, d)
			}
		case d.Annotations[v1alpha1.AnnotationUpdating] != "" && d.serves() && d.differs == workload.UpToDate:
			p.settled = append(p.settled, d)
		}
	}
	slices.SortFunc(outdated, s.leastUsefulFirst)
	for _, d := range outdated[:max(min(budget, len(outdated)), 0)] {
		p.update(d)
	}
	if len(outdated) == 0 {
		return
	}
	for _, d := range members {
		if left := d.patience() - s.now.Sub(d.downSince()); !d.serves() && left > 0 {
			p.lookAgainAfter(left + time.Second) // another one may then take its place
		}
	}
}

// members are the daemons that run after the plan's other parts, but for those that are yet to be made or woken.
func (s *snapshot) members(p *plan) []daemon {
	leaves := map[string]bool{}
	for _, d := range p.suspend {
		leaves[d.Name] = true
	}
	var out []daemon
	for _, d := range s.daemons {
		if !d.Spec.Suspend && !leaves[d.Name] && d.DeletionTimestamp.IsZero() {
			out = append(out, d)
		}
	}
	return out
}

// maxUnavailable is how many daemons may be out of service at once, at least one. Percentages are rounded up.
func (s *snapshot) maxUnavailable() int {
	bound := ptr.Deref(s.cache.Spec.UpdateStrategy.MaxUnavailable, intstr.FromInt32(1))
	n, err := intstr.GetScaledValueFromIntOrPercent(&bound, int(wantedReplicas(s.cache)), true)
	if err != nil {
		return 1 // the API has refused anything else
	}
	return max(n, 1)
}

func (p *plan) update(d daemon) {
	if d.differs == workload.AgentImage {
		p.patch = append(p.patch, d)
	} else {
		p.replace = append(p.replace, d)
	}
}

func (p *plan) lookAgainAfter(d time.Duration) {
	if p.after == 0 || d < p.after {
		p.after = d
	}
}

// canUpdate reports whether the daemon's pod is not as the template wants it and another one would be.
func (d *daemon) canUpdate() bool {
	return d.differs != workload.UpToDate && d.rendered && d.pod.DeletionTimestamp.IsZero()
}

// ready is the daemon's Ready condition, the zero value while it has none.
func (d *daemon) ready() metav1.Condition {
	return ptr.Deref(meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionReady), metav1.Condition{})
}

// serves reports whether the agent of the daemon's present pod takes builds, cordoned or not.
func (d *daemon) serves() bool {
	return d.pod != nil && d.pod.DeletionTimestamp.IsZero() &&
		d.ready().Status == metav1.ConditionTrue &&
		!meta.IsStatusConditionTrue(d.Status.Conditions, v1alpha1.ConditionDraining) &&
		strings.HasPrefix(d.Status.AgentID, string(d.pod.UID)+"/") &&
		!isAgentReplaced(d.pod)
}

// isAgentReplaced reports whether the agent's image was changed in place and the kubelet has yet to act on it.
func isAgentReplaced(pod *corev1.Pod) bool {
	replaced := pod.Annotations[v1alpha1.AnnotationReplacedAgent]
	return replaced != "" && replaced == workload.AgentContainerID(pod)
}

// counts reports whether the daemon is one of those that may be out of service at once.
func (d *daemon) counts(now time.Time, proven bool) bool {
	switch {
	case d.serves():
		return false
	case d.ready().Status == metav1.ConditionTrue || now.Sub(d.downSince()) < d.patience():
		return true // it drains, or is on its way up
	default:
		return d.Annotations[v1alpha1.AnnotationUpdating] != "" && !proven && !status.IsOfPlace(d.ready().Reason)
	}
}

// downSince is since when the daemon could have come up.
func (d *daemon) downSince() time.Time {
	since := d.CreationTimestamp.Time
	if ready := d.ready(); ready.Status != metav1.ConditionTrue && ready.LastTransitionTime.After(since) {
		since = ready.LastTransitionTime.Time
	}
	if d.pod != nil && d.pod.CreationTimestamp.After(since) {
		since = d.pod.CreationTimestamp.Time
	}
	return since
}

// patience is how long a daemon that is down is waited for.
func (d *daemon) patience() time.Duration {
	if status.IsTrouble(d.ready().Reason) {
		return troublePatience
	}
	return startPatience
}

// isPodReady reports whether the kubelet finds the pod ready.
func isPodReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// isDead reports whether nothing can be expected any more of a pod of a deleted BuildDaemon: its node, nil for one
// that no longer exists, has been silent for a while.
func isDead(pod *corev1.Pod, node *corev1.Node, now time.Time) bool {
	if pod.DeletionTimestamp.IsZero() || pod.Spec.NodeName == "" {
		return false
	}
	if node == nil {
		return true
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status != corev1.ConditionTrue && now.Sub(c.LastTransitionTime.Time) >= deadNodePatience
		}
	}
	return false
}
