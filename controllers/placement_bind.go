// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/internal/write"
	"github.com/openllb/hlb-operator/scheduler"
)

// writers is how many statuses a round writes at once: the API server takes some milliseconds for each, most of it
// waiting for its disk.
const writers = 8

// Builds that keep waiting are told so, but telling must not keep the API server from placements: when thousands wait
// and a daemon comes or goes, all of them have news.
const (
	tellsPerSecond = 50
	tellsAtOnce    = 200
	// retellReason and retellCount are how long a build has what it was told before it is told another reason, or
	// another count of refusals.
	retellReason = 10 * time.Second
	retellCount  = time.Minute
)

// verdictOf is a decision that is to be written.
type verdictOf struct {
	inLine
	decision *scheduler.Decision
	// placed says that it was written and that the build runs.
	placed bool
}

// plan chooses the decisions that are worth a write: all placements, and of the news for builds that wait as many as
// may be told, those that were never told anything first.
func (f *fleet) plan(waiting []inLine, decisions []scheduler.Decision) []verdictOf {
	var todo []verdictOf
	for i := range decisions {
		if decisions[i].Action == scheduler.Run {
			todo = append(todo, verdictOf{inLine: waiting[i], decision: &decisions[i]})
		}
	}
	for _, again := range []bool{false, true} {
		for i := range decisions {
			k, d := waiting[i].known, &decisions[i]
			if d.Action == scheduler.Run || again == k.toldAt.IsZero() || f.now.Sub(k.toldAt) < retellReason {
				continue
			}
			sameReason, worth := worthTelling(waiting[i].build, d, f.now.Sub(k.toldAt) >= retellCount)
			if !worth {
				if sameReason && k.toldAt.IsZero() {
					k.toldAt = f.now // by the manager before this one
				}
				continue
			}
			if !f.memory.tells.AllowN(f.now, 1) {
				return todo
			}
			k.toldAt = f.now
			todo = append(todo, verdictOf{inLine: waiting[i], decision: d})
		}
	}
	return todo
}

// chosen are placements alone.
func chosen(waiting []inLine, starts []scheduler.Decision) []verdictOf {
	if len(starts) == 0 {
		return nil
	}
	of := make(map[string]*scheduler.Decision, len(starts))
	for i := range starts {
		of[starts[i].UID] = &starts[i]
	}
	todo := make([]verdictOf, 0, len(starts))
	for i := range waiting {
		if d := of[string(waiting[i].build.UID)]; d != nil {
			todo = append(todo, verdictOf{inLine: waiting[i], decision: d})
		}
	}
	return todo
}

// carryOut writes decisions and says how many builds were placed. What was written is assumed until it is seen. Every
// decision is tried, and the errors are joined.
func (r *PlacementReconciler) carryOut(ctx context.Context, m *memory, todo []verdictOf) (placed int, err error) {
	errs := make([]error, len(todo))
	next := make(chan int)
	var all sync.WaitGroup
	for range min(writers, len(todo)) {
		all.Go(func() {
			for i := range next {
				errs[i] = r.write(ctx, &todo[i])
			}
		})
	}
	for i := range todo {
		next <- i
	}
	close(next)
	all.Wait()
	for i := range todo {
		if v := &todo[i]; v.placed {
			placed++
			m.assume(v.build.UID, assumption{
				daemon: v.decision.Chosen.Name, before: v.build.ResourceVersion, warm: v.decision.Chosen.Mode == scheduler.Warm, at: r.Clock.Now(),
			})
		}
	}
	return placed, errors.Join(errs...)
}

// placementOf says where a build is to run.
func placementOf(d *scheduler.Decision) v1alpha1.PlacementStatus {
	return v1alpha1.PlacementStatus{
		Daemon: d.Chosen.Name, Reason: d.String(), Rank: d.Chosen.Rank, Warm: d.Chosen.Mode == scheduler.Warm, Refresh: d.Chosen.Prime != 0,
	}
}

// write writes one decision to its build. A conflict means that the build changed meanwhile; that change runs the
// loop again.
func (r *PlacementReconciler) write(ctx context.Context, v *verdictOf) error {
	build, d, now := v.build.DeepCopy(), v.decision, r.Clock.Now()
	if d.Action == scheduler.Run {
		status.Place(build, placementOf(d), now)
	} else {
		status.Wait(build, waitReason(d), d.String(), now)
	}
	writer := &write.Writer{Client: r.Client, Events: r.Events}
	outcome, err := writer.PatchStatus(ctx, v.build, build, write.Yield)
	if err != nil {
		return fmt.Errorf("bind %s: %w", build.Name, err)
	}
	if d.Action == scheduler.Run && outcome == write.Written {
		v.placed = true
		log.FromContext(ctx).
			Info("Placed a build", "HLBBuild", build.Name, "daemon", d.Chosen.Name, "reason", d.Reason.String(), "run", build.Status.Run.ID)
	}
	return nil
}

func waitReason(d *scheduler.Decision) string {
	if d.Action == scheduler.Wait {
		return v1alpha1.ReasonWaitingForDaemon
	}
	return v1alpha1.ReasonNoDaemonFits
}

// worthTelling says whether a build that keeps waiting has news: a new reason, or for want of a daemon a new count,
// where counts are asked for. The seconds that a wait is expected to take change all the time and are not news.
func worthTelling(build *v1alpha1.HLBBuild, d *scheduler.Decision, counts bool) (sameReason, worth bool) {
	for i := range build.Status.Conditions {
		if c := &build.Status.Conditions[i]; c.Type == v1alpha1.ConditionScheduled {
			same := c.Reason == waitReason(d)
			return same, !same || counts && d.Action == scheduler.NoFit && c.Message != d.String()
		}
	}
	return false, true
}
