// SPDX-License-Identifier: Apache-2.0

// Package buildcache keeps a BuildCache's fleet as its spec wants it: which daemons there are and which of them run,
// what they share, how large their volumes are, and in which order a roll-out replaces their pods.
package buildcache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/workload"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/internal/write"
)

// Reconciler keeps a BuildCache's daemons, their configuration and their access as the spec wants them.
type Reconciler struct {
	Client client.Client
	// Live reads past the cache; nil means that Client has none.
	Live   client.Reader
	Events events.EventRecorder
	Clock  clock.PassiveClock
	Images workload.Images
	// BuildsRole is the ClusterRole that lets agents read what builds name.
	BuildsRole string

	tries write.Tries
}

func (r *Reconciler) writer() *write.Writer {
	return &write.Writer{Client: r.Client, Live: r.live(), Events: r.Events}
}

func (r *Reconciler) live() client.Reader {
	if r.Live == nil {
		return r.Client
	}
	return r.Live
}

// configError means that the spec can't be turned into a daemon's configuration.
type configError struct{ err error }

func (e *configError) Error() string { return e.err.Error() }
func (e *configError) Unwrap() error { return e.err }

// Fault implements status.Fault.
func (e *configError) Fault() (string, status.FailureClass) {
	return v1alpha1.ReasonInvalidConfig, status.SpecAtFault
}

// Reconcile brings the fleet a step nearer to the spec and reports. Called twice on the same world, it changes
// nothing the second time.
func (r *Reconciler) Reconcile(ctx context.Context, cache *v1alpha1.BuildCache) (ctrl.Result, error) {
	if !cache.DeletionTimestamp.IsZero() {
		return r.finish(ctx, cache)
	}
	if ends, err := r.endWithNamespace(ctx, cache); ends || err != nil {
		return ctrl.Result{}, err
	}
	if err := r.keepFinalizers(ctx, cache); err != nil {
		return ctrl.Result{}, err
	}
	before := cache.DeepCopy()
	if err := r.keepNamespaces(ctx, cache); err != nil {
		return ctrl.Result{}, err
	}
	s := &snapshot{cache: cache, now: r.Clock.Now()}
	l, err := r.read(ctx, cache)
	if err != nil {
		return ctrl.Result{}, err
	}
	storage, grows := desiredStorage(cache, l.daemons, l.claims, s.now)
	cache.Status.Storage = &storage
	p, volumes, failure := r.act(ctx, s, l)

	known := status.FailureOf(failure, r.tries.Count(client.ObjectKeyFromObject(cache), failure))
	cache.Status = fleetStatus(s, known)
	setVolumes(&cache.Status, storage, volumes, s.now)
	outcome, err := r.writer().PatchStatus(ctx, before, cache, write.Yield)
	if err != nil {
		return ctrl.Result{}, errors.Join(fmt.Errorf("write status: %w", err), failure)
	}
	if grows != "" && outcome == write.Written {
		write.Send(r.Events, write.VolumesGrow(cache, grows))
	}
	if failure == nil {
		if outcome == write.Conflict { // the cache that we read from is behind; soon it is not
			p.lookAgainAfter(time.Second)
		}
		if volumes.needsUser() {
			p.lookAgainAfter(userPause)
		}
		return ctrl.Result{RequeueAfter: p.after}, nil
	}
	return result(ctx, failure, known)
}

// userPause is how soon it is noticed that a user has mended something elsewhere.
const userPause = 30 * time.Second

// result is what Reconcile returns for a pass that ended with err, classified as failure. A change of the object
// itself starts the next pass; what is mended elsewhere is looked at again after a while; everything else is tried
// again with back-off.
func result(ctx context.Context, err error, failure *status.Failure) (ctrl.Result, error) {
	switch failure.Class {
	case status.SpecAtFault:
		return ctrl.Result{}, reconcile.TerminalError(err)
	case status.MendedElsewhere:
		log.FromContext(ctx).Error(err, "Waiting for a user", "reason", failure.Reason)
		return ctrl.Result{RequeueAfter: failure.RetryAfter()}, nil
	default:
		return ctrl.Result{}, err
	}
}

// act makes every object that the spec asks for and carries out the plan, which it returns. volumes is nil when they
// were not looked at.
func (r *Reconciler) act(ctx context.Context, s *snapshot, l *lists) (p plan, volumes *resize, err error) {
	template, err := workload.NewTemplate(s.cache, r.Images)
	s.gather(l, template)
	if err != nil {
		return p, nil, &configError{err}
	}
	if volumes, err = r.growVolumes(ctx, s); err != nil {
		return p, nil, err
	}
	p = decide(s)
	if err := r.share(ctx, s, &p); err != nil {
		return p, volumes, err
	}
	return p, volumes, r.carryOut(ctx, s, &p, template)
}

// share makes what the daemons have in common, before any of them starts.
func (r *Reconciler) share(ctx context.Context, s *snapshot, p *plan) error {
	config, err := workload.Config(s.cache)
	if err != nil {
		return &configError{err}
	}
	objects := []client.Object{
		desiredServiceAccount(s.cache),
		desiredRole(s.cache, reportableDaemons(s, p)),
		desiredConfigMap(s.cache, config),
		desiredNetworkPolicy(s.cache),
		desiredPodDisruptionBudget(s.cache),
	}
	for _, b := range desiredRoleBindings(s.cache, r.BuildsRole) {
		objects = append(objects, b)
	}
	for _, o := range objects {
		if _, err := r.writer().Apply(ctx, s.cache, o); err != nil {
			return err
		}
	}
	return nil
}
