// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

const gib = int64(1) << 30

func TestADaemonAsleepDoesNotMakeTheFleetGrow(t *testing.T) {
	cache := testbuild.BuildCache("ns", "c")
	cache.Spec.Storage.AutoExpand = &v1alpha1.AutoExpandSpec{MaxSize: resource.MustParse("20Gi"), ThresholdPercent: 70, StepPercent: 25}
	full := func(d *v1alpha1.BuildDaemon) { d.Status.UsedBytes = 9 * gib }
	daemons := []v1alpha1.BuildDaemon{*testbuild.BuildDaemon("ns", "c", 0, testbuild.Serving), *testbuild.BuildDaemon("ns", "c", 1, testbuild.Serving, full)}
	if got, why := desiredStorage(cache, daemons, envtestkit.Epoch); got.Size.String() != "10Gi" {
		t.Errorf("size is %s: %s", got.Size.String(), why)
	}
	cache.Spec.Replicas = ptr.To[int32](2)
	if got, why := desiredStorage(cache, daemons, envtestkit.Epoch); got.Size.String() != "13Gi" || !strings.Contains(why, "c-1 uses 90% of its volume:") {
		t.Errorf("size is %s: %s", got.Size.String(), why)
	}
}

func TestTheShareOfMountsMakesTheFleetGrow(t *testing.T) {
	for name, tc := range map[string]struct {
		mounts   int64 // GiB of a budget of 50
		free     int32
		capacity int64
		want     string
	}{
		"mounts at their share of the threshold":   {44, 20, 100, "88% of its volume's share for cache mounts"}, // 70 of 80 is 87.5 %
		"mounts a little below it":                 {43, 20, 100, ""},
		"more that is kept free lowers the bound":  {40, 12, 100, "80% of its volume's share for cache mounts"}, // 70 of 88 is 79.5 %
		"pinned mounts beyond their share":         {60, 20, 100, "120% of its volume's share for cache mounts"},
		"a daemon that has not looked at a volume": {60, 20, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := &v1alpha1.BuildDaemonStatus{CapacityBytes: tc.capacity * gib, UsedBytes: 60 * gib, GC: &v1alpha1.GCStatus{MountsBytes: tc.mounts * gib, MountsBudgetBytes: 50 * gib}}
			if got := fullness(d, 70, tc.free); got != tc.want {
				t.Errorf("in use: %q, want %q", got, tc.want)
			}
		})
	}
}

func TestFullVolumesMakeTheFleetGrow(t *testing.T) {
	ago := func(d time.Duration) *metav1.Time { return &metav1.Time{Time: envtestkit.Epoch.Add(-d)} }
	for name, tc := range map[string]struct {
		max      string
		size     string // in the status, empty for none
		expanded *metav1.Time
		used     int64 // of a capacity of 10Gi, in GiB
		want     string
		grows    bool
	}{
		"without autoExpand":                   {"", "", nil, 10, "10Gi", false},
		"with room left":                       {"20Gi", "", nil, 7, "10Gi", false},
		"at the threshold":                     {"20Gi", "", nil, 8, "13Gi", true}, // a quarter more, in whole GiB
		"never beyond the largest":             {"12Gi", "", nil, 9, "12Gi", true},
		"the largest already":                  {"10Gi", "", nil, 9, "10Gi", false},
		"soon after the last time":             {"20Gi", "10Gi", ago(time.Minute), 9, "10Gi", false},
		"long after the last time":             {"20Gi", "10Gi", ago(time.Hour), 9, "13Gi", true},
		"while the volumes have yet to grow":   {"20Gi", "13Gi", ago(time.Hour), 9, "13Gi", false},
		"what was grown stays":                 {"20Gi", "13Gi", ago(time.Hour), 1, "13Gi", false},
		"without autoExpand the spec's counts": {"", "13Gi", ago(time.Hour), 1, "10Gi", false},
	} {
		t.Run(name, func(t *testing.T) {
			cache := testbuild.BuildCache("ns", "c")
			if tc.max != "" {
				cache.Spec.Storage.AutoExpand = &v1alpha1.AutoExpandSpec{MaxSize: resource.MustParse(tc.max), ThresholdPercent: 80, StepPercent: 25}
			}
			if tc.size != "" {
				cache.Status.Storage = &v1alpha1.StorageStatus{Size: resource.MustParse(tc.size), ExpandedTime: tc.expanded}
			}
			d := testbuild.BuildDaemon("ns", "c", 0, testbuild.Serving)
			d.Status.CapacityBytes, d.Status.UsedBytes = 10*gib, tc.used*gib
			got, why := desiredStorage(cache, []v1alpha1.BuildDaemon{*d}, envtestkit.Epoch)
			if got.Size.Cmp(resource.MustParse(tc.want)) != 0 || (why != "") != tc.grows {
				t.Errorf("size is %s (%s), want %s, growing %v", got.Size.String(), why, tc.want, tc.grows)
			}
			if tc.grows && !got.ExpandedTime.Equal(&metav1.Time{Time: envtestkit.Epoch}) {
				t.Errorf("expanded at %v", got.ExpandedTime)
			}
		})
	}
}

