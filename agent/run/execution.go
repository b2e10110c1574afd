// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/go-logr/logr"
	bkclient "github.com/moby/buildkit/client"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/agent/buildlog"
	"github.com/openllb/hlb-operator/agent/cacheplan"
	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/inputs"
	"github.com/openllb/hlb-operator/agent/snapshot"
	"github.com/openllb/hlb-operator/agent/usage"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/attempt"
)

// exportTimeout bounds an export of build cache, so that one that hangs ends before the daemon's token for the
// registry does.
const exportTimeout = 30 * time.Minute

// claimTimeout bounds the tries of one claim, which take a slot. amendTimeout bounds a report that nobody waits for.
const (
	claimTimeout = 10 * time.Second
	amendTimeout = 2 * time.Minute
)

// run takes one attempt from its claim to its final report. claimed reports whether it was claimed before.
func (r *Runner) run(s *slot, b *v1alpha1.HLBBuild, cache *v1alpha1.BuildCache, claimed bool) {
	name := client.ObjectKeyFromObject(b)
	log := r.Log.WithValues("HLBBuild", klog.KObj(b), "run", s.claimed.Run, "attempt", s.claimed.Attempt)
	defer r.slots.finished()
	if !claimed {
		var err error
		if b, err = r.claim(s, b); err != nil {
			if !errors.Is(err, errNotMine) && s.ctx.Err() == nil {
				log.Error(err, "Failed to claim an attempt")
				r.slots.pause(name)
			}
			r.slots.end(name, s, false)
			return
		}
	}
	log.Info("Claimed a build", "key", b.Status.Run.Key)
	a := &execution{Runner: r, slot: s, build: b, cache: cache, log: log, began: r.Now()}
	ended := a.do()
	endSlot := sync.OnceFunc(func() { r.slots.end(name, s, true) })
	for _, step := range []func(){
		// before the end is reported: the next build of the key may begin at that moment
		func() { a.record(ended == ending{}) },
		func() { a.releaseMounts(ended == ending{}) },
		func() { a.report(ended, endSlot) },
		endSlot,
		func() { a.afterwards(ended) },
	} {
		//nolint:errcheck // it is logged, and the build has ended already
		a.recovered(func() error { step(); return nil })
	}
}

// claim makes the attempt the session's, or returns errNotMine.
func (r *Runner) claim(s *slot, b *v1alpha1.HLBBuild) (*v1alpha1.HLBBuild, error) {
	ctx, cancel := context.WithTimeout(s.ctx, claimTimeout)
	defer cancel()
	return r.reports.write(ctx, b, func(b *v1alpha1.HLBBuild) bool {
		return attempt.MayClaim(b, s.claimed)
	}, func(b *v1alpha1.HLBBuild) {
		attempt.Claim(b, s.claimed, r.Now())
	})
}

// execution is one claimed attempt that this process executes.
type execution struct {
	*Runner
	slot  *slot
	build *v1alpha1.HLBBuild // as last written
	cache *v1alpha1.BuildCache
	log   logr.Logger
	began time.Time

	epoch   string           // of the volume when the attempt began
	held    map[string]int64 // cache mounts that the daemon held before, with their bytes
	refresh bool             // older copies are to be brought up to date
	// cache mounts that the build has come to use, with their sharing; nil before it has compiled
	uses     map[string]string
	primed   []v1alpha1.PrimeStatus
	progress *progressLog // nil before it is opened
	logFile  string
	job      *daemon.Job
	out      *daemon.Outcome // nil while nothing was built
	err      error           // what building ended with
}

// do builds and returns how the build ended.
func (a *execution) do() ending {
	limit := time.Duration(a.build.Spec.TimeoutSeconds) * time.Second
	ctx, cancel := context.WithTimeoutCause(
		a.slot.ctx,
		limit-a.Now().Sub(a.build.Status.Run.StartedAt.Time),
		&deadlineError{limit},
	)
	defer cancel()
	a.err = a.recovered(func() error { return a.solve(ctx) })
	var cause error
	if ctx.Err() != nil {
		cause = context.Cause(ctx)
	}
	if a.err != nil {
		a.log.V(1).Info("The build ended with an error", "reason", a.err.Error())
	}
	return classify(a.err, cause, a.Daemon.IsVolumeFull())
}

// guarded is recovered for what other goroutines than the attempt's own call.
func (a *execution) guarded(f func()) {
	if err := a.recovered(func() error { f(); return nil }); err != nil {
		a.slot.cancel(err)
	}
}

// recovered calls f and turns a panic into a *panicError, so that it ends this attempt and no other.
func (a *execution) recovered(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{fmt.Sprint(p)}
			a.log.Error(err, "Panicked", "stack", string(debug.Stack()))
		}
	}()
	return f()
}

