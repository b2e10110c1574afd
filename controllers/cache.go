// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
)

// CacheOptions bound what the manager keeps of a cluster: of Kubernetes' own kinds only what belongs to a BuildCache,
// by its label, and of all objects only what the manager reads. Whoever must know of other objects reads past the
// cache.
//
// What is left out of the cache is lost when a cached object is written back as a whole. So the manager patches, and
// has no right to update.
//
// Of kinds with a namespace only objects of the given ones are kept; none means all.
func CacheOptions(namespaces ...string) cache.Options {
	belongs, err := labels.NewRequirement(v1alpha1.LabelCache, selection.Exists, nil)
	utilruntime.Must(err)
	ours := cache.ByObject{Label: labels.NewSelector().Add(*belongs)}
	pods := ours
	pods.Transform = slim(slimPod)
	within := map[string]cache.Config{}
	for _, n := range namespaces {
		within[n] = cache.Config{}
	}
	return cache.Options{
		DefaultTransform: slim(slimMeta), DefaultNamespaces: within,
		ByObject: map[client.Object]cache.ByObject{
			&v1alpha1.HLBBuild{}:            {Transform: slim(slimBuild)},
			&appsv1.StatefulSet{}:           ours,
			&coordinationv1.Lease{}:         ours,
			&corev1.ConfigMap{}:             ours,
			&corev1.PersistentVolumeClaim{}: ours,
			&corev1.Pod{}:                   pods,
			&corev1.ServiceAccount{}:        ours,
			&networkingv1.NetworkPolicy{}:   ours,
			&policyv1.PodDisruptionBudget{}: ours,
			&rbacv1.Role{}:                  ours,
			&rbacv1.RoleBinding{}:           ours,
		},
	}
}

// slim makes a cache's transform of a function that changes objects of one type in place, after slimMeta.
func slim[T client.Object](change func(T)) func(any) (any, error) {
	return func(o any) (any, error) {
		if object, ok := o.(T); ok { // else it is the last known state of a deleted object
			slimMeta(object)
			change(object)
		}
		return o, nil
	}
}

// slimMeta drops who wrote which field, which takes as much memory as a build itself, and kubectl's copy of the object.
func slimMeta(o client.Object) {
	o.SetManagedFields(nil)
	if annotations := o.GetAnnotations(); annotations[corev1.LastAppliedConfigAnnotation] != "" {
		delete(annotations, corev1.LastAppliedConfigAnnotation)
		o.SetAnnotations(annotations)
	}
}

// slimPod keeps of a pod where it runs, its containers' images and how it stands.
func slimPod(p *corev1.Pod) {
	spec, was := corev1.PodSpec{NodeName: p.Spec.NodeName}, &p.Status
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		spec.Containers = append(spec.Containers, corev1.Container{Name: c.Name, Image: c.Image})
	}
	p.Spec = spec
	p.Status = corev1.PodStatus{
		Phase: was.Phase, Conditions: was.Conditions, PodIP: was.PodIP,
		InitContainerStatuses: was.InitContainerStatuses, ContainerStatuses: was.ContainerStatuses,
	}
}

// slimBuild drops of a failure what its user reads, and the program of a build that is over. A run that is asked for
// later comes with a change of the object, which brings the program again; only a schedule opens runs without one.
func slimBuild(b *v1alpha1.HLBBuild) {
	if f := b.Status.Failure; f != nil {
		f.LogTail, f.Diagnostics = "", nil
	}
	isSeen := b.Status.ObservedGeneration == b.Generation && !status.NeedsRun(b)
	if b.Spec.HLB != nil && b.Spec.Schedule == nil && isSeen && status.IsFinal(b) {
		b.Spec.HLB.Inline = nil
	}
}
