// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/sizing"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/internal/write"
)

// expandPause is the least time between two steps of autoExpand: a volume must have grown, and its daemon have
// reported so, before it can be judged again.
const expandPause = 10 * time.Minute

// desiredStorage is what status.storage becomes: the size of the spec, or what autoExpand makes of it. why names the
// daemon that asks for more, and is empty when nothing grows.
func desiredStorage(
	cache *v1alpha1.BuildCache,
	daemons []v1alpha1.BuildDaemon,
	now time.Time,
) (storage v1alpha1.StorageStatus, why string) {
	storage = v1alpha1.StorageStatus{Size: sizing.VolumeSize(cache)}
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
		if daemons[i].Spec.Ordinal >= wantedReplicas(cache) || d.CapacityBytes < storage.Size.Value()/10*9 {
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
		at := metav1.NewTime(now)
		return v1alpha1.StorageStatus{Size: *size, ExpandedTime: &at},
			fmt.Sprintf(
				"%s uses %s: volumes grow from %s to %s",
				daemons[i].Name,
				needs,
				storage.Size.String(),
				size.String(),
			)
	}
	return storage, ""
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

// resize is how far the volumes of the wanted daemons are on their way to the wanted size. Those of daemons that were
// scaled away grow when these come back: many drivers enlarge a file system only where it is mounted.
type resize struct {
	claims          int
	growing         int    // asked for more and not there yet
	refused, failed string // why volumes can't grow, or did not
}

// condition says it to people. A fleet without volumes has none.
func (r *resize) condition(size string) *metav1.Condition {
	c := &metav1.Condition{Type: v1alpha1.ConditionVolumesResized, Status: metav1.ConditionFalse}
	switch {
	case r.claims == 0:
		return nil
	case r.refused != "":
		c.Reason, c.Message = v1alpha1.ReasonExpansionUnsupported, r.refused
	case r.failed != "":
		c.Reason, c.Message = v1alpha1.ReasonExpansionFailed, r.failed
	case r.growing > 0:
		c.Reason, c.Message = v1alpha1.ReasonExpanding, fmt.Sprintf(
			"%d of %d volumes are growing to %s",
			r.growing,
			r.claims,
			size,
		)
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1alpha1.ReasonVolumesAsWanted, fmt.Sprintf(
			"%d volumes have %s",
			r.claims,
			size,
		)
	}
	return c
}

// see takes in how one claim stands.
func (r *resize) see(claim *corev1.PersistentVolumeClaim) {
	wanted, has := claim.Spec.Resources.Requests[corev1.ResourceStorage], claim.Status.Capacity[corev1.ResourceStorage]
	if has.IsZero() || has.Cmp(wanted) >= 0 {
		return // not bound yet, or done
	}
	r.growing++
	for _, c := range claim.Status.Conditions {
		if (c.Type == corev1.PersistentVolumeClaimControllerResizeError || c.Type == corev1.PersistentVolumeClaimNodeResizeError) &&
			c.Status == corev1.ConditionTrue {
			r.failed = fmt.Sprintf("claim %s does not grow: %s", claim.Name, c.Message)
		}
	}
	switch claim.Status.AllocatedResourceStatuses[corev1.ResourceStorage] {
	case corev1.PersistentVolumeClaimControllerResizeInfeasible, corev1.PersistentVolumeClaimNodeResizeInfeasible:
		r.failed = fmt.Sprintf(
			"claim %s can't grow to %s: its driver says that this is not possible",
			claim.Name,
			wanted.String(),
		)
	}
}

// growVolumes asks for larger volumes where they are smaller than they are to be.
func (r *BuildCacheReconciler) growVolumes(ctx context.Context, cache *v1alpha1.BuildCache) (*resize, error) {
	var claims corev1.PersistentVolumeClaimList
	if err := r.Client.List(ctx, &claims, client.InNamespace(cache.Namespace), client.MatchingLabels(daemonLabels(cache))); err != nil {
		return nil, fmt.Errorf("list volume claims: %w", err)
	}
	awake := claimNames(cache)
	out, size := &resize{}, sizing.VolumeSize(cache)
	for i := range claims.Items {
		claim := &claims.Items[i]
		if !awake[claim.Name] {
			continue
		}
		out.claims++
		has := claim.Spec.Resources.Requests[corev1.ResourceStorage]
		if has.Cmp(size) < 0 && claim.DeletionTimestamp.IsZero() {
			refused, err := r.refusal(ctx, claim)
			if err != nil {
				return nil, err
			}
			if refused != "" {
				out.refused = refused
				continue
			}
			before := claim.DeepCopy()
			claim.Spec.Resources.Requests[corev1.ResourceStorage] = size
			_, err = r.writer().Patch(ctx, before, claim, write.Retry)
			switch {
			case apierrors.IsForbidden(err), apierrors.IsInvalid(err): // a quota, or a claim that is not bound
				out.failed = fmt.Sprintf("claim %s is not allowed to grow: %v", claim.Name, err)
				continue
			case err != nil:
				return nil, fmt.Errorf("grow claim %s: %w", claim.Name, err)
			}
		}
		out.see(claim)
	}
	return out, nil
}

// claimNames are the names that the StatefulSet gives the claims of the wanted daemons.
func claimNames(cache *v1alpha1.BuildCache) map[string]bool {
	names := map[string]bool{}
	for ordinal := range wantedReplicas(cache) {
		names[volumeCache+"-"+daemonName(cache.Name, ordinal)] = true
	}
	return names
}

// refusal says why a claim's storage class lets no volume grow, empty when it does.
func (r *BuildCacheReconciler) refusal(ctx context.Context, claim *corev1.PersistentVolumeClaim) (string, error) {
	name := ptr.Deref(claim.Spec.StorageClassName, "")
	if name == "" {
		return fmt.Sprintf("claim %s has no storage class, so its volume can't grow", claim.Name), nil
	}
	class := &storagev1.StorageClass{}
	err := r.Client.Get(ctx, client.ObjectKey{Name: name}, class)
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Sprintf(
			"storage class %q of claim %s does not exist (any more), so its volume can't grow",
			name,
			claim.Name,
		), nil
	case err != nil:
		return "", fmt.Errorf("read storage class: %w", err)
	case !ptr.Deref(class.AllowVolumeExpansion, false):
		return fmt.Sprintf(
			"storage class %q does not allow expansion: set its allowVolumeExpansion if its driver can do it, "+
				"or make a new BuildCache of the wanted size and move builds to it by cacheRef",
			name,
		), nil
	}
	return "", nil
}

