// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/openllb/hlb-operator/agent/buildlog"
	"github.com/openllb/hlb-operator/agent/cacheplan"
	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/inputs"
	"github.com/openllb/hlb-operator/agent/lease"
	"github.com/openllb/hlb-operator/agent/ledger"
	"github.com/openllb/hlb-operator/agent/snapshot"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
)

// Builder is the agent's buildkitd. *daemon.Daemon is one; tests have others.
type Builder interface {
	// Build compiles a program, builds its targets and pushes its images. The outcome is never nil.
	Build(ctx context.Context, job *daemon.Job) (*daemon.Outcome, error)
	// ExportCache writes the registry cache of a job that Build has just done, to job.Plan.Export.
	ExportCache(ctx context.Context, job *daemon.Job, out *daemon.Outcome) error
	// Ping returns nil when the daemon answers.
	Ping(ctx context.Context) error
	// Observe asks the daemon about itself.
	Observe(ctx context.Context) (*daemon.Observation, error)
	// Prune deletes records of the cache and returns what those took that are gone.
	Prune(ctx context.Context, ids []string) (map[string]int64, error)
	snapshot.Copier
}

// exportTimeout bounds an export of build cache, so that one that hangs ends before the daemon's token for the
// registry does.
const exportTimeout = 30 * time.Minute

// worker takes up builds and runs them.
type worker struct {
	opts      Options
	me        self
	client    client.Client // reads from the cache
	live      client.Reader
	lease     *lease.Keeper
	reports   *reporter
	attempts  *attempts
	inventory *inventory
	mounts    *mounts
	prefetch  *prefetcher
	hygiene   *hygiene
	ledger    *ledger.Ledger
	builder   Builder
	events    events.EventRecorder
	log       logr.Logger
	now       func() time.Time
	wakes     chan event.GenericEvent
	// life ends when the agent has drained: nothing is reported after it.
	life context.Context
}

// run takes one attempt from its claim to its last words. claimed says that it was claimed before.
func (w *worker) run(a *attempt, b *v1alpha1.HLBBuild, cache *v1alpha1.BuildCache, claimed bool) {
	name := client.ObjectKeyFromObject(b)
	log := w.log.WithValues("HLBBuild", klog.KObj(b), "run", a.id.run, "attempt", a.id.attempt)
	defer w.attempts.finished()
	if !claimed {
		var err error
		if b, err = w.claim(a, b); err != nil {
			if !errors.Is(err, errNotMine) {
				log.Info("Could not claim an attempt", "reason", err.Error())
			}
			w.attempts.end(name, a, false)
			return
		}
	}
	w.inventory.kick()
	log.Info("Took up a build", "key", b.Status.Run.Key)
	t := &task{worker: w, attempt: a, build: b, cache: cache, log: log, began: w.now()}
	ended := t.do()
	t.record(ended == ending{}) // before anyone hears of it: the next build of the key may begin at that moment
	t.letGoOfMounts(ended == ending{})
	t.report(ended)
	w.attempts.end(name, a, true)
	t.afterwards(ended)
}

// claim makes the attempt this agent's, or returns errNotMine.
func (w *worker) claim(a *attempt, b *v1alpha1.HLBBuild) (*v1alpha1.HLBBuild, error) {
	return w.reports.write(a.ctx, b, func(b *v1alpha1.HLBBuild) bool {
		return judge(b, w.me, nil) == takeUp && attemptOf(b) == a.id
	}, func(b *v1alpha1.HLBBuild) {
		status.Start(b, w.me.agentID, w.now())
	})
}

