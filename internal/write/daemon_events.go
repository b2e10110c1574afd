// SPDX-License-Identifier: Apache-2.0

package write

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// daemonChanged lists the events of a write to a daemon's status.
func daemonChanged(before, after *v1alpha1.BuildDaemon) []Event {
	was, is := before.Status.Conditions, after.Status.Conditions
	var out []Event
	if c := changedTo(was, is, v1alpha1.ConditionReady); c != nil && c.Reason == v1alpha1.ReasonLeaseExpired {
		out = append(out, warning(after, c.Reason, "WatchLease", c.Message))
	}
	if c := changedTo(was, is, v1alpha1.ConditionGCPolicyInForce); c != nil && c.Status == metav1.ConditionFalse {
		out = append(out, warning(after, c.Reason, "CompareGCPolicy", c.Message))
	}
	if c := changedTo(was, is, v1alpha1.ConditionRegistryCleaned); c != nil && c.Status == metav1.ConditionFalse {
		out = append(out, warning(after, c.Reason, "CleanUpRegistry", c.Message))
	}
	return out
}

// TagsDeleted is about tags that an agent deleted from the registry, for one of the reasons of RegistryCleaned.
func TagsDeleted(d *v1alpha1.BuildDaemon, reason string, tags []string) Event {
	note := fmt.Sprintf("Deleted %d tags: %s", len(tags), strings.Join(tags, ", "))
	return normal(d, reason, "CleanUpRegistry", note)
}

// MountPruned is about a cache mount that the agent evicted. redundant means that another daemon has a copy that was
// used later.
func MountPruned(
	d *v1alpha1.BuildDaemon,
	id string,
	reason v1alpha1.PruneReason,
	bytes int64,
	redundant bool,
) Event {
	note := fmt.Sprintf("%s: pruned cache mount %s of %d MiB", reason, id, bytes>>20)
	if redundant {
		note += ", a redundant copy: another daemon has one that was used later"
	}
	return normal(ofMount(d, "status.mounts", id), v1alpha1.ReasonPruned, "PruneMount", note)
}

// MountPrefetched is about a mount that was brought in ahead of builds, or should have been. That there is no snapshot
// yet, or that the mount was there, has no event.
func MountPrefetched(d *v1alpha1.BuildDaemon, p *v1alpha1.PrimeStatus) []Event {
	regarding := ofMount(d, "status.prefetch", p.ID)
	switch p.Outcome {
	case v1alpha1.PrimeNoSnapshot, v1alpha1.PrimeHeld:
		return nil
	case v1alpha1.PrimeTimedOut, v1alpha1.PrimeFailed:
		note := fmt.Sprintf("%s was not brought in: %s", p.ID, p.Message)
		return []Event{warning(regarding, v1alpha1.ReasonPrefetchFailed, "Prefetch", note)}
	default:
		return []Event{normal(regarding, v1alpha1.ReasonPrefetched, "Prefetch", prefetchNote(p))}
	}
}

func prefetchNote(p *v1alpha1.PrimeStatus) string {
	return fmt.Sprintf("Brought in %s with %d MiB in %d s from %s", p.ID, p.Bytes>>20, p.DurationSeconds, p.Ref)
}

// SnapshotPushed is about a mount whose content was pushed as an image.
func SnapshotPushed(d *v1alpha1.BuildDaemon, id string, bytes int64, ref string) Event {
	note := fmt.Sprintf("Pushed cache mount %s of %d MiB to %s", id, bytes>>20, ref)
	return normal(ofMount(d, "status.mounts", id), v1alpha1.ReasonSnapshotPushed, "Snapshot", note)
}

// SnapshotTrouble is about a snapshot of a mount that was not made, is overdue, or left old ones behind.
func SnapshotTrouble(d *v1alpha1.BuildDaemon, id, reason, note string) Event {
	return warning(ofMount(d, "status.mounts", id), reason, "Snapshot", note)
}