// claim makes the claim of a daemon, bound to a volume of 10Gi, in a storage class.
func (w *world) claim(class string) *corev1.PersistentVolumeClaim {
	w.t.Helper()
	ten := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Gi")}
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "cache-cache-0", Labels: map[string]string{
			v1alpha1.LabelCache: "cache", v1alpha1.LabelComponent: v1alpha1.ComponentDaemon,
		}},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: &class, VolumeName: "pv",
			Resources: corev1.VolumeResourceRequirements{Requests: ten},
		},
	}
	w.create(c)
	c.Status.Phase, c.Status.Capacity = corev1.ClaimBound, ten
	w.must(w.c.Status().Update(w.t.Context(), c))
	return c
}

func (w *world) class(expandable bool) string {
	w.t.Helper()
	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: w.ns + fmt.Sprint("-", expandable)}, Provisioner: "example.com/p", AllowVolumeExpansion: &expandable}
	w.create(class)
	return class.Name
}

// resized raises the size of a fleet of one daemon to 20Gi and reconciles.
func (w *world) resized(class string) (*v1alpha1.BuildCache, *corev1.PersistentVolumeClaim) {
	w.t.Helper()
	cache := testbuild.BuildCache(w.ns, "cache")
	w.create(cache)
	claim := w.claim(class)
	_, err := w.caches.Reconcile(w.t.Context(), read(w, cache))
	w.must(err)
	read(w, cache).Spec.Storage.Size = resource.MustParse("20Gi")
	w.must(w.c.Update(w.t.Context(), cache))
	_, err = w.caches.Reconcile(w.t.Context(), read(w, cache))
	w.must(err)
	return read(w, cache), read(w, claim)
}

func TestALargerSizeGrowsTheClaims(t *testing.T) {
	w := newWorld(t)
	cache, claim := w.resized(w.class(true))
	if got := claim.Spec.Resources.Requests[corev1.ResourceStorage]; got.Cmp(resource.MustParse("20Gi")) != 0 {
		t.Errorf("the claim asks for %s", got.String())
	}
	if c := meta.FindStatusCondition(cache.Status.Conditions, v1alpha1.ConditionVolumesResized); c == nil || c.Reason != v1alpha1.ReasonExpanding {
		t.Errorf("condition is %+v", c)
	}
	// The StatefulSet goes without its pods: nothing collects garbage here, so it waits for that.
	sts := read(w, &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "cache"}})
	if sts.DeletionTimestamp.IsZero() || len(sts.Finalizers) != 1 || sts.Finalizers[0] != metav1.FinalizerOrphanDependents {
		t.Fatalf("the StatefulSet has finalizers %v, deleted %v", sts.Finalizers, sts.DeletionTimestamp)
	}
	sts.Finalizers = nil
	w.must(w.c.Update(t.Context(), sts))
	claim.Status.Capacity = claim.Spec.Resources.Requests
	w.must(w.c.Status().Update(t.Context(), claim))
	_, err := w.caches.Reconcile(t.Context(), read(w, cache))
	w.must(err)
	sts = read(w, &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "cache"}})
	if got := sts.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests[corev1.ResourceStorage]; got.Cmp(resource.MustParse("20Gi")) != 0 {
		t.Errorf("new daemons would get %s", got.String())
	}
	if c := meta.FindStatusCondition(read(w, cache).Status.Conditions, v1alpha1.ConditionVolumesResized); c == nil || c.Status != metav1.ConditionTrue {
		t.Errorf("condition is %+v", c)
	}
}

