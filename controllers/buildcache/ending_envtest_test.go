// SPDX-License-Identifier: Apache-2.0

package buildcache

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/buildrun"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/internal/write"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
	"github.com/openllb/hlb-operator/test/kit/fleettest"
)

// ready is the reason of the BuildCache's Ready condition after one more pass.
func (w *world) ready(cache *v1alpha1.BuildCache) string {
	w.T.Helper()
	_, err := w.caches.Reconcile(w.T.Context(), fleettest.Read(w, cache))
	w.Must(err)
	if !w.Exists(cache) {
		return "gone"
	}
	return envtestkit.Condition(fleettest.Read(w, cache), v1alpha1.ConditionReady).Reason
}

func TestAProtectedBuildCacheWaitsForItsBuilds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.keep(w.change(w.made(1), func(s *v1alpha1.BuildCacheSpec) {
		s.DeletionPolicy = v1alpha1.DeletionProtect
	}))
	runs, waits := testbuild.HLBBuild(w.NS, "runs", testbuild.WithCache("c")),
		testbuild.HLBBuild(w.NS, "waits", testbuild.WithCache("c"))
	w.Create(runs, waits)
	w.Report(runs, func(b *v1alpha1.HLBBuild) {
		status.Open(b, buildrun.New(b), w.Clock.Now())
		status.Place(b, v1alpha1.PlacementStatus{Daemon: "c-0", Namespace: w.NS}, w.Clock.Now())
	})
	w.Must(w.Client.Delete(t.Context(), cache))
	if got := w.ready(cache); got != v1alpha1.ReasonInUse || status.IsEnding(fleettest.Read(w, cache)) {
		t.Errorf("while a build runs Ready has reason %s, and builds are to end: %v", got,
			status.IsEnding(fleettest.Read(w, cache)))
	}
	w.Report(runs, func(b *v1alpha1.HLBBuild) { status.Succeed(b, w.Clock.Now()) })
	if got := w.ready(cache); got != "gone" {
		t.Errorf("after the build Ready has reason %s, want no BuildCache", got)
	}
}

func TestAFleetEndsWithItsNamespace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.settle(w.made(1))
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.NS}}
	w.Must(w.Client.Delete(t.Context(), ns)) // nobody here takes what is in it
	ended := func() bool {
		return slices.ContainsFunc(fleettest.Read(w, ns).Status.Conditions, func(c corev1.NamespaceCondition) bool {
			return c.Type == write.ConditionFleetEnded && c.Status == corev1.ConditionTrue
		})
	}
	if got := w.ready(cache); got != v1alpha1.ReasonNamespaceTerminating || ended() {
		t.Errorf("with a pod Ready has reason %s, and the namespace is told: %v", got, ended())
	}
	if !status.IsEnding(fleettest.Read(w, cache)) {
		t.Error("builds are not to end")
	}
	w.DeletePod("c-0")
	if w.ready(cache); !ended() {
		t.Errorf("without pods the namespace has %+v", fleettest.Read(w, ns).Status.Conditions)
	}
}
