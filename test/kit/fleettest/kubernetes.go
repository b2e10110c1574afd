// SPDX-License-Identifier: Apache-2.0

package fleettest

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// podName names the pod of a StatefulSet of one replica, as Kubernetes does.
func podName(set string) string { return set + "-0" }

// claimOf is the volume claim that Kubernetes makes for a StatefulSet of one replica.
func claimOf(set *appsv1.StatefulSet) *corev1.PersistentVolumeClaim {
	claim := set.Spec.VolumeClaimTemplates[0].DeepCopy()
	claim.Namespace, claim.Name = set.Namespace, claim.Name+"-"+podName(set.Name)
	return claim
}

// Daemon reads a BuildDaemon.
func (w *World) Daemon(name string) *v1alpha1.BuildDaemon {
	w.T.Helper()
	return Read(w, &v1alpha1.BuildDaemon{ObjectMeta: w.Named(name)})
}

// Daemons lists the namespace's BuildDaemons.
func (w *World) Daemons() []v1alpha1.BuildDaemon {
	w.T.Helper()
	var list v1alpha1.BuildDaemonList
	w.Must(w.Client.List(w.T.Context(), &list, client.InNamespace(w.NS)))
	return list.Items
}

// Set reads the StatefulSet of a daemon.
func (w *World) Set(daemon string) *appsv1.StatefulSet {
	w.T.Helper()
	return Read(w, &appsv1.StatefulSet{ObjectMeta: w.Named(daemon)})
}

// Pod reads the pod of a daemon.
func (w *World) Pod(daemon string) *corev1.Pod {
	w.T.Helper()
	return Read(w, &corev1.Pod{ObjectMeta: w.Named(podName(daemon))})
}

// RunKubernetes does once what the StatefulSet controller, the garbage collector, a kubelet and agents do. Pods run and
// their agents report, but for those of the broken daemons.
func (w *World) RunKubernetes(broken ...string) {
	w.T.Helper()
	var sets appsv1.StatefulSetList
	w.Must(w.Client.List(w.T.Context(), &sets, client.InNamespace(w.NS)))
	for i := range sets.Items {
		w.runSet(&sets.Items[i])
	}
	var pods corev1.PodList
	w.Must(w.Client.List(w.T.Context(), &pods, client.InNamespace(w.NS)))
	for i := range pods.Items {
		if daemon := pods.Items[i].Labels[v1alpha1.LabelDaemon]; !slices.Contains(broken, daemon) {
			w.serve(daemon, &pods.Items[i])
		}
	}
}

// runSet makes or deletes the claim and the pod of a StatefulSet, and deletes one whose owner is gone.
func (w *World) runSet(set *appsv1.StatefulSet) {
	w.T.Helper()
	if owner := metav1.GetControllerOf(set); owner != nil {
		d := &v1alpha1.BuildDaemon{ObjectMeta: w.Named(owner.Name)}
		if !w.Exists(d) || d.UID != owner.UID { // collected, with its pod
			w.Must(w.Client.Delete(w.T.Context(), set))
			w.DeletePod(set.Name)
			return
		}
	}
	if !set.DeletionTimestamp.IsZero() { // without its pod
		set.Finalizers = nil
		w.Must(w.Client.Update(w.T.Context(), set))
		return
	}
	set.Status.ObservedGeneration = set.Generation
	w.Must(w.Client.Status().Update(w.T.Context(), set))
	switch exists := w.Exists(&corev1.Pod{ObjectMeta: w.Named(podName(set.Name))}); {
	case *set.Spec.Replicas == 0:
		w.DeletePod(set.Name)
	case !exists:
		w.makeClaim(set)
		w.makePod(set)
	}
}

func (w *World) makePod(set *appsv1.StatefulSet) {
	w.T.Helper()
	template := set.Spec.Template.DeepCopy()
	pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	pod.Namespace, pod.Name = w.NS, podName(set.Name)
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{
		Name: set.Spec.VolumeClaimTemplates[0].Name,
		VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{
			ClaimName: claimOf(set).Name,
		}},
	})
	pod.Spec.ServiceAccountName = "" // the test's may not exist yet
	w.Create(pod)
}

// DeletePod deletes the pod of a daemon at once, if there is one.
func (w *World) DeletePod(daemon string) {
	w.T.Helper()
	pod := &corev1.Pod{ObjectMeta: w.Named(podName(daemon))}
	w.Must(client.IgnoreNotFound(w.Client.Delete(w.T.Context(), pod, client.GracePeriodSeconds(0))))
}

// makeClaim makes the claim of a StatefulSet, unless there is one, bound to a volume.
func (w *World) makeClaim(set *appsv1.StatefulSet) {
	w.T.Helper()
	claim := claimOf(set)
	err := w.Client.Create(w.T.Context(), claim)
	if apierrors.IsAlreadyExists(err) {
		return
	}
	w.Must(err)
	claim.Status.Phase, claim.Status.Capacity = corev1.ClaimBound, claim.Spec.Resources.Requests
	w.Must(w.Client.Status().Update(w.T.Context(), claim))
}

// serve has a pod run and its agent report.
func (w *World) serve(daemon string, pod *corev1.Pod) {
	w.T.Helper()
	for i, c := range pod.Spec.Containers {
		id := "containerd://" + string(pod.UID) + "/" + c.Image
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses[:i:i], corev1.ContainerStatus{
			Name: c.Name, Image: c.Image, ContainerID: id, Ready: true,
		})
	}
	pod.Status.Phase = corev1.PodRunning
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	w.Must(w.Client.Status().Update(w.T.Context(), pod))
	d := &v1alpha1.BuildDaemon{ObjectMeta: w.Named(daemon)}
	if !w.Exists(d) {
		return
	}
	testbuild.Serving(d)
	d.Status.AgentID = string(pod.UID) + "/agent"
	w.Must(w.Client.Status().Update(w.T.Context(), d))
}