func TestAClaimOfADaemonThatWasScaledAwayWaits(t *testing.T) {
	w := newWorld(t)
	cache := testbuild.BuildCache(w.ns, "cache", testbuild.WithReplicas(0))
	w.create(cache)
	claim := w.claim(w.class(true))
	size := func() string {
		_, err := w.caches.Reconcile(t.Context(), read(w, cache))
		w.must(err)
		got := read(w, claim).Spec.Resources.Requests[corev1.ResourceStorage]
		return got.String()
	}
	size()
	read(w, cache).Spec.Storage.Size = resource.MustParse("20Gi")
	w.must(w.c.Update(t.Context(), cache))
	if got := size(); got != "10Gi" {
		t.Errorf("asleep, the claim asks for %s", got)
	}
	if c := meta.FindStatusCondition(read(w, cache).Status.Conditions, v1alpha1.ConditionVolumesResized); c != nil {
		t.Errorf("condition is %+v: nothing that is mounted can grow", c)
	}
	cache.Spec.Replicas = ptr.To[int32](1)
	w.must(w.c.Update(t.Context(), cache))
	if got := size(); got != "20Gi" {
		t.Errorf("awake, the claim asks for %s", got)
	}
}

func TestAClassThatCantExpandIsTold(t *testing.T) {
	w := newWorld(t)
	cache, claim := w.resized(w.class(false))
	if got := claim.Spec.Resources.Requests[corev1.ResourceStorage]; got.Cmp(resource.MustParse("10Gi")) != 0 {
		t.Errorf("the claim asks for %s", got.String())
	}
	c := meta.FindStatusCondition(cache.Status.Conditions, v1alpha1.ConditionVolumesResized)
	if c == nil || c.Reason != v1alpha1.ReasonExpansionUnsupported || !strings.Contains(c.Message, "allowVolumeExpansion") {
		t.Errorf("condition is %+v", c)
	}
	if sts := read(w, &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "cache"}}); !sts.DeletionTimestamp.IsZero() {
		t.Error("the StatefulSet was deleted for nothing")
	}
	if meta.IsStatusConditionTrue(cache.Status.Conditions, v1alpha1.ConditionStalled) {
		t.Error("the fleet is stalled by it")
	}
}

func TestAStuckClaimIsTold(t *testing.T) {
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
		"there":      {has(func(c *corev1.PersistentVolumeClaim) { c.Status.Capacity = c.Spec.Resources.Requests }), v1alpha1.ReasonVolumesAsWanted},
		"failing": {has(func(c *corev1.PersistentVolumeClaim) {
			c.Status.Conditions = []corev1.PersistentVolumeClaimCondition{{Type: corev1.PersistentVolumeClaimNodeResizeError, Status: corev1.ConditionTrue, Message: "x"}}
		}), v1alpha1.ReasonExpansionFailed},
		"impossible": {has(func(c *corev1.PersistentVolumeClaim) {
			c.Status.AllocatedResourceStatuses = map[corev1.ResourceName]corev1.ClaimResourceStatus{corev1.ResourceStorage: corev1.PersistentVolumeClaimControllerResizeInfeasible}
		}), v1alpha1.ReasonExpansionFailed},
	} {
		t.Run(name, func(t *testing.T) {
			r := &resize{claims: 1}
			r.see(tc.claim)
			if c := r.condition("20Gi"); c.Reason != tc.want {
				t.Errorf("condition is %+v, want the reason %s", c, tc.want)
			}
		})
	}
	if c := (&resize{}).condition("20Gi"); c != nil {
		t.Errorf("a fleet without volumes has the condition %+v", c)
	}
}
