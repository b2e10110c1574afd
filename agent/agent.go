// SPDX-License-Identifier: Apache-2.0

// Package agent runs beside buildkitd in every daemon pod. It takes up the builds that are bound to its daemon, runs
// them and reports on them and on the daemon.
//
// Its parts: judge decides what to do about a build, attempts are its slots, a worker runs one attempt in each, the
// reporter writes their status, the inventory that of the BuildDaemon. Package lease keeps the claim under which all
// of it happens, package daemon talks to buildkitd.
package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/openllb/hlb-operator/agent/lease"
	"github.com/openllb/hlb-operator/agent/ledger"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/write"
)

// lastWordsTimeout is how long reports may take after the last build was cancelled because draining took too long.
// The pod's grace period has a minute for it.
const lastWordsTimeout = 30 * time.Second

// Agent is a process's agent, ready to run.
type Agent struct {
	opts   Options
	mgr    ctrl.Manager
	worker *worker
	log    logr.Logger
	end    context.CancelFunc // of the worker's life
}

// New makes an agent that talks to the API server of config and to the daemon behind builder. Errors are *UsageError,
// *VolumeError or the API's.
func New(config *rest.Config, opts Options, builder Builder, log logr.Logger) (*Agent, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(opts.StateDir, 0o750); err != nil {
		return nil, &VolumeError{fmt.Errorf("make the state directory: %w", err)}
	}
	book, lost, err := ledger.Open(filepath.Join(opts.StateDir, "ledger.json"))
	if err != nil {
		return nil, &VolumeError{err}
	}
	if lost != nil {
		log.Info("The ledger was lost, so a new epoch begins", "reason", lost.Error(), "volumeEpoch", book.Epoch())
	}
	uses, lost := openSizing(filepath.Join(opts.StateDir, "sizing"))
	if lost != nil {
		log.Info("The uses of cache mounts were lost, so advice on sizes begins anew", "reason", lost.Error())
	}
	isolation, err := isolationInForce()
	if err != nil {
		return nil, err
	}
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(config, managerOptions(opts, scheme, log))
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	// the Lease must not wait behind other requests
	direct, err := client.New(rest.CopyConfig(config), client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	life, end := context.WithCancel(context.Background())
	me := self{daemon: opts.Daemon, agentID: opts.PodUID + "/" + strings.ToLower(rand.Text()[:10])}
	keeper := lease.New(
		direct,
		client.ObjectKey{Namespace: opts.Namespace, Name: opts.Daemon},
		me.agentID,
		opts.Lease,
		log,
	)
	w := &worker{
		opts: opts, me: me, client: mgr.GetClient(), live: mgr.GetAPIReader(), lease: keeper, ledger: book, builder: builder,
		events: mgr.GetEventRecorder(
			"hlb-agent",
		), log: log, now: time.Now, wakes: make(chan event.GenericEvent, 64), life: life,
		reports: &reporter{held: keeper.Wait, log: log},
	}
	w.reports.writer = &write.Writer{Client: w.client, Live: w.live, Events: w.events}
	w.attempts = newAttempts(w.wake)
	w.inventory = &inventory{
		opts: opts, me: me, client: w.client, live: w.live, daemon: builder, ledger: book, sizing: uses, lease: keeper, load: w.attempts.load,
		isolation: isolation, events: w.events, log: log, now: w.now, kicks: make(chan struct{}, 1),
	}
	w.inventory.peers = &peers{reader: w.live, opts: opts, now: w.now}
	w.mounts = newMounts(w)
	w.prefetch = newPrefetcher(w)
	w.inventory.snapshots, w.inventory.prefetch = w.mounts.State, w.prefetch
	w.hygiene = newHygiene(w)
	w.inventory.cleaned = w.hygiene.condition
	a := &Agent{opts: opts, mgr: mgr, worker: w, log: log, end: end}
	return a, errors.Join(w.setUp(mgr), a.addProbes())
}

// newScheme knows the kinds that the agent reads or writes.
func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	return scheme, errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
}

