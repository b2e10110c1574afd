// SPDX-License-Identifier: Apache-2.0

// Package agent is the process beside buildkitd in every daemon pod. It wires the parts together, and drains them when
// the pod is to stop.
//
// Facts flow one way. Package observer watches buildkitd and evicts; package run claims builds and runs them; packages
// snapshot, prefetch and registrycleanup have a loop each. What they find goes to package board and to the state files
// of packages usage and snapshot, and package daemonstatus writes the BuildDaemon's status from there. Package lease
// keeps the claim under which all of it happens, package daemon talks to buildkitd.
package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/openllb/hlb-operator/agent/daemonstatus"
	"github.com/openllb/hlb-operator/agent/lease"
	"github.com/openllb/hlb-operator/agent/observer"
	"github.com/openllb/hlb-operator/agent/run"
	"github.com/openllb/hlb-operator/agent/self"
	"github.com/openllb/hlb-operator/agent/snapshot"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// finalReportTimeout is how long reports may take after the last build was cancelled because draining took too long.
// The pod's grace period has a minute for it.
const finalReportTimeout = 30 * time.Second

// Builder is the agent's buildkitd. *daemon.Daemon is one; tests have others.
type Builder interface {
	run.Builder
	observer.Daemon
	snapshot.Copier
	// CheckSolve has buildkitd solve one operation.
	CheckSolve(ctx context.Context) error
	// CheckStep has buildkitd run a step; program is cmd/mountcopy.
	CheckStep(ctx context.Context, program []byte) error
}

// Agent is a process's agent, ready to run.
type Agent struct {
	opts        Options
	mgr         ctrl.Manager
	lease       *lease.Keeper
	observer    *observer.Observer
	runner      *run.Runner
	snapshotter *snapshot.Snapshotter
	status      *daemonstatus.Writer
	log         logr.Logger
}

// New makes an agent that talks to the API server of config and to the daemon behind builder. Errors are *UsageError,
// *VolumeError or the API's.
func New(config *rest.Config, opts Options, builder Builder, log logr.Logger) (*Agent, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	files, err := openFiles(opts.StateDir, log)
	if err != nil {
		return nil, &VolumeError{err}
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
	me := self.Self{Namespace: opts.Namespace, Cache: opts.Cache, Daemon: opts.Daemon}
	keeper := lease.New(direct, me.DaemonName(), opts.PodUID, opts.Lease, log)
	return wire(opts, mgr, me, keeper, files, builder, log)
}

// newScheme has the kinds that the agent reads or writes.
func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	return scheme, errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
}

// managerOptions narrow the manager to its own BuildDaemon and BuildCache. Package builds watches the builds of the
// daemon. Everything else is read directly, when a build needs it.
func managerOptions(opts Options, scheme *runtime.Scheme, log logr.Logger) ctrl.Options {
	named := func(name string) cache.ByObject {
		return cache.ByObject{Field: fields.OneTermEqualSelector("metadata.name", name)}
	}
	return ctrl.Options{
		Scheme: scheme,
		Logger: log,
		Cache: cache.Options{
			DefaultNamespaces:           map[string]cache.Config{opts.Namespace: {}},
			ReaderFailOnMissingInformer: true,
			ByObject: map[client.Object]cache.ByObject{
				&v1alpha1.BuildDaemon{}: named(opts.Daemon),
				&v1alpha1.BuildCache{}:  named(opts.Cache),
			},
		},
		// several agents may live in one process, in tests
		Controller: ctrlconfig.Controller{SkipNameValidation: ptr.To(true)},
		// the drain has ended by then, and what it leaves is cancelled
		GracefulShutdownTimeout: ptr.To(time.Duration(-1)),
		Metrics:                 metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress:  opts.HealthAddr,
	}
}

// addProbes serves /healthz, which is that the process lives, and /readyz, which is that it takes builds.
func (a *Agent) addProbes() error {
	return errors.Join(
		a.mgr.AddHealthzCheck("process", healthz.Ping),
		a.mgr.AddReadyzCheck("daemon", func(*http.Request) error {
			if _, session := a.lease.Session(); !session.IsHeld() {
				return errors.New("the agent does not hold its daemon's Lease")
			}
			if !a.observer.IsServing() {
				return errors.New("buildkitd does not answer")
			}
			return nil
		}),
	)
}

// addLoops has the manager run the loops, from when its cache is filled until it is stopped.
func (a *Agent) addLoops(loops ...func(context.Context) error) error {
	var errs []error
	for _, loop := range loops {
		errs = append(errs, a.mgr.Add(manager.RunnableFunc(loop)))
	}
	return errors.Join(errs...)
}

// Run works until ctx is done, then waits for running builds as long as Options.DrainTimeout allows, and returns nil
// once all is reported.
func (a *Agent) Run(ctx context.Context) error {
	defer a.runner.Close()
	working, stop := context.WithCancel(context.WithoutCancel(ctx)) // everything outlives ctx, to drain
	defer stop()
	leaseCtx, release := context.WithCancel(context.WithoutCancel(ctx))
	defer release()
	managed, leased := make(chan error, 1), make(chan error, 1)
	go func() { managed <- a.mgr.Start(working) }()
	go func() { leased <- a.lease.Run(leaseCtx) }()
	select {
	case <-ctx.Done():
	case err := <-managed:
		return fmt.Errorf("the controller ended: %w", err)
	}
	a.drain()
	stop()
	err := <-managed
	release() // last, when nothing of the agent runs any more
	return errors.Join(err, <-leased)
}

// drain claims no more builds and waits for what runs.
func (a *Agent) drain() {
	a.log.Info("Draining", "runningBuilds", a.runner.Drain(), "timeout", a.opts.DrainTimeout.String())
	waiting, cancel := context.WithTimeout(context.Background(), a.opts.DrainTimeout)
	defer cancel()
	a.status.Write(waiting) // so that the manager places what was not claimed elsewhere at once
	// what no build uses, so that a build that takes too long costs only the snapshots of its own mounts
	a.takeSnapshots(waiting)
	if a.runner.Wait(waiting) {
		a.takeSnapshots(waiting)
		return
	}
	a.runner.CancelAll()
	last, cancelLast := context.WithTimeout(context.Background(), finalReportTimeout)
	defer cancelLast()
	if !a.runner.Wait(last) {
		a.log.Info("Not everything was reported before the end")
	}
}

// takeSnapshots makes the snapshots that the shutdown asks for, and reports them.
func (a *Agent) takeSnapshots(ctx context.Context) {
	a.snapshotter.Drain(ctx)
	a.status.Write(ctx)
}
