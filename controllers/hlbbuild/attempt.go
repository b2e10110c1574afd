// SPDX-License-Identifier: Apache-2.0

package hlbbuild

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/watches"
	"github.com/openllb/hlb-operator/internal/attempt"
	"github.com/openllb/hlb-operator/internal/failure"
	"github.com/openllb/hlb-operator/internal/status"
)

// daemonFacts are what decides about an attempt that a daemon has.
type daemonFacts struct {
	// gone is set when nothing should be executing there; starts when the agent starts what it is given.
	gone, starts bool
	// cause of its being gone or starting nothing.
	cause attempt.Cause
}

// factsOf reads a daemon's facts from its object, nil for one that no longer exists.
func factsOf(name string, daemon *v1alpha1.BuildDaemon) daemonFacts {
	switch {
	case daemon == nil:
		return daemonFacts{gone: true, cause: attempt.Cause{
			Reason: v1alpha1.ReasonDaemonRemoved, Message: fmt.Sprintf("Daemon %s no longer exists", name),
		}}
	case status.IsGone(daemon):
		ready := meta.FindStatusCondition(daemon.Status.Conditions, v1alpha1.ConditionReady)
		return daemonFacts{gone: true, cause: attempt.Cause{
			Reason: status.LossOf(daemon), Message: fmt.Sprintf("Daemon %s: %s", name, ready.Message),
		}}
	case !status.StartsBuilds(daemon):
		return daemonFacts{cause: attempt.Cause{
			Reason:  v1alpha1.ReasonDaemonDraining,
			Message: fmt.Sprintf("Daemon %s stopped taking builds before its agent started this one", name),
		}}
	}
	return daemonFacts{starts: true}
}

// checkAttempt looks whether the daemon that has an attempt of the build still answers for it, and changes the status
// in memory if not. It returns how long until another look, 0 for none.
func (r *Reconciler) checkAttempt(ctx context.Context, build *v1alpha1.HLBBuild) (time.Duration, error) {
	name := client.ObjectKeyFromObject(build)
	if !status.IsBound(build) && !status.IsReleasing(build) {
		r.waits.end(name)
		return 0, nil
	}
	facts, err := r.readFacts(ctx, build.DaemonName())
	if err != nil {
		return 0, err
	}
	session, may := attempt.Executing(build)
	switch {
	case !may:
		r.waits.end(name)
		if !facts.starts {
			attempt.Withdraw(build, facts.cause.Message, r.Clock.Now())
		}
		return 0, nil
	case facts.gone:
		return r.checkSession(ctx, build, session, facts.cause)
	}
	return r.checkWait(ctx, build, session)
}

// readFacts reads a daemon's facts.
func (r *Reconciler) readFacts(ctx context.Context, name types.NamespacedName) (daemonFacts, error) {
	daemon := &v1alpha1.BuildDaemon{}
	// it may list hundreds of keys, and is only read
	err := r.Client.Get(ctx, name, daemon, client.UnsafeDisableDeepCopy)
	switch {
	case apierrors.IsNotFound(err):
		daemon = nil
	case err != nil:
		return daemonFacts{}, fmt.Errorf("read BuildDaemon: %w", err)
	}
	return factsOf(name.Name, daemon), nil
}

// checkSession gives up what a session executes, once the session is known to be over.
func (r *Reconciler) checkSession(
	ctx context.Context, build *v1alpha1.HLBBuild, s attempt.Session, cause attempt.Cause,
) (time.Duration, error) {
	over, left, err := r.Liveness.IsOver(ctx, s)
	if err != nil || !over {
		return left, err
	}
	r.waits.end(client.ObjectKeyFromObject(build))
	if attempt.Release(build, over, r.Clock.Now()) {
		return 0, nil
	}
	neighbours, err := r.neighbours(ctx, build, cause.Reason)
	if err != nil {
		return 0, err
	}
	attempt.DeclareLost(build, over, cause, neighbours, r.Clock.Now())
	return 0, nil
}

// next decides about a run whose attempt was lost.
func (r *Reconciler) next(ctx context.Context, build *v1alpha1.HLBBuild) error {
	if !status.IsLost(build) {
		return nil
	}
	neighbours, err := r.neighbours(ctx, build, build.Status.Run.Lost.Reason)
	if err != nil {
		return err
	}
	attempt.Next(build, neighbours, r.Clock.Now())
	return nil
}

// neighbours counts the builds that ran beside a build whose daemon has died; 0 for a build that was lost for another
// reason.
func (r *Reconciler) neighbours(ctx context.Context, build *v1alpha1.HLBBuild, reason string) (int, error) {
	if !failure.Of(reason).Death {
		return 0, nil
	}
	var all v1alpha1.HLBBuildList
	byCache := client.MatchingFields{watches.IndexCache: build.Spec.CacheRef.Name}
	if err := r.Client.List(ctx, &all, byCache, client.UnsafeDisableDeepCopy); err != nil {
		return 0, fmt.Errorf("list the builds that ran beside it: %w", err)
	}
	return attempt.Neighbours(build, all.Items, r.Clock.Now()), nil
}

// checkWait bounds what the manager waits for: the report of an attempt, and the acknowledgement of a release. It is
// measured from when the manager saw the wait begin, with its own clock.
func (r *Reconciler) checkWait(
	ctx context.Context, build *v1alpha1.HLBBuild, s attempt.Session,
) (time.Duration, error) {
	name, now := client.ObjectKeyFromObject(build), r.Clock.Now()
	if release := build.Status.Releasing; release != nil {
		what := fmt.Sprintf("release of %s/%d by %s", release.Run, release.Attempt, release.StartedBy)
		if left := attempt.ReleaseWithin - r.waits.length(name, what, now); left > 0 {
			return left, nil
		}
		revoked, err := r.Liveness.Revoke(ctx, s)
		if err != nil {
			return 0, err
		}
		if revoked {
			log.FromContext(ctx).Info("Revoked the Lease of an agent that does not acknowledge a release",
				"daemon", s.Daemon.Name, "agentID", s.ID)
		}
		return r.checkSession(ctx, build, s, attempt.Cause{}) // also where it is another's by now
	}
	limit := time.Duration(build.Spec.TimeoutSeconds)*time.Second + attempt.ReportWithin
	what := fmt.Sprintf("report of %s/%d by %s", build.Status.Run.ID, build.Status.Run.Attempt, s.ID)
	if left := limit - r.waits.length(name, what, now); left > 0 {
		return left, nil
	}
	attempt.GiveUp(build, fmt.Sprintf("The agent has not reported the end of the attempt within %s", limit), now)
	return attempt.ReleaseWithin, nil
}

// waits are since when the manager waits for something about each build. They are lost with the process: then it waits
// anew. They are safe for concurrent use.
type waits struct {
	mu    sync.Mutex
	since map[types.NamespacedName]wait
}

type wait struct {
	what string
	at   time.Time
}

// length returns for how long something has been waited for about a build; it begins with the first call.
func (w *waits) length(name types.NamespacedName, what string, now time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.since == nil {
		w.since = map[types.NamespacedName]wait{}
	}
	if begun := w.since[name]; begun.what == what {
		return now.Sub(begun.at)
	}
	w.since[name] = wait{what, now}
	return 0
}

// end ends the wait about a build, if there is one.
func (w *waits) end(name types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.since, name)
}
