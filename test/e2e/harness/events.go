// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"

	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// CountEvents returns how often an object was the subject of events with a reason. Repetitions that were merged into
// one event count each.
func (c *Cluster) CountEvents(ctx context.Context, about client.Object, reason string) (count int, err error) {
	var events eventsv1.EventList
	err = c.Client.List(ctx, &events, client.InNamespace(about.GetNamespace()))
	for i := range events.Items {
		e := &events.Items[i]
		if e.Regarding.UID != about.GetUID() || e.Reason != reason {
			continue
		}
		if count++; e.Series != nil {
			count += int(e.Series.Count) - 1
		}
	}
	return count, err
}
