// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/internal/write"
)

// BuildCacheReconciler keeps a BuildCache's daemons, their configuration and their access as the spec wants them.
type BuildCacheReconciler struct {
	Client client.Client
	Events events.EventRecorder
	Clock  clock.PassiveClock
	Images Images
	// InputsRole is the ClusterRole that lets agents read what builds name.
	InputsRole string
	// Live reads past the cache; nil means that Client has none.
	Live client.Reader

	tries write.Tries
}

func (r *BuildCacheReconciler) writer() *write.Writer {
	return &write.Writer{Client: r.Client, Live: r.Live, Events: r.Events}
}

// SetupWithManager watches BuildCaches and all that they own, so that drift is repaired.
func (r *BuildCacheReconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("buildcache").
		For(&v1alpha1.BuildCache{}).
		Owns(&appsv1.StatefulSet{}).
		Owns(&v1alpha1.BuildDaemon{}).
		Owns(&corev1.ConfigMap{}).
		Owns(&corev1.ServiceAccount{}).
		Owns(&rbacv1.Role{}).
		Owns(&rbacv1.RoleBinding{}).
		Owns(&networkingv1.NetworkPolicy{}).
		Owns(&policyv1.PodDisruptionBudget{}).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(cacheOfLabel)).
		Watches(&corev1.PersistentVolumeClaim{}, handler.EnqueueRequestsFromMapFunc(cacheOfLabel)).
		Watches(&coordinationv1.Lease{}, handler.EnqueueRequestsFromMapFunc(cacheOfLabel), ignoreUpdates).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// Reconcile brings the fleet a step nearer to the spec and reports. Called twice on the same world, it changes
// nothing the second time.
func (r *BuildCacheReconciler) Reconcile(ctx context.Context, cache *v1alpha1.BuildCache) (ctrl.Result, error) {
	if !cache.DeletionTimestamp.IsZero() {
		return r.finish(ctx, cache)
	}
	if err := r.keepFinalizer(ctx, cache); err != nil {
		return ctrl.Result{}, err
	}
	var daemons v1alpha1.BuildDaemonList
	if err := r.Client.List(ctx, &daemons, client.InNamespace(cache.Namespace), client.MatchingLabels{v1alpha1.LabelCache: cache.Name}); err != nil {
		return ctrl.Result{}, fmt.Errorf("list BuildDaemons: %w", err)
	}
	byOrdinal(daemons.Items)
	storage, grows := desiredStorage(cache, daemons.Items, r.Clock.Now())
	before := cache.DeepCopy()
	cache.Status.Storage = &storage
	volumes, failure := r.growVolumes(ctx, cache)
	if failure == nil {
		failure = r.apply(ctx, cache, daemons.Items, volumes)
	}
	recreating := errors.Is(failure, errRecreating)
	if recreating {
		failure = nil
	}
	known := status.FailureOf(failure, r.tries.Count(client.ObjectKeyFromObject(cache), failure))
	outcome, err := r.report(ctx, before, cache, daemons.Items, volumes, known)
	if err != nil {
		return ctrl.Result{}, errors.Join(err, failure)
	}
	if grows != "" && outcome == write.Written {
		write.Send(r.Events, write.VolumesGrow(cache, grows))
	}
	if failure == nil && (recreating || outcome == write.Conflict) {
		return ctrl.Result{RequeueAfter: time.Second}, nil
	}
	return result(ctx, failure, known)
}

// apply makes every object that the spec asks for and removes daemons that it no longer does.
func (r *BuildCacheReconciler) apply(
	ctx context.Context,
	cache *v1alpha1.BuildCache,
	existing []v1alpha1.BuildDaemon,
	volumes *resize,
) error {
	config, err := desiredConfig(cache)
	if err != nil {
		return &configError{err}
	}
	restart, err := restartConfig(cache)
	if err != nil {
		return &configError{err}
	}
	objects := []client.Object{
		desiredServiceAccount(cache),
		desiredRole(cache, daemonNames(cache, existing)),
		desiredConfigMap(cache, config),
		desiredNetworkPolicy(cache),
		desiredPodDisruptionBudget(cache),
	}
	for _, b := range desiredRoleBindings(cache, r.InputsRole) {
		objects = append(objects, b)
	}
	for _, d := range desiredDaemons(cache) {
		objects = append(objects, d)
	}
	// The StatefulSet comes last: its pods need what stands before it.
	sts := desiredStatefulSet(cache, r.Images, restart)
	if err := r.fitTemplate(ctx, cache, sts, volumes); err != nil {
		return err
	}
	objects = append(objects, sts)
	for _, o := range objects {
		if _, err := r.writer().Apply(ctx, cache, o); err != nil {
			return err
		}
	}
	return r.retire(ctx, cache, existing)
}

// retire deletes or puts to sleep the daemons that scaling down left without a pod.
func (r *BuildCacheReconciler) retire(
	ctx context.Context,
	cache *v1alpha1.BuildCache,
	existing []v1alpha1.BuildDaemon,
) error {
	var readErr error
	podExists := func(name string) bool {
		err := r.Client.Get(ctx, client.ObjectKey{Namespace: cache.Namespace, Name: name}, &corev1.Pod{})
		if client.IgnoreNotFound(err) != nil {
			readErr = err
		}
		return !apierrors.IsNotFound(err)
	}
	surplus := surplusDaemons(cache, existing, podExists)
	if readErr != nil {
		return fmt.Errorf("read daemon pods: %w", readErr)
	}
	for _, d := range surplus {
		if cache.Spec.Storage.Retention.WhenScaled == v1alpha1.RetentionDelete {
			if err := r.Client.Delete(ctx, d); client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("delete BuildDaemon %s: %w", d.Name, err)
			}
			continue
		}
		if err := r.sleep(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// sleep records on a BuildDaemon that its pod was scaled away.
func (r *BuildCacheReconciler) sleep(ctx context.Context, d *v1alpha1.BuildDaemon) error {
	before := d.DeepCopy()
	status.ScaleDown(d, r.Clock.Now())
	if _, err := r.writer().PatchStatus(ctx, before, d, write.Retry); err != nil {
		return fmt.Errorf("report BuildDaemon %s: %w", d.Name, err)
	}
	return nil
}

// report writes the status once, if it changed. A conflict means that the cache we read from is behind; soon it is not.
func (r *BuildCacheReconciler) report(
	ctx context.Context,
	before, cache *v1alpha1.BuildCache,
	daemons []v1alpha1.BuildDaemon,
	volumes *resize,
	failure *status.Failure,
) (write.Outcome, error) {
	sts := &appsv1.StatefulSet{}
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(cache), sts)
	switch {
	case apierrors.IsNotFound(err):
		sts = nil
	case err != nil:
		return write.Unchanged, fmt.Errorf("read StatefulSet: %w", err)
	case !metav1.IsControlledBy(sts, cache):
		sts = nil
	}
	storage := *cache.Status.Storage
	cache.Status = fleetStatus(cache, sts, daemons, failure, r.Clock.Now())
	setVolumes(&cache.Status, storage, volumes, r.Clock.Now())
	outcome, err := r.writer().PatchStatus(ctx, before, cache, write.Yield)
	if err != nil {
		return outcome, fmt.Errorf("write status: %w", err)
	}
	return outcome, nil
}
