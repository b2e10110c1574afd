// SPDX-License-Identifier: Apache-2.0

package buildcache

import (
	"context"
	"fmt"
	"time"

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
)

// resize is how far the volumes are on the way to their size.
type resize struct {
	size    resource.Quantity
	claims  int
	growing int
	refused string // why volumes of the class can't grow
	failed  string // why a claim does not grow
}

// needsUser reports whether volumes do not grow and a user may have to help. r may be nil.
func (r *resize) needsUser() bool { return r != nil && r.refused+r.failed != "" }

// condition is VolumesResized, nil for a fleet without volumes.
func (r *resize) condition() *metav1.Condition {
	c := &metav1.Condition{Type: v1alpha1.ConditionVolumesResized, Status: metav1.ConditionFalse}
	switch {
	case r.claims == 0:
		return nil
	case r.refused != "":
		c.Reason, c.Message = v1alpha1.ReasonExpansionUnsupported, r.refused
	case r.failed != "":
		c.Reason, c.Message = v1alpha1.ReasonExpansionFailed, r.failed
	case r.growing > 0:
		c.Reason = v1alpha1.ReasonExpanding
		c.Message = fmt.Sprintf("%d of %d volumes are growing to %s", r.growing, r.claims, r.size.String())
	default:
		c.Status, c.Reason = metav1.ConditionTrue, v1alpha1.ReasonVolumesAsWanted
		c.Message = fmt.Sprintf("%d volumes have at least %s", r.claims, r.size.String())
	}
	return c
}

// observe takes in how one claim stands. A claim that asks for more than its daemon is to have, and does not get it,
// is no matter as long as it has that.
func (r *resize) observe(claim *corev1.PersistentVolumeClaim) {
	wanted, has := claim.Spec.Resources.Requests[corev1.ResourceStorage], claim.Status.Capacity[corev1.ResourceStorage]
	if has.IsZero() || has.Cmp(wanted) >= 0 || has.Cmp(r.size) >= 0 {
		return // not bound yet, or done
	}
	r.growing++
	if why := resizeFailure(claim); why != "" {
		r.failed = fmt.Sprintf("claim %s can't grow to %s: %s; a smaller size can be asked for",
			claim.Name, wanted.String(), why)
	}
}

// isResizeFailing reports whether a claim's driver says that it can't grow.
func isResizeFailing(claims []corev1.PersistentVolumeClaim) bool {
	for i := range claims {
		if resizeFailure(&claims[i]) != "" {
			return true
		}
	}
	return false
}

// resizeFailure is why a claim does not grow, empty while nothing is known to stand in its way.
func resizeFailure(claim *corev1.PersistentVolumeClaim) string {
	switch claim.Status.AllocatedResourceStatuses[corev1.ResourceStorage] {
	case corev1.PersistentVolumeClaimControllerResizeInfeasible, corev1.PersistentVolumeClaimNodeResizeInfeasible:
		return "its driver says that this is not possible"
	}
	for _, c := range claim.Status.Conditions {
		if c.Status == corev1.ConditionTrue && (c.Type == corev1.PersistentVolumeClaimControllerResizeError ||
			c.Type == corev1.PersistentVolumeClaimNodeResizeError) {
			return c.Message
		}
	}
	return ""
}

