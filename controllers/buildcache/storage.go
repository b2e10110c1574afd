// SPDX-License-Identifier: Apache-2.0

package buildcache

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// expandPause is the least time between two steps of autoExpand: a volume must have grown, and its daemon have
// reported so, before it can be judged again.
const expandPause = 10 * time.Minute

// desiredStorage is what status.storage becomes: the size that is asked for, or what autoExpand makes of it. why names
// the daemon that asks for more, and is empty when nothing grows.
func desiredStorage(
	cache *v1alpha1.BuildCache,
	daemons []v1alpha1.BuildDaemon,
	claims []corev1.PersistentVolumeClaim,
	now time.Time,
) (storage v1alpha1.StorageStatus, why string) {
	storage = v1alpha1.StorageStatus{Size: askedSize(cache, claims), CapacitySize: largest(claims)}
	if s := cache.Status.Storage; s != nil {
		storage.ExpandedTime = s.ExpandedTime
	}
	spec := cache.Spec.Storage.AutoExpand
	if spec == nil || storage.Size.Cmp(spec.MaxSize) >= 0 {
		return storage, ""
	}
	if storage.ExpandedTime != nil && now.Sub(storage.ExpandedTime.Time) < expandPause {
		return storage, ""
	}
	for i := range daemons {
		d := &daemons[i].Status
		if daemons[i].Spec.Suspend || d.CapacityBytes < storage.Size.Value()/10*9 {
			continue // it is asleep, or has yet to become as large as it is meant to be
		}
		needs := fullness(d, spec.ThresholdPercent, cache.Spec.Storage.GC.FreePercent)
		if needs == "" {
			continue
		}
		const gib = 1 << 30
		grown := storage.Size.Value() + storage.Size.Value()*int64(spec.StepPercent)/100
		size := resource.NewQuantity((grown+gib-1)/gib*gib, resource.BinarySI)
		if size.Cmp(spec.MaxSize) > 0 {
			size = ptr.To(spec.MaxSize.DeepCopy())
		}
		why = fmt.Sprintf("%s uses %s: volumes grow from %s to %s",
			daemons[i].Name, needs, storage.Size.String(), size.String())
		storage.Size, storage.ExpandedTime = *size, ptr.To(metav1.NewTime(now))
		return storage, why
	}
	return storage, ""
}

// askedSize is the size without a further step of autoExpand. Volumes never shrink, so a size that autoExpand has
// reached stays, also after it was switched off. A size that no volume can reach can be taken back by
// spec.storage.size or autoExpand.maxSize: then the capacity of the volumes counts.
func askedSize(cache *v1alpha1.BuildCache, claims []corev1.PersistentVolumeClaim) resource.Quantity {
	size := cache.Spec.Storage.Size.DeepCopy()
	known := cache.Status.Storage
	if known == nil {
		return size
	}
	before := known.Size
	spec := cache.Spec.Storage.AutoExpand
	if spec == nil && isResizeFailing(claims) {
		before = smaller(before, largest(claims))
	}
	if spec != nil && before.Cmp(spec.MaxSize) > 0 {
		before = larger(spec.MaxSize, smaller(before, largest(claims)))
	}
	return larger(size, before)
}

// largest is the capacity of the fleet's largest volume, nil while there is none.
func largest(claims []corev1.PersistentVolumeClaim) *resource.Quantity {
	var out *resource.Quantity
	for i := range claims {
		has, known := claims[i].Status.Capacity[corev1.ResourceStorage]
		if known && (out == nil || has.Cmp(*out) > 0) {
			out = &has
		}
	}
	return out
}

// smaller is the smaller of two sizes, the first one if the second is nil.
func smaller(a resource.Quantity, b *resource.Quantity) resource.Quantity {
	if b != nil && b.Cmp(a) < 0 {
		return b.DeepCopy()
	}
	return a.DeepCopy()
}

func larger(a, b resource.Quantity) resource.Quantity {
	if b.Cmp(a) > 0 {
		return b.DeepCopy()
	}
	return a.DeepCopy()
}

// fullness says what of a daemon's volume is in use from the threshold on, empty for nothing: all of it, or the share
// of cache mounts. That share is pruned long before the volume is full when little else is there, so it counts as a
// volume does in which everything had grown alike: of what may be in use, which is all but freePercent. Layers have
// no say of their own: what is pruned of them comes back from registries.
func fullness(d *v1alpha1.BuildDaemonStatus, thresholdPercent, freePercent int32) string {
	if d.CapacityBytes <= 0 {
		return ""
	}
	if used := d.UsedBytes * 100 / d.CapacityBytes; used >= int64(thresholdPercent) {
		return fmt.Sprintf("%d%% of its volume", used)
	}
	if d.GC == nil || d.GC.MountsBudgetBytes <= 0 {
		return ""
	}
	used := d.GC.MountsBytes * 100 / d.GC.MountsBudgetBytes
	if used*int64(100-freePercent) < int64(thresholdPercent)*100 {
		return ""
	}
	return fmt.Sprintf("%d%% of its volume's share for cache mounts", used)
}
