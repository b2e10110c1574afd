// SPDX-License-Identifier: Apache-2.0

package hlbbuild

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/watches"
	"github.com/openllb/hlb-operator/internal/admission"
	"github.com/openllb/hlb-operator/internal/status"
)

// isServed reports whether a placement loop opens the build's runs: that of its BuildCache, unless that is going, does
// not admit the build's namespace or the build is suspended.
func (r *Reconciler) isServed(ctx context.Context, build *v1alpha1.HLBBuild) (bool, error) {
	if build.Spec.Suspend {
		return false, nil
	}
	cache, err := r.cacheOf(ctx, build)
	if cache == nil || err != nil || !cache.DeletionTimestamp.IsZero() {
		return false, err
	}
	return cache.Admits(build.Namespace), nil
}

// cacheOf reads the BuildCache of a build, nil for none.
func (r *Reconciler) cacheOf(ctx context.Context, build *v1alpha1.HLBBuild) (*v1alpha1.BuildCache, error) {
	cache := &v1alpha1.BuildCache{}
	err := r.Client.Get(ctx, build.CacheName(), cache, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return cache, err
}

// isAllowed reports whether a BuildCache allows builds of a namespace. Its daemons may not see them yet.
func (r *Reconciler) isAllowed(ctx context.Context, cache *v1alpha1.BuildCache, namespace string) (bool, error) {
	if !admission.NeedsLabels(cache, namespace) {
		return admission.IsAllowed(cache, namespace, nil), nil
	}
	object, err := watches.Namespace(ctx, r.Client, namespace)
	if object == nil {
		return false, err
	}
	return admission.IsAllowed(cache, namespace, object.Labels), nil
}

// checkCache says so on a waiting build whose BuildCache does not exist or does not admit it. That may come later, as
// it does when all are applied at once.
func (r *Reconciler) checkCache(ctx context.Context, build *v1alpha1.HLBBuild) error {
	name := build.CacheName()
	cache, err := r.cacheOf(ctx, build)
	if err != nil {
		return err
	}
	if cache == nil {
		status.Wait(build, v1alpha1.ReasonCacheNotFound, fmt.Sprintf(
			"There is no BuildCache %q in namespace %q; the build waits for it", name.Name, name.Namespace,
		), r.Clock.Now())
		return nil
	}
	if cache.Admits(build.Namespace) {
		return nil
	}
	allowed, err := r.isAllowed(ctx, cache, build.Namespace)
	if err != nil {
		return err
	}
	if allowed {
		status.Wait(build, v1alpha1.ReasonPending, fmt.Sprintf(
			"BuildCache %q in namespace %q admits builds of namespace %q; the build waits until its daemons see them",
			name.Name, name.Namespace, build.Namespace,
		), r.Clock.Now())
		return nil
	}
	status.Wait(build, v1alpha1.ReasonNamespaceNotAllowed, fmt.Sprintf(
		"BuildCache %q in namespace %q does not admit builds of namespace %q by spec.allowedNamespaces; "+
			"the build waits for it", name.Name, name.Namespace, build.Namespace,
	), r.Clock.Now())
	return nil
}