// solve gathers what the build names and has the daemon build it.
func (a *execution) solve(ctx context.Context) error {
	registry := a.cache.Spec.Registry
	key := a.build.Status.Run.Key
	if !a.Daemon.HasObserved() {
		a.Daemon.Observe(ctx)
	}
	a.epoch, a.held = a.Usage.Epoch(), a.Daemon.Held()
	mounts, known := a.Usage.KeyMounts(key)
	a.refresh = a.build.Status.Placement != nil && a.build.Status.Placement.Refresh
	fresh := a.refresh || cacheplan.IsFresh(known, mounts, a.held)
	in, err := inputs.Gather(ctx, a.Live, a.build, a.cache)
	if err != nil {
		var missing *inputs.Error
		if errors.As(err, &missing) {
			return err
		}
		return &apiError{err}
	}
	a.job = &daemon.Job{
		Namespace:  a.build.Namespace,
		Spec:       &a.build.Spec,
		Inputs:     in,
		Registry:   registry,
		Registries: a.cache.Spec.BuildKit.Registries,
		Mounts:     a.cache.Spec.Mounts,
		Steps:      stepLimits(a.cache),
		Frontends:  a.cache.Spec.AllowedFrontends,
		IsVisiting: a.build.Namespace != a.cache.Namespace,
		Plan:       cacheplan.Decide(registry, fresh, key, a.build.Namespace),
	}
	for _, e := range a.cache.Spec.BuildKit.Entitlements {
		a.job.Entitlements = append(a.job.Entitlements, string(e))
	}
	a.progress = a.openLog()
	a.job.Progress = func(s *bkclient.SolveStatus) {
		a.slots.progressed()
		a.guarded(func() { a.progress.see(s) })
	}
	a.job.Prepare = func(ctx context.Context, used []daemon.Mount) { a.guarded(func() { a.prepare(ctx, used) }) }
	a.out, err = a.Builder.Build(ctx, a.job)
	return err
}

// openLog opens the attempt's log file. Without one the build goes on: its log is not worth failing it.
func (a *execution) openLog() *progressLog {
	name := buildlog.Name(a.build.Namespace, a.build.Name, a.slot.claimed.Run, a.slot.claimed.Attempt)
	file, err := buildlog.Create(filepath.Join(a.StateDir, "logs"), name)
	if err != nil {
		a.log.Error(err, "Failed to open the build's log")
	}
	if file == nil {
		return newProgressLog(nil, a.log)
	}
	a.logFile = file.Path()
	return newProgressLog(file, a.log)
}

// prepare primes the mounts of a build that has compiled.
func (a *execution) prepare(ctx context.Context, used []daemon.Mount) {
	a.uses = snapshot.Sharing(used)
	var err error
	a.primed, err = a.Maker.Begin(ctx, a.cache, a.epoch, used, a.held, a.refresh)
	a.logStateError(err)
}

// releaseMounts records how the build ended, if it came to use mounts.
func (a *execution) releaseMounts(succeeded bool) {
	if a.uses != nil {
		a.logStateError(a.Maker.State.End(a.uses, succeeded))
	}
}

// logStateError logs that the state was not written, which costs a snapshot too many at worst.
func (a *execution) logStateError(err error) {
	if err != nil {
		a.log.Error(err, "Failed to write the state of snapshots")
	}
}

// report writes how the attempt ended, with what is known of its mounts' sizes by now. kept is called if that takes
// longer, once the end is kept on the volume.
func (a *execution) report(e ending, kept func()) {
	if e.silent {
		a.log.Info("Cancelled a build")
		return
	}
	now := a.Now()
	r := report{
		Build: client.ObjectKeyFromObject(a.build), Claimed: a.slot.claimed, End: e.end(now),
		Details: a.details(a.Daemon.Held()),
	}
	if written := a.deliver(r, a.build, kept); written != nil {
		a.build = written
	}
}

// afterwards does what nobody waits for: it lists the cache, records the sizes of mounts and exports the cache, with a
// second report on that alone.
func (a *execution) afterwards(e ending) {
	if a.progress != nil {
		a.progress.end(a.err)
	}
	a.Daemon.Observe(a.life)
	if a.out == nil || e.silent {
		return
	}
	bytes := a.Daemon.Held()
	a.Sizing.Record(mountIDs(a.out), bytes, a.Now())
	succeeded := e == ending{}
	if !succeeded || a.job.Plan.Export == "" || a.out.Total == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(a.life, exportTimeout)
	exportErr := a.Builder.ExportCache(ctx, a.job, a.out)
	cancel()
	ctx, cancel = context.WithTimeout(a.life, amendTimeout)
	defer cancel()
	_, err := a.reports.write(ctx, a.build, func(b *v1alpha1.HLBBuild) bool {
		return attempt.MayAmend(b, a.slot.claimed)
	}, func(b *v1alpha1.HLBBuild) {
		setMountBytes(b.Status.Mounts, bytes)
		setExported(b, a.job.Plan.Export, exportErr, a.Now())
	})
	if err != nil && !errors.Is(err, errNotMine) {
		a.log.Error(err, "Failed to report the export of the cache")
	}
}

// record records the build's use of its key and mounts. Of one that did not succeed, only the mounts that it may have
// used count.
func (a *execution) record(succeeded bool) {
	if a.out == nil {
		return
	}
	key, mounts := a.build.Status.Run.Key, mountIDs(a.out)
	if !succeeded {
		a.Usage.RecordMounts(key, a.epoch, mounts, a.Now())
		return
	}
	a.Usage.RecordBuild(usage.Build{
		Key:     key,
		Epoch:   a.epoch,
		Fresh:   a.job.Plan.Fresh,
		Seconds: max(int32((a.Now().Sub(a.began)+time.Second-1)/time.Second), 1),
		Mounts:  mounts,
	}, a.Now())
}

// mountIDs lists the cache mounts of a build.
func mountIDs(out *daemon.Outcome) []string {
	var ids []string
	for _, m := range out.Mounts {
		ids = append(ids, m.ID)
	}
	return ids
}