// task is one claimed attempt.
type task struct {
	*worker
	attempt *attempt
	build   *v1alpha1.HLBBuild // as last written
	cache   *v1alpha1.BuildCache
	log     logr.Logger
	began   time.Time

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

// do builds and says how it ended.
func (t *task) do() ending {
	limit := time.Duration(t.build.Spec.TimeoutSeconds) * time.Second
	ctx, cancel := context.WithTimeoutCause(
		t.attempt.ctx,
		limit-t.now().Sub(t.build.Status.Run.StartedAt.Time),
		&deadlineError{limit},
	)
	defer cancel()
	t.err = t.solve(ctx)
	var cause error
	if ctx.Err() != nil {
		cause = context.Cause(ctx)
	}
	if t.err != nil {
		t.log.V(1).Info("The build ended with an error", "reason", t.err.Error())
	}
	return classify(t.err, cause, t.inventory.isVolumeFull())
}

// solve gathers what the build names and has the daemon build it.
func (t *task) solve(ctx context.Context) error {
	registry := t.cache.Spec.Registry
	key := t.build.Status.Run.Key
	if !t.inventory.hasLooked() {
		t.inventory.refresh(ctx)
	}
	t.epoch, t.held = t.ledger.Epoch(), t.inventory.mountBytes()
	mounts, known := t.ledger.KeyMounts(key)
	t.refresh = t.build.Status.Placement != nil && t.build.Status.Placement.Refresh
	fresh := t.refresh || cacheplan.IsFresh(known, mounts, t.held)
	in, err := inputs.Gather(ctx, t.live, t.build.Namespace, &t.build.Spec, registry)
	if err != nil {
		var missing *inputs.Error
		if errors.As(err, &missing) {
			return err
		}
		return &apiError{err}
	}
	t.job = &daemon.Job{
		Namespace:  t.build.Namespace,
		Spec:       &t.build.Spec,
		Inputs:     in,
		Registry:   registry,
		Registries: t.cache.Spec.BuildKit.Registries,
		Mounts:     t.cache.Spec.Mounts,
		Plan:       cacheplan.Decide(registry, fresh, key, t.build.Namespace),
	}
	for _, e := range t.cache.Spec.BuildKit.Entitlements {
		t.job.Entitlements = append(t.job.Entitlements, string(e))
	}
	t.progress = t.openLog()
	t.job.Progress, t.job.Prepare = t.progress.see, t.prepare
	t.out, err = t.builder.Build(ctx, t.job)
	return err
}

// openLog opens the attempt's log file. Without one the build goes on: its log is not worth failing it.
func (t *task) openLog() *progressLog {
	name := buildlog.Name(t.build.Namespace, t.build.Name, t.attempt.id.run, t.attempt.id.attempt)
	file, err := buildlog.Create(filepath.Join(t.opts.StateDir, "logs"), name)
	if err != nil {
		t.log.Info("The log file has a problem", "reason", err.Error())
	}
	if file == nil {
		return newProgressLog(nil, t.log)
	}
	t.logFile = file.Path()
	return newProgressLog(file, t.log)
}

// report writes how the attempt ended.
func (t *task) report(e ending) {
	if e.silent {
		t.log.Info("Cancelled a build")
		return
	}
	now := t.now()
	write := func(describe func(*v1alpha1.HLBBuild)) (*v1alpha1.HLBBuild, error) {
		return t.reports.write(t.life, t.build, func(b *v1alpha1.HLBBuild) bool {
			return isMine(b, t.attempt.id, t.me) && !status.IsFinal(b)
		}, func(b *v1alpha1.HLBBuild) {
			describe(b)
			e.apply(b, now)
		})
	}
	written, err := write(func(b *v1alpha1.HLBBuild) { t.describe(b, now) })
	if apierrors.IsInvalid(err) { // an end without its details is better than none
		t.log.Info("The API server does not take the details of a report", "reason", err.Error())
		written, err = write(func(*v1alpha1.HLBBuild) {})
	}
	if err != nil {
		t.log.Info("The end of an attempt is not reported", "reason", err.Error())
		return
	}
	t.build = written
}

// afterwards does what nobody waits for: the ledger, the inventory, the export of the cache, and a report about them.
func (t *task) afterwards(e ending) {
	succeeded := e == ending{}
	if t.progress != nil {
		t.progress.end(t.err)
	}
	t.inventory.look(t.life)
	t.inventory.kick()
	if t.out == nil || e.silent {
		return
	}
	if err := t.inventory.sizing.note(mountIDs(t.out), t.inventory.mountBytes(), t.now()); err != nil {
		t.log.Info("The uses of cache mounts were not written", "reason", err.Error())
	}
	exported, exportErr := "", error(nil)
	if succeeded && t.job.Plan.Export != "" && t.out.Total > 0 {
		exported = t.job.Plan.Export
		ctx, cancel := context.WithTimeout(t.life, exportTimeout)
		exportErr = t.builder.ExportCache(ctx, t.job, t.out)
		cancel()
	}
	bytes := t.inventory.mountBytes()
	_, err := t.reports.write(t.life, t.build, func(b *v1alpha1.HLBBuild) bool {
		return isMine(b, t.attempt.id, t.me)
	}, func(b *v1alpha1.HLBBuild) {
		setMountBytes(b, bytes)
		if exported != "" {
			setExported(b, exported, exportErr, t.now())
		}
	})
	if err != nil {
		t.log.V(1).Info("The last words about an attempt are not reported", "reason", err.Error())
	}
}

// record notes the build in the ledger. Of one that did not succeed, only the mounts that it may have used count.
func (t *task) record(succeeded bool) {
	if t.out == nil {
		return
	}
	mounts := mountIDs(t.out)
	if !succeeded {
		if err := t.ledger.UseMounts(t.build.Status.Run.Key, t.epoch, mounts, t.now()); err != nil {
			t.log.Info("The ledger was not written", "reason", err.Error())
		}
		return
	}
	use := ledger.Use{
		Key:     t.build.Status.Run.Key,
		Epoch:   t.epoch,
		Fresh:   t.job.Plan.Fresh,
		Seconds: max(int32((t.now().Sub(t.began)+time.Second-1)/time.Second), 1),
		Mounts:  mounts,
	}
	if err := t.ledger.Record(use, t.now()); err != nil {
		t.log.Info("The ledger was not written", "reason", err.Error())
	}
}

// mountIDs lists the cache mounts of a build.
func mountIDs(out *daemon.Outcome) []string {
	var ids []string
	for _, m := range out.Mounts {
		ids = append(ids, m.ID)
	}
	return ids
}
