// SPDX-License-Identifier: Apache-2.0

package workload

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/sizing"
)

// StatefulSet is the workload of one daemon: one pod, or none while the daemon is suspended, and a claim that outlives
// the pod. A changed template replaces no pod by itself (OnDelete): the order of a roll-out is the fleet's matter.
func (t *Template) StatefulSet(daemon *v1alpha1.BuildDaemon) *appsv1.StatefulSet {
	replicas := int32(1)
	if daemon.Spec.Suspend {
		replicas = 0
	}
	labels := DaemonLabels(t.cache.Name, daemon.Name)
	return &appsv1.StatefulSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"},
		ObjectMeta: metav1.ObjectMeta{Name: daemon.Name, Namespace: daemon.Namespace, Labels: labels},
		Spec: appsv1.StatefulSetSpec{
			Replicas:       &replicas,
			Selector:       &metav1.LabelSelector{MatchLabels: labels},
			UpdateStrategy: appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType},
			// The default waits for an unready pod before it replaces it; there is only one.
			PodManagementPolicy: appsv1.ParallelPodManagement,
			// Older templates are never gone back to.
			RevisionHistoryLimit:                 ptr.To[int32](1),
			Template:                             t.Pod(daemon.Name),
			PersistentVolumeClaimRetentionPolicy: t.retention(),
			VolumeClaimTemplates:                 []corev1.PersistentVolumeClaim{t.claim(labels)},
		},
	}
}

// retention keeps the volume of a suspended daemon; what becomes of it with the BuildCache is the spec's.
func (t *Template) retention() *appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy {
	whenDeleted := t.cache.Spec.Storage.Retention.WhenDeleted
	return &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
		WhenScaled:  appsv1.RetainPersistentVolumeClaimRetentionPolicyType,
		WhenDeleted: appsv1.PersistentVolumeClaimRetentionPolicyType(whenDeleted),
	}
}

// claim is what the StatefulSet makes the daemon's claim of.
func (t *Template) claim(labels map[string]string) corev1.PersistentVolumeClaim {
	return corev1.PersistentVolumeClaim{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: metav1.ObjectMeta{
			Name:        volumeCache,
			Labels:      labels,
			Annotations: map[string]string{v1alpha1.AnnotationCacheUID: string(t.cache.UID)},
		},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			StorageClassName: t.cache.Spec.Storage.StorageClassName,
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: sizing.VolumeSize(t.cache)},
			},
		},
	}
}

// IsRenderedIn reports whether the StatefulSet's next pod is of this template, and its controller knows so.
func (t *Template) IsRenderedIn(set *appsv1.StatefulSet) bool {
	return set.Status.ObservedGeneration == set.Generation &&
		t.Compare(&corev1.Pod{ObjectMeta: set.Spec.Template.ObjectMeta}) == UpToDate
}
