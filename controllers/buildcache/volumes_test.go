// SPDX-License-Identifier: Apache-2.0

package buildcache

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/fleettest"
)

func (w *world) class(expandable bool) string {
	w.T.Helper()
	class := &storagev1.StorageClass{
		ObjectMeta:  metav1.ObjectMeta{Name: w.NS + fmt.Sprint("-", expandable)},
		Provisioner: "example.com/p", AllowVolumeExpansion: &expandable,
	}
	w.Create(class)
	return class.Name
}

// ofClass is a settled fleet of n daemons whose volumes are of the class.
func (w *world) ofClass(n int32, class string) *v1alpha1.BuildCache {
	w.T.Helper()
	return w.settle(w.made(n, func(c *v1alpha1.BuildCache) { c.Spec.Storage.StorageClassName = &class }))
}

func (w *world) grow(cache *v1alpha1.BuildCache, size string) *v1alpha1.BuildCache {
	w.T.Helper()
	w.change(cache, func(s *v1alpha1.BuildCacheSpec) { s.Storage.Size = resource.MustParse(size) })
	return w.keep(cache)
}

// asks is what the claim of a daemon asks for.
func (w *world) asks(daemon string) string {
	w.T.Helper()
	size := w.claim(daemon).Spec.Resources.Requests[corev1.ResourceStorage]
	return size.String()
}

func resized(cache *v1alpha1.BuildCache) metav1.Condition {
	c := meta.FindStatusCondition(cache.Status.Conditions, v1alpha1.ConditionVolumesResized)
	if c == nil {
		return metav1.Condition{}
	}
	return *c
}

func TestALargerSizeGrowsTheClaims(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.ofClass(1, w.class(true))
	set := w.Set("c-0").UID
	cache = w.grow(cache, "20Gi")
	w.work("c-0")
	if got := w.asks("c-0"); got != "20Gi" {
		t.Errorf("the claim asks for %s", got)
	}
	if c := resized(cache); c.Reason != v1alpha1.ReasonExpanding {
		t.Errorf("condition is %+v", c)
	}
	if c := envtestkit.Condition(cache, "Ready"); c.Status != metav1.ConditionTrue {
		t.Errorf("while volumes grow Ready is %+v", c)
	}
	if got := w.Set("c-0"); got.UID != set || !got.DeletionTimestamp.IsZero() {
		t.Error("the StatefulSet is made anew though its claim is there")
	}
	claim := w.claim("c-0")
	claim.Status.Capacity = claim.Spec.Resources.Requests
	w.Must(w.Client.Status().Update(t.Context(), claim))
	if c := resized(w.keep(cache)); c.Status != metav1.ConditionTrue {
		t.Errorf("condition is %+v", c)
	}
	w.change(cache, func(s *v1alpha1.BuildCacheSpec) { *s.Replicas = 2 })
	w.settle(cache)
	if got := w.asks("c-1"); got != "20Gi" {
		t.Errorf("the claim of a new daemon asks for %s", got)
	}
}

// TestAClaimYetToBeMadeIsOfThePresentSize is about a StatefulSet whose claim was deleted: it would make another one of
// the size of its own time.
func TestAClaimYetToBeMadeIsOfThePresentSize(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.ofClass(1, w.class(true))
	w.Must(w.Client.Delete(t.Context(), w.claim("c-0")))
	w.collect("c-0")
	set := w.Set("c-0").UID
	w.grow(cache, "20Gi")
	w.work("c-0")
	found := &appsv1.StatefulSet{ObjectMeta: w.Named("c-0")}
	if w.Exists(found) && (found.UID != set || found.DeletionTimestamp.IsZero()) {
		t.Errorf("the StatefulSet of the former size stays: %+v", found.ObjectMeta)
	}
	pod := w.Pod("c-0").UID
	w.settle(cache)
	made := w.Set("c-0").Spec.VolumeClaimTemplates[0].Spec.Resources.Requests[corev1.ResourceStorage]
	if made.Cmp(resource.MustParse("20Gi")) != 0 {
		t.Errorf("the next claim would be of %s", made.String())
	}
	if w.Pod("c-0").UID != pod {
		t.Error("the pod was replaced with its StatefulSet")
	}
}

func TestAClaimOfADaemonThatSleepsWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.ofClass(1, w.class(true))
	w.change(cache, func(s *v1alpha1.BuildCacheSpec) { *s.Replicas = 0 })
	w.settle(cache)
	cache = w.grow(cache, "20Gi")
	if got := w.asks("c-0"); got != "10Gi" {
		t.Errorf("asleep, the claim asks for %s", got)
	}
	if c := resized(cache); c.Type != "" {
		t.Errorf("condition is %+v: nothing that is mounted can grow", c)
	}
	w.change(cache, func(s *v1alpha1.BuildCacheSpec) { *s.Replicas = 1 })
	w.settle(cache)
	if got := w.asks("c-0"); got != "20Gi" {
		t.Errorf("awake, the claim asks for %s", got)
	}
}

func TestAClassThatCantExpandIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.ofClass(1, w.class(false))
	cache = w.grow(cache, "20Gi")
	if got := w.asks("c-0"); got != "10Gi" {
		t.Errorf("the claim asks for %s", got)
	}
	c := resized(cache)
	if c.Reason != v1alpha1.ReasonExpansionUnsupported || !strings.Contains(c.Message, "allowVolumeExpansion") {
		t.Errorf("condition is %+v", c)
	}
	if meta.IsStatusConditionTrue(cache.Status.Conditions, v1alpha1.ConditionStalled) {
		t.Error("the fleet is stalled by it")
	}
	result, err := w.caches.Reconcile(t.Context(), fleettest.Read(w, cache))
	if w.Must(err); result.RequeueAfter <= 0 || result.RequeueAfter.Minutes() > 1 {
		t.Errorf("it is looked at again after %s, want within a minute", result.RequeueAfter)
	}
	if !awaitsExpansion(cache) {
		t.Error("a change of the class does not wake it")
	}
}

// TestASizeThatCantBeReachedCanBeTakenBack asks for more than a driver can give, and then for less.
func TestASizeThatCantBeReachedCanBeTakenBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.ofClass(1, w.class(true))
	w.grow(cache, "900Gi")
	claim := w.claim("c-0")
	claim.Status.AllocatedResourceStatuses = map[corev1.ResourceName]corev1.ClaimResourceStatus{
		corev1.ResourceStorage: corev1.PersistentVolumeClaimControllerResizeInfeasible,
	}
	w.Must(w.Client.Status().Update(t.Context(), claim))
	cache = w.keep(cache)
	if c := resized(cache); c.Reason != v1alpha1.ReasonExpansionFailed {
		t.Errorf("condition is %+v", c)
	}
	cache.Spec.Storage.Size = resource.MustParse("5Gi")
	if err := w.Client.Update(t.Context(), cache); err == nil {
		t.Error("a size below what volumes have is taken")
	}
	cache = w.grow(cache, "12Gi")
	if got := w.asks("c-0"); got != "12Gi" {
		t.Errorf("the claim asks for %s", got)
	}
	cache = w.grow(cache, "10Gi")
	if got := w.asks("c-0"); got != "10241Mi" {
		t.Errorf("the claim asks for %s, want a little more than it has", got)
	}
	if c := resized(cache); c.Status != metav1.ConditionTrue {
		t.Errorf("condition is %+v", c)
	}
}

func TestAStuckClaimIsTold(t *testing.T) {
	t.Parallel()
	has := func(change func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
		c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "c"}}
		c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("20Gi")}
		c.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Gi")}
		change(c)
		return c
	}
	for name, tc := range map[string]struct {
		claim *corev1.PersistentVolumeClaim
		want  string
	}{
		"on its way": {has(func(*corev1.PersistentVolumeClaim) {}), v1alpha1.ReasonExpanding},
		"there": {
			has(func(c *corev1.PersistentVolumeClaim) { c.Status.Capacity = c.Spec.Resources.Requests }),
			v1alpha1.ReasonVolumesAsWanted,
		},
		"failing": {has(func(c *corev1.PersistentVolumeClaim) {
			c.Status.Conditions = []corev1.PersistentVolumeClaimCondition{{
				Type: corev1.PersistentVolumeClaimNodeResizeError, Status: corev1.ConditionTrue, Message: "x",
			}}
		}), v1alpha1.ReasonExpansionFailed},
		"impossible": {has(func(c *corev1.PersistentVolumeClaim) {
			c.Status.AllocatedResourceStatuses = map[corev1.ResourceName]corev1.ClaimResourceStatus{
				corev1.ResourceStorage: corev1.PersistentVolumeClaimControllerResizeInfeasible,
			}
		}), v1alpha1.ReasonExpansionFailed},
	} {
		t.Run(name, func(t *testing.T) {
			r := &resize{claims: 1, size: resource.MustParse("20Gi")}
			r.observe(tc.claim)
			if c := r.condition(); c.Reason != tc.want {
				t.Errorf("condition is %+v, want the reason %s", c, tc.want)
			}
		})
	}
	if c := (&resize{}).condition(); c != nil {
		t.Errorf("a fleet without volumes has the condition %+v", c)
	}
}