// errRecreating says that the StatefulSet is on its way out, to come back with a larger volume in its template.
var errRecreating = fmt.Errorf("the StatefulSet is being made anew with larger volumes; its pods stay")

// fitTemplate makes the desired StatefulSet one that can be applied: a claim template can't be changed, so for a
// larger volume the present StatefulSet is deleted without its pods, which the next one adopts. Where volumes can't
// grow the template stays as it is.
func (r *BuildCacheReconciler) fitTemplate(
	ctx context.Context,
	cache *v1alpha1.BuildCache,
	desired *appsv1.StatefulSet,
	volumes *resize,
) error {
	present := &appsv1.StatefulSet{}
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(desired), present)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read StatefulSet: %w", err)
	}
	if !metav1.IsControlledBy(present, cache) || len(present.Spec.VolumeClaimTemplates) == 0 {
		return nil // applying it will say so
	}
	if !present.DeletionTimestamp.IsZero() {
		return errRecreating
	}
	has := present.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests[corev1.ResourceStorage]
	want := desired.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests
	if has.Cmp(want[corev1.ResourceStorage]) == 0 {
		return nil
	}
	if volumes.refused != "" {
		want[corev1.ResourceStorage] = has
		return nil
	}
	err = r.Client.Delete(
		ctx,
		present,
		client.PropagationPolicy(metav1.DeletePropagationOrphan),
		client.Preconditions{UID: &present.UID},
	)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete StatefulSet without its pods: %w", err)
	}
	return errRecreating
}

// setVolumes puts the state of the volumes into the status.
func setVolumes(out *v1alpha1.BuildCacheStatus, storage v1alpha1.StorageStatus, volumes *resize, now time.Time) {
	out.Storage = &storage
	if volumes == nil {
		return
	}
	c := volumes.condition(storage.Size.String())
	if c == nil {
		meta.RemoveStatusCondition(&out.Conditions, v1alpha1.ConditionVolumesResized)
		return
	}
	c.ObservedGeneration = out.ObservedGeneration
	status.Set(&out.Conditions, *c, now)
}