// managerOptions narrow the manager to what the agent may see: builds of its daemon, its own BuildDaemon and
// BuildCache. Everything else is read directly, when a build needs it.
func managerOptions(opts Options, scheme *runtime.Scheme, log logr.Logger) ctrl.Options {
	named := func(name string) cache.ByObject {
		return cache.ByObject{Field: fields.OneTermEqualSelector("metadata.name", name)}
	}
	skipNames := true // several agents may live in one process, in tests
	return ctrl.Options{
		Scheme: scheme,
		Logger: log,
		Cache: cache.Options{
			DefaultNamespaces:           map[string]cache.Config{opts.Namespace: {}},
			ReaderFailOnMissingInformer: true,
			ByObject: map[client.Object]cache.ByObject{
				&v1alpha1.HLBBuild{}: {
					Field: fields.OneTermEqualSelector(v1alpha1.FieldPlacementDaemon, opts.Daemon),
				},
				&v1alpha1.BuildDaemon{}: named(opts.Daemon),
				&v1alpha1.BuildCache{}:  named(opts.Cache),
			},
		},
		Controller:             ctrlconfig.Controller{SkipNameValidation: &skipNames},
		Metrics:                metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress: opts.HealthAddr,
	}
}

// addProbes serves /healthz, which says that the process lives, and /readyz, which says that it takes builds.
func (a *Agent) addProbes() error {
	return errors.Join(
		a.mgr.AddHealthzCheck("process", healthz.Ping),
		a.mgr.AddReadyzCheck("daemon", func(*http.Request) error {
			if _, held := a.worker.lease.Session(); !held {
				return errors.New("the agent does not hold its daemon's Lease")
			}
			if !a.worker.inventory.isServing() {
				return errors.New("buildkitd does not answer")
			}
			return nil
		}),
	)
}

// Run works until ctx is done, then waits for running builds as long as Options.DrainTimeout says, and returns nil
// once all is reported.
func (a *Agent) Run(ctx context.Context) error {
	defer a.end()
	working, stop := context.WithCancel(context.WithoutCancel(ctx)) // everything outlives ctx, to drain
	defer stop()
	managed, leased := make(chan error, 1), make(chan error, 1)
	leaseCtx, release := context.WithCancel(working)
	defer release()
	go func() { managed <- a.mgr.Start(working) }()
	go func() { leased <- a.worker.lease.Run(leaseCtx) }()
	var others sync.WaitGroup
	w := a.worker
	for _, run := range []func(context.Context){w.inventory.run, w.mounts.run, w.prefetch.run, w.hygiene.run} {
		others.Go(func() {
			if a.mgr.GetCache().WaitForCacheSync(working) {
				run(working)
			}
		})
	}
	select {
	case <-ctx.Done():
	case err := <-managed:
		return fmt.Errorf("the controller ended: %w", err)
	}
	a.drain()
	stop()
	others.Wait()
	return errors.Join(<-managed, <-leased) // the Lease is released last, when nothing of the agent runs any more
}

// drain takes nothing up any more and waits for what runs.
func (a *Agent) drain() {
	w := a.worker
	w.attempts.drain()
	running, _ := w.attempts.load()
	a.log.Info("Draining", "runningBuilds", running, "timeout", a.opts.DrainTimeout.String())
	waiting, cancel := context.WithTimeout(context.Background(), a.opts.DrainTimeout)
	defer cancel()
	w.inventory.write(waiting) // so that the manager places what was not taken up elsewhere at once
	// what no build uses, so that a build that takes too long costs only the snapshots of its own mounts
	w.mounts.drain(waiting)
	if w.attempts.wait(waiting) {
		w.mounts.drain(waiting)
		return
	}
	w.attempts.cancelAll(errDrained)
	last, cancelLast := context.WithTimeout(context.Background(), lastWordsTimeout)
	defer cancelLast()
	if !w.attempts.wait(last) {
		a.log.Info("Not everything was reported before the end")
	}
}
