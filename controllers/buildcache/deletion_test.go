// SPDX-License-Identifier: Apache-2.0

package buildcache

import (
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
	"github.com/openllb/hlb-operator/test/kit/fleettest"
)

// cleaning is a BuildCache whose tags are deleted with it.
func cleaning(c *v1alpha1.BuildCache) {
	c.Spec.Registry = &v1alpha1.RegistryCacheSpec{
		Repository: "registry.example.com/cache",
		Retention:  v1alpha1.RegistryRetentionSpec{OnDelete: v1alpha1.RegistryDelete},
	}
}

func TestADeletionWaitsForTheRegistry(t *testing.T) {
	t.Parallel()
	cleaned := func(status metav1.ConditionStatus, reason string) func(*v1alpha1.BuildDaemon) {
		return testbuild.WithCondition(v1alpha1.ConditionRegistryCleaned, status, reason)
	}
	for name, tc := range map[string]struct {
		daemons  []func(*v1alpha1.BuildDaemon)
		after    time.Duration
		done, ok bool
		want     string
	}{
		"nobody has done it yet": {
			[]func(*v1alpha1.BuildDaemon){testbuild.Serving}, time.Minute, false, false, "",
		},
		"a daemon has": {
			[]func(*v1alpha1.BuildDaemon){
				testbuild.Serving, cleaned(metav1.ConditionTrue, v1alpha1.ReasonOrphanedTagsDeleted),
			},
			time.Minute, true, true, "deleted",
		},
		"the registry refuses": {
			[]func(*v1alpha1.BuildDaemon){
				testbuild.Serving, cleaned(metav1.ConditionFalse, v1alpha1.ReasonOrphanedTagsRefused),
			},
			time.Minute, true, false, "stay",
		},
		"an earlier refusal is no news": {
			[]func(*v1alpha1.BuildDaemon){
				testbuild.Serving, cleaned(metav1.ConditionFalse, v1alpha1.ReasonDeletesRefused),
			},
			time.Minute, false, false, "",
		},
		"it failed and is tried again": {
			[]func(*v1alpha1.BuildDaemon){
				testbuild.Serving, cleaned(metav1.ConditionFalse, v1alpha1.ReasonCleanUpFailed),
			},
			time.Minute, false, false, "",
		},
		"it takes too long": {
			[]func(*v1alpha1.BuildDaemon){testbuild.Serving}, cleanUpPatience, true, false, "within",
		},
		"no daemon is there to do it": {nil, 0, true, false, "no daemon is ready"},
	} {
		t.Run(name, func(t *testing.T) {
			cache := testbuild.BuildCache("ns", "c", cleaning)
			cache.DeletionTimestamp = &metav1.Time{Time: envtestkit.Epoch}
			daemon := testbuild.BuildDaemon("ns", "c", 0, tc.daemons...)
			done, ok, message := cleanUpVerdict(cache, []v1alpha1.BuildDaemon{*daemon}, envtestkit.Epoch.Add(tc.after))
			if done != tc.done || ok != tc.ok || !strings.Contains(message, tc.want) {
				t.Errorf("got %v %v %q, want %v %v %q", done, ok, message, tc.done, tc.ok, tc.want)
			}
		})
	}
}

func TestTheFinalizerFollowsTheSpec(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := testbuild.BuildCache(w.NS, "cache", cleaning)
	w.Create(cache)
	reconcile := func() {
		t.Helper()
		_, err := w.caches.Reconcile(t.Context(), fleettest.Read(w, cache))
		w.Must(err)
	}
	reconcile()
	if got := fleettest.Read(w, cache).Finalizers; len(got) != 1 || got[0] != finalizerRegistry {
		t.Fatalf("finalizers are %v", got)
	}
	cache.Spec.Registry.Retention.OnDelete = v1alpha1.RegistryRetain
	w.Must(w.Client.Update(t.Context(), cache))
	reconcile()
	if got := fleettest.Read(w, cache).Finalizers; len(got) != 0 {
		t.Fatalf("finalizers are %v after the spec changed", got)
	}
	cache.Spec.Registry.Retention.OnDelete = v1alpha1.RegistryDelete
	w.Must(w.Client.Update(t.Context(), cache))
	reconcile()
	w.Must(w.Client.Delete(t.Context(), cache))
	reconcile() // no daemon is ready, so it goes at once
	if err := w.Client.Get(t.Context(), client.ObjectKeyFromObject(cache), cache); !apierrors.IsNotFound(err) {
		t.Errorf("the BuildCache is still there: %v", err)
	}
}
