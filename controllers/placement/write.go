// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/openllb/hlb-operator/fleet"
	"github.com/openllb/hlb-operator/internal/write"
)

// writers is how many objects a round writes at once: the API server takes some milliseconds for each, most of it
// waiting for its disk.
const writers = 8

// write writes what a cycle wants written, and returns what arrived. Everything is tried, and the errors are joined. A
// conflict is none: the object changed meanwhile, and that change makes another round.
func (r *Reconciler) write(ctx context.Context, l *loop, writes *fleet.Writes) (fleet.Written, error) {
	builds, prefetch := len(writes.Builds), len(writes.Prefetch)
	arrived, errs := make([]bool, builds+prefetch), make([]error, builds+prefetch)
	var group errgroup.Group
	group.SetLimit(writers)
	for i := range arrived {
		group.Go(func() error {
			if i < builds {
				arrived[i], errs[i] = r.writeBuild(ctx, l, &writes.Builds[i])
			} else {
				arrived[i], errs[i] = r.writePrefetch(ctx, &writes.Prefetch[i-builds])
			}
			return nil
		})
	}
	_ = group.Wait()
	out := fleet.Written{At: r.Clock.Now().UTC().Round(0)}
	for i := range writes.Builds {
		if w := &writes.Builds[i]; arrived[i] && w.IsPlacement() {
			out.Placed = append(out.Placed, w.Placed())
		}
	}
	for i := range writes.Prefetch {
		if arrived[builds+i] {
			out.Prefetch = append(out.Prefetch, writes.Prefetch[i].Added...)
		}
	}
	return out, errors.Join(errs...)
}

// writeBuild writes one decision to its build, together with the run where that is opened in memory only.
func (r *Reconciler) writeBuild(ctx context.Context, l *loop, w *fleet.BuildWrite) (arrived bool, err error) {
	before := w.Build
	if o, opened := l.opened[client.ObjectKeyFromObject(w.Build)]; opened && o.after == w.Build {
		before = o.before
	}
	after := withOwnStatus(w.Build)
	w.Apply(after, r.Clock.Now())
	writer := &write.Writer{Client: r.Client, Events: r.Events}
	outcome, err := writer.PatchStatus(ctx, before, after, write.Yield)
	if err != nil || outcome != write.Written {
		return false, err
	}
	if w.IsPlacement() {
		d := &w.Decision
		log.FromContext(ctx).Info("Placed a build", "HLBBuild", before.Name, "daemon", d.Chosen.Name,
			"reason", d.Reason.String(), "run", after.Status.Run.ID)
	}
	return true, nil
}

// writePrefetch writes a daemon's requests.
func (r *Reconciler) writePrefetch(ctx context.Context, w *fleet.PrefetchWrite) (arrived bool, err error) {
	after := w.Daemon.DeepCopy()
	after.Spec.Prefetch = w.Requests
	writer := &write.Writer{Client: r.Client, Events: r.Events}
	outcome, err := writer.Patch(ctx, w.Daemon, after, write.Yield)
	if err != nil || outcome != write.Written {
		return false, err
	}
	for _, q := range w.Added {
		log.FromContext(ctx).
			Info("Requested a prefetch", "BuildDaemon", w.Daemon.Name, "mount", q.ID, "bytes", q.Bytes)
	}
	return true, nil
}
