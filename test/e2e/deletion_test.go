// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

// goneWithin bounds deletions with a build under way that would take minutes.
const goneWithin = time.Minute

// isGone reports whether an object no longer exists.
func isGone(ctx context.Context, o client.Object) (bool, error) {
	err := cluster.Client.Get(ctx, client.ObjectKeyFromObject(o), o)
	return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
}

// TestADeletedNamespaceIsGoneInSeconds deletes a namespace with all that is in it while a long build runs.
func TestADeletedNamespaceIsGoneInSeconds(t *testing.T) {
	t.Parallel() // it mostly waits
	const doomed = namespace + "-doomed"
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: doomed}}
	must(t, cluster.Namespace(t.Context(), doomed))
	cache := newFleet("doomed", 2)
	cache.Namespace = doomed
	cache.Spec.BuildKit.DrainTimeoutSeconds = 3600
	must(t, cluster.Client.Create(t.Context(), cache))
	must(t, cluster.WaitCache(t.Context(), cache))
	build := onKey(cache, "endless", "endless", sleeping(400, "endless"))
	build.Namespace = doomed
	must(t, cluster.Client.Create(t.Context(), build))
	eventually(t, build, "it runs", isRunning)

	began := time.Now()
	must(t, cluster.Client.Delete(t.Context(), ns))
	must(t, harness.Eventually(t.Context(), goneWithin, "the namespace is gone",
		func(ctx context.Context) (bool, error) { return isGone(ctx, ns) }))
	t.Logf("the namespace was gone after %s", time.Since(began).Round(time.Second))
}

// TestADeletedBuildCacheLosesNoBuild deletes a fleet while a build runs and another one waits. Both are built once
// there is a BuildCache of the name again, and neither has failed or used up a retry.
func TestADeletedBuildCacheLosesNoBuild(t *testing.T) {
	t.Parallel() // it mostly waits
	cache := newFleet("remade", 1)
	cache.Spec.BuildKit.MaxConcurrentBuilds, cache.Spec.BuildKit.DrainTimeoutSeconds = 1, 3600
	again := cache.DeepCopy()
	must(t, cluster.Client.Create(t.Context(), cache))
	must(t, cluster.WaitCache(t.Context(), cache))
	runs := onKey(cache, "remade-runs", "remade", sleeping(30, "runs"))
	apply(t, runs)
	eventually(t, runs, "it runs", isRunning)
	waits := onKey(cache, "remade-waits", "remade", sleeping(1, "waits"))
	apply(t, waits)
	bd := daemon(t, "remade-0")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: harness.Pod("remade-0")}}

	began := time.Now()
	must(t, cluster.Client.Delete(t.Context(), cache))
	must(t, harness.Eventually(t.Context(), goneWithin, "the fleet is gone", func(ctx context.Context) (bool, error) {
		for _, o := range []client.Object{cache, bd, pod} {
			if gone, err := isGone(ctx, o); !gone || err != nil {
				return false, err
			}
		}
		return true, nil
	}))
	t.Logf("the fleet was gone after %s", time.Since(began).Round(time.Second))
	for _, b := range []*v1alpha1.HLBBuild{runs, waits} {
		eventually(t, b, "it waits for a BuildCache", func(b *v1alpha1.HLBBuild) bool {
			ready := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionReady)
			return ready != nil && ready.Reason == v1alpha1.ReasonCacheNotFound
		})
	}
	makeFleet(t, again)
	for _, b := range []*v1alpha1.HLBBuild{runs, waits} {
		await(t, b)
		succeeded(t, b)
		toldOnce(t, b)
	}
}