// growVolumes asks for larger volumes where they are smaller than they are to be, and for smaller ones where they have
// failed to grow to what is no longer asked for. It notes on each claim that this BuildCache uses it. Claims of daemons
// that sleep wait: what is not mounted does not grow.
func (r *Reconciler) growVolumes(ctx context.Context, s *snapshot) (*resize, error) {
	out := &resize{size: sizing.VolumeSize(s.cache)}
	for _, d := range s.daemons {
		if d.Spec.Suspend || d.claim == nil {
			continue
		}
		out.claims++
		if err := r.growVolume(ctx, s, d.claim, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (r *Reconciler) growVolume(
	ctx context.Context,
	s *snapshot,
	claim *corev1.PersistentVolumeClaim,
	out *resize,
) error {
	if !claim.DeletionTimestamp.IsZero() {
		return nil
	}
	before := claim.DeepCopy()
	size, err := r.nextRequest(ctx, claim, out)
	if err != nil {
		return err
	}
	claim.Spec.Resources.Requests[corev1.ResourceStorage] = size
	metav1.SetMetaDataAnnotation(&claim.ObjectMeta, v1alpha1.AnnotationCacheUID, string(s.cache.UID))
	if !s.hasUsed(before) || size.Cmp(before.Spec.Resources.Requests[corev1.ResourceStorage]) != 0 {
		err := r.Client.Patch(ctx, claim, client.MergeFrom(before))
		switch {
		case apierrors.IsForbidden(err), apierrors.IsInvalid(err): // a quota, or a claim that is not bound
			out.failed = fmt.Sprintf("claim %s is not allowed to have %s: %v", claim.Name, size.String(), err)
			return nil
		case client.IgnoreNotFound(err) != nil:
			return fmt.Errorf("write claim %s: %w", claim.Name, err)
		}
	}
	out.observe(claim)
	return nil
}

// nextRequest is what a claim is to ask for now.
func (r *Reconciler) nextRequest(
	ctx context.Context,
	claim *corev1.PersistentVolumeClaim,
	out *resize,
) (resource.Quantity, error) {
	asks := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	switch asks.Cmp(out.size) {
	case -1:
		refused, err := r.refusal(ctx, claim)
		if err != nil || refused != "" {
			out.refused = refused
			return asks, err
		}
		return out.size, nil
	case 1:
		if resizeFailure(claim) != "" {
			return larger(out.size, leastRequest(claim)), nil
		}
	}
	return asks, nil
}

// leastRequest is the least that Kubernetes lets a claim ask for that has failed to grow: a little more than it has.
func leastRequest(claim *corev1.PersistentVolumeClaim) resource.Quantity {
	has := claim.Status.Capacity[corev1.ResourceStorage]
	const mib = 1 << 20
	return *resource.NewQuantity((has.Value()/mib+1)*mib, resource.BinarySI)
}

// refusal is why a claim's storage class lets no volume grow, empty when it does.
func (r *Reconciler) refusal(ctx context.Context, claim *corev1.PersistentVolumeClaim) (string, error) {
	name := ptr.Deref(claim.Spec.StorageClassName, "")
	if name == "" {
		return fmt.Sprintf("claim %s has no storage class, so its volume can't grow", claim.Name), nil
	}
	class := &storagev1.StorageClass{}
	err := r.Client.Get(ctx, client.ObjectKey{Name: name}, class)
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Sprintf("storage class %q of claim %s does not exist (any more), so its volume can't grow",
			name, claim.Name), nil
	case err != nil:
		return "", fmt.Errorf("read storage class: %w", err)
	case !ptr.Deref(class.AllowVolumeExpansion, false):
		return fmt.Sprintf(
			"storage class %q does not allow expansion: set its allowVolumeExpansion if its driver can do it, "+
				"or make a new BuildCache of the wanted size and move builds to it by cacheRef", name), nil
	}
	return "", nil
}

// awaitsExpansion reports whether a change of its storage class may let the fleet's volumes grow.
func awaitsExpansion(cache *v1alpha1.BuildCache) bool {
	c := meta.FindStatusCondition(cache.Status.Conditions, v1alpha1.ConditionVolumesResized)
	return c != nil && c.Reason == v1alpha1.ReasonExpansionUnsupported
}

// setVolumes puts the state of the volumes into the status. volumes is nil when they were not looked at.
func setVolumes(out *v1alpha1.BuildCacheStatus, storage v1alpha1.StorageStatus, volumes *resize, now time.Time) {
	out.Storage = &storage
	if volumes == nil {
		return
	}
	c := volumes.condition()
	if c == nil {
		meta.RemoveStatusCondition(&out.Conditions, v1alpha1.ConditionVolumesResized)
		return
	}
	c.ObservedGeneration = out.ObservedGeneration
	status.Set(&out.Conditions, *c, now)
}
