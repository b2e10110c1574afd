// SPDX-License-Identifier: Apache-2.0

package buildcache

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/watches"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/internal/write"
)

const (
	// finalizerRegistry keeps a BuildCache, and so its daemons, until they have deleted its tags from the registry.
	finalizerRegistry = "build.openllb.dev/registry"
	// cleanUpPatience is how long a deletion waits for that.
	cleanUpPatience = 5 * time.Minute
)

// cleansRegistry says whether tags are to be deleted with the BuildCache.
func cleansRegistry(cache *v1alpha1.BuildCache) bool {
	return cache.Spec.Registry != nil && cache.Spec.Registry.Retention.OnDelete == v1alpha1.RegistryDelete
}

// keepFinalizers puts the finalizers on while there is something to do for them.
func (r *Reconciler) keepFinalizers(ctx context.Context, cache *v1alpha1.BuildCache) error {
	before := cache.DeepCopy()
	for finalizer, needed := range map[string]bool{
		finalizerRegistry:         cleansRegistry(cache),
		v1alpha1.FinalizerProtect: cache.Spec.DeletionPolicy == v1alpha1.DeletionProtect,

		finalizerAccess: cache.Spec.AllowedNamespaces != nil || len(cache.Status.Namespaces) > 0,
	} {
		if needed {
			controllerutil.AddFinalizer(cache, finalizer)
		} else {
			controllerutil.RemoveFinalizer(cache, finalizer)
		}
	}
	if _, err := r.writer().Patch(ctx, before, cache, write.Retry); err != nil {
		return fmt.Errorf("write finalizer: %w", err)
	}
	return nil
}

// cleanUpVerdict says whether a BuildCache that is being deleted may go, and what to tell of its tags. Its daemons do
// the work, since only they may read the registry's Secret.
func cleanUpVerdict(
	cache *v1alpha1.BuildCache,
	daemons []v1alpha1.BuildDaemon,
	now time.Time,
) (done, ok bool, message string) {
	if !cleansRegistry(cache) {
		return true, true, "The registry is left as it is"
	}
	ready := false
	for i := range daemons {
		conditions := daemons[i].Status.Conditions
		ready = ready || status.StartsBuilds(&daemons[i])
		c := meta.FindStatusCondition(conditions, v1alpha1.ConditionRegistryCleaned)
		switch {
		case c == nil: // as with all other reasons, it is not about the deletion
		case c.Reason == v1alpha1.ReasonOrphanedTagsDeleted:
			return true, true, "Tags that nobody else uses were deleted from the registry"
		case c.Reason == v1alpha1.ReasonOrphanedTagsRefused:
			return true, false, "Tags stay in the registry: " + c.Message
		}
	}
	switch {
	case !ready:
		return true, false, "Tags stay in the registry: no daemon is ready to delete them"
	case now.Sub(cache.DeletionTimestamp.Time) >= cleanUpPatience:
		return true, false, fmt.Sprintf("Tags stay in the registry: they were not deleted within %v", cleanUpPatience)
	}
	return false, false, ""
}

// finish lets a BuildCache go when its tags are gone from the registry, or will not go, and its agents have no rights
// in other namespaces any more. Everything else is owned, so garbage collection does the rest.
func (r *Reconciler) finish(ctx context.Context, cache *v1alpha1.BuildCache) (ctrl.Result, error) {
	if waits, err := r.awaitBuilds(ctx, cache); waits || err != nil {
		return ctrl.Result{}, err
	}
	if !controllerutil.ContainsFinalizer(cache, finalizerRegistry) {
		return ctrl.Result{}, r.endAccess(ctx, cache)
	}
	var daemons v1alpha1.BuildDaemonList
	fleet := client.MatchingLabels{v1alpha1.LabelCache: cache.Name}
	if err := r.Client.List(ctx, &daemons, client.InNamespace(cache.Namespace), fleet); err != nil {
		return ctrl.Result{}, fmt.Errorf("list BuildDaemons: %w", err)
	}
	now := r.Clock.Now()
	done, ok, message := cleanUpVerdict(cache, daemons.Items, now)
	if !done {
		return ctrl.Result{RequeueAfter: max(cleanUpPatience-now.Sub(cache.DeletionTimestamp.Time), time.Second)}, nil
	}
	if err := r.removeFinalizer(ctx, cache, finalizerRegistry); err != nil {
		return ctrl.Result{}, err
	}
	write.Send(r.Events, write.RegistryCleaned(cache, ok, message))
	return ctrl.Result{}, r.endAccess(ctx, cache)
}

// awaitBuilds keeps a protected BuildCache while builds run, and reports whether some do. The end of each has the
// BuildCache looked at again.
func (r *Reconciler) awaitBuilds(ctx context.Context, cache *v1alpha1.BuildCache) (waits bool, err error) {
	if !controllerutil.ContainsFinalizer(cache, v1alpha1.FinalizerProtect) {
		return false, nil
	}
	var builds v1alpha1.HLBBuildList
	byName := client.MatchingFields{watches.IndexCache: cache.Name}
	if err := r.Client.List(ctx, &builds, byName, client.UnsafeDisableDeepCopy); err != nil {
		return false, fmt.Errorf("list HLBBuilds: %w", err)
	}
	running := 0
	for i := range builds.Items {
		if b := &builds.Items[i]; b.CacheName() == client.ObjectKeyFromObject(cache) && status.IsBound(b) {
			running++
		}
	}
	if running > 0 {
		before := cache.DeepCopy()
		status.AwaitBuilds(&cache.Status, cache.Generation, running, r.Clock.Now())
		if _, err := r.writer().PatchStatus(ctx, before, cache, write.Retry); err != nil {
			return true, fmt.Errorf("write status: %w", err)
		}
		return true, nil
	}
	return false, r.removeFinalizer(ctx, cache, v1alpha1.FinalizerProtect)
}

// removeFinalizer takes one of the operator's finalizers off.
func (r *Reconciler) removeFinalizer(ctx context.Context, cache *v1alpha1.BuildCache, name string) error {
	before := cache.DeepCopy()
	controllerutil.RemoveFinalizer(cache, name)
	if _, err := r.writer().Patch(ctx, before, cache, write.Retry); err != nil {
		return fmt.Errorf("remove finalizer: %w", err)
	}
	return nil
}

// endAccess takes the agents' rights in other namespaces back, and then the finalizer for it.
func (r *Reconciler) endAccess(ctx context.Context, cache *v1alpha1.BuildCache) error {
	if !controllerutil.ContainsFinalizer(cache, finalizerAccess) {
		return nil
	}
	if err := r.revoke(ctx, cache, nil); err != nil {
		return err
	}
	return r.removeFinalizer(ctx, cache, finalizerAccess)
}
