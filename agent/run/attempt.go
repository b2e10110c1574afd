// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/agent/buildlog"
	"github.com/openllb/hlb-operator/agent/cacheplan"
	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/inputs"
	"github.com/openllb/hlb-operator/agent/snapshot"
	"github.com/openllb/hlb-operator/agent/usage"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
)

// exportTimeout bounds an export of build cache, so that one that hangs ends before the daemon's token for the
// registry does.
const exportTimeout = 30 * time.Minute

// run takes one attempt from its claim to its final report. claimed reports whether it was claimed before.
func (r *Runner) run(s *slot, b *v1alpha1.HLBBuild, cache *v1alpha1.BuildCache, claimed bool) {
	name := client.ObjectKeyFromObject(b)
	log := r.Log.WithValues("HLBBuild", klog.KObj(b), "run", s.id.run, "attempt", s.id.attempt)
	defer r.slots.finished()
	if !claimed {
		var err error
		if b, err = r.claim(s, b); err != nil {
			if !errors.Is(err, errNotMine) {
				log.Error(err, "Failed to claim an attempt")
			}
			r.slots.end(name, s, false)
			return
		}
	}
	log.Info("Claimed a build", "key", b.Status.Run.Key)
	a := &attempt{Runner: r, slot: s, build: b, cache: cache, log: log, began: r.Now()}
	ended := a.do()
	// before the end is reported: the next build of the key may begin at that moment
	a.record(ended == ending{})
	a.releaseMounts(ended == ending{})
	a.report(ended)
	r.slots.end(name, s, true)
	a.afterwards(ended)
}

// claim makes the attempt this agent's, or returns errNotMine.
func (r *Runner) claim(s *slot, b *v1alpha1.HLBBuild) (*v1alpha1.HLBBuild, error) {
	return r.reports.write(s.ctx, b, func(b *v1alpha1.HLBBuild) bool {
		return decide(b, &r.Self, nil) == actionClaim && attemptOf(b) == s.id
	}, func(b *v1alpha1.HLBBuild) {
		status.Start(b, r.Self.AgentID, r.Now())
	})
}

// attempt is one claimed attempt.
type attempt struct {
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
func (a *attempt) do() ending {
	limit := time.Duration(a.build.Spec.TimeoutSeconds) * time.Second
	ctx, cancel := context.WithTimeoutCause(
		a.slot.ctx,
		limit-a.Now().Sub(a.build.Status.Run.StartedAt.Time),
		&deadlineError{limit},
	)
	defer cancel()
	a.err = a.solve(ctx)
	var cause error
	if ctx.Err() != nil {
		cause = context.Cause(ctx)
	}
	if a.err != nil {
		a.log.V(1).Info("The build ended with an error", "reason", a.err.Error())
	}
	return classify(a.err, cause, a.Daemon.IsVolumeFull())
}

// solve gathers what the build names and has the daemon build it.
func (a *attempt) solve(ctx context.Context) error {
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
		Plan:       cacheplan.Decide(registry, fresh, key, a.build.Namespace),
	}
	for _, e := range a.cache.Spec.BuildKit.Entitlements {
		a.job.Entitlements = append(a.job.Entitlements, string(e))
	}
	a.progress = a.openLog()
	a.job.Progress, a.job.Prepare = a.progress.see, a.prepare
	a.out, err = a.Builder.Build(ctx, a.job)
	return err
}

// openLog opens the attempt's log file. Without one the build goes on: its log is not worth failing it.
func (a *attempt) openLog() *progressLog {
	name := buildlog.Name(a.build.Namespace, a.build.Name, a.slot.id.run, a.slot.id.attempt)
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
func (a *attempt) prepare(ctx context.Context, used []daemon.Mount) {
	a.uses = snapshot.Sharing(used)
	var err error
	a.primed, err = a.Maker.Begin(ctx, a.cache, a.epoch, used, a.held, a.refresh)
	a.logStateError(err)
}

// releaseMounts records how the build ended, if it came to use mounts.
func (a *attempt) releaseMounts(succeeded bool) {
	if a.uses != nil {
		a.logStateError(a.Maker.State.End(a.uses, succeeded))
	}
}

// logStateError logs that the state was not written, which costs a snapshot too many at worst.
func (a *attempt) logStateError(err error) {
	if err != nil {
		a.log.Error(err, "Failed to write the state of snapshots")
	}
}

// report writes how the attempt ended, with what is known of its mounts' sizes by now.
func (a *attempt) report(e ending) {
	if e.silent {
		a.log.Info("Cancelled a build")
		return
	}
	now, bytes := a.Now(), a.Daemon.Held()
	write := func(describe func(*v1alpha1.HLBBuild)) (*v1alpha1.HLBBuild, error) {
		return a.reports.write(a.life, a.build, func(b *v1alpha1.HLBBuild) bool {
			return isMine(b, a.slot.id, &a.Self) && !status.IsFinal(b)
		}, func(b *v1alpha1.HLBBuild) {
			describe(b)
			e.apply(b, now)
		})
	}
	written, err := write(func(b *v1alpha1.HLBBuild) {
		a.describe(b, now)
		setMountBytes(b, bytes)
	})
	if apierrors.IsInvalid(err) { // an end without its details is better than none
		a.log.Error(err, "The API server refuses the details of a report")
		written, err = write(func(*v1alpha1.HLBBuild) {})
	}
	if err != nil {
		a.log.Error(err, "Failed to report the end of an attempt")
		return
	}
	a.build = written
}

// afterwards does what nobody waits for: it lists the cache, records the sizes of mounts and exports the cache, with a
// second report on that alone.
func (a *attempt) afterwards(e ending) {
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
	_, err := a.reports.write(a.life, a.build, func(b *v1alpha1.HLBBuild) bool {
		return isMine(b, a.slot.id, &a.Self)
	}, func(b *v1alpha1.HLBBuild) {
		setMountBytes(b, bytes)
		setExported(b, a.job.Plan.Export, exportErr, a.Now())
	})
	if err != nil {
		a.log.Error(err, "Failed to report the export of the cache")
	}
}

// record records the build's use of its key and mounts. Of one that did not succeed, only the mounts that it may have
// used count.
func (a *attempt) record(succeeded bool) {
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
