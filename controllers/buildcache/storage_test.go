// SPDX-License-Identifier: Apache-2.0

package buildcache

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

const gib = int64(1) << 30

func TestADaemonAsleepDoesNotMakeTheFleetGrow(t *testing.T) {
	t.Parallel()
	cache := testbuild.BuildCache("ns", "c", expanding("20Gi", 70))
	full := func(d *v1alpha1.BuildDaemon) { d.Status.UsedBytes = 9 * gib }
	daemons := []v1alpha1.BuildDaemon{
		*testbuild.BuildDaemon("ns", "c", 0, testbuild.Serving),
		*testbuild.BuildDaemon("ns", "c", 1, testbuild.Serving, full),
	}
	daemons[1].Spec.Suspend = true
	if got, why := desiredStorage(cache, daemons, nil, envtestkit.Epoch); got.Size.String() != "10Gi" {
		t.Errorf("size is %s: %s", got.Size.String(), why)
	}
	daemons[1].Spec.Suspend = false
	got, why := desiredStorage(cache, daemons, nil, envtestkit.Epoch)
	if got.Size.String() != "13Gi" || !strings.Contains(why, "c-1 uses 90% of its volume:") {
		t.Errorf("size is %s: %s", got.Size.String(), why)
	}
}

// expanding lets volumes grow up to a size, from a threshold on, by a quarter each time.
func expanding(maxSize string, threshold int32) func(*v1alpha1.BuildCache) {
	return func(c *v1alpha1.BuildCache) {
		c.Spec.Storage.AutoExpand = &v1alpha1.AutoExpandSpec{
			MaxSize: resource.MustParse(maxSize), ThresholdPercent: threshold, StepPercent: 25,
		}
	}
}

func TestTheShareOfMountsMakesTheFleetGrow(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		mounts   int64 // GiB of a budget of 50
		free     int32
		capacity int64
		want     string
	}{
		"mounts at their share of the threshold": {
			44, 20, 100, "88% of its volume's share for cache mounts",
		}, // 70 of 80 is 87.5 %
		"mounts a little below it": {43, 20, 100, ""},
		"more that is kept free lowers the bound": {
			40, 12, 100, "80% of its volume's share for cache mounts",
		}, // 70 of 88 is 79.5 %
		"pinned mounts beyond their share":         {60, 20, 100, "120% of its volume's share for cache mounts"},
		"a daemon that has not looked at a volume": {60, 20, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			gc := &v1alpha1.GCStatus{MountsBytes: tc.mounts * gib, MountsBudgetBytes: 50 * gib}
			d := &v1alpha1.BuildDaemonStatus{CapacityBytes: tc.capacity * gib, UsedBytes: 60 * gib, GC: gc}
			if got := fullness(d, 70, tc.free); got != tc.want {
				t.Errorf("in use: %q, want %q", got, tc.want)
			}
		})
	}
}

func TestFullVolumesMakeTheFleetGrow(t *testing.T) {
	t.Parallel()
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
		"also once autoExpand is switched off": {"", "13Gi", ago(time.Hour), 1, "13Gi", false},
	} {
		t.Run(name, func(t *testing.T) {
			cache := testbuild.BuildCache("ns", "c")
			if tc.max != "" {
				expanding(tc.max, 80)(cache)
			}
			if tc.size != "" {
				cache.Status.Storage = &v1alpha1.StorageStatus{
					Size: resource.MustParse(tc.size), ExpandedTime: tc.expanded,
				}
			}
			d := testbuild.BuildDaemon("ns", "c", 0, testbuild.Serving)
			d.Status.CapacityBytes, d.Status.UsedBytes = 10*gib, tc.used*gib
			got, why := desiredStorage(cache, []v1alpha1.BuildDaemon{*d}, nil, envtestkit.Epoch)
			if got.Size.Cmp(resource.MustParse(tc.want)) != 0 || (why != "") != tc.grows {
				t.Errorf("size is %s (%s), want %s, growing %v", got.Size.String(), why, tc.want, tc.grows)
			}
			if tc.grows && !got.ExpandedTime.Equal(&metav1.Time{Time: envtestkit.Epoch}) {
				t.Errorf("expanded at %v", got.ExpandedTime)
			}
		})
	}
}

// TestSizesThatCantBeReachedAreTakenBack is about the size in force of 40Gi, where volumes have 20Gi.
func TestSizesThatCantBeReachedAreTakenBack(t *testing.T) {
	t.Parallel()
	claim := func(has string, fails bool) corev1.PersistentVolumeClaim {
		var c corev1.PersistentVolumeClaim
		c.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(has)}
		if fails {
			c.Status.AllocatedResourceStatuses = map[corev1.ResourceName]corev1.ClaimResourceStatus{
				corev1.ResourceStorage: corev1.PersistentVolumeClaimControllerResizeInfeasible,
			}
		}
		return c
	}
	for name, tc := range map[string]struct {
		max   string // of autoExpand; empty without
		size  string // of the spec
		fails bool
		want  string
	}{
		"growing to what autoExpand wants":         {"40Gi", "10Gi", false, "40Gi"},
		"failing, as long as autoExpand wants it":  {"40Gi", "10Gi", true, "40Gi"},
		"once autoExpand wants less":               {"25Gi", "10Gi", true, "25Gi"},
		"but volumes never shrink":                 {"15Gi", "10Gi", true, "20Gi"},
		"autoExpand switched off, without failing": {"", "10Gi", false, "40Gi"},
		"autoExpand switched off, failing":         {"", "10Gi", true, "20Gi"},
		"the spec wants less than it did":          {"", "30Gi", true, "30Gi"},
	} {
		t.Run(name, func(t *testing.T) {
			cache := testbuild.BuildCache("ns", "c")
			if tc.max != "" {
				expanding(tc.max, 80)(cache)
			}
			cache.Spec.Storage.Size = resource.MustParse(tc.size)
			cache.Status.Storage = &v1alpha1.StorageStatus{Size: resource.MustParse("40Gi")}
			claims := []corev1.PersistentVolumeClaim{claim("10Gi", tc.fails), claim("20Gi", false)}
			got, why := desiredStorage(cache, nil, claims, envtestkit.Epoch)
			if got.Size.Cmp(resource.MustParse(tc.want)) != 0 || why != "" || got.CapacitySize.String() != "20Gi" {
				t.Errorf("size is %s of volumes of %s (%s), want %s", got.Size.String(), got.CapacitySize, why, tc.want)
			}
		})
	}
}
