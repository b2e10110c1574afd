// SPDX-License-Identifier: Apache-2.0

package buildcache

import (
	"context"
	"os"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/workload"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

func TestMain(m *testing.M) { os.Exit(envtestkit.Main(m)) }

// testImages are what the pods of tests would run.
var testImages = workload.Images{Operator: "operator:test", BuildKit: "buildkit:test"}

// world is a namespace with the reconcilers of fleets and their workloads, called step by step, and a stand-in for what
// Kubernetes makes of StatefulSets.
type world struct {
	t      *testing.T
	ns     string
	c      *counting
	clock  *envtestkit.Clock
	events *envtestkit.Recorder

	caches    *Reconciler
	workloads *workload.Reconciler
}

func newWorld(t *testing.T) *world {
	t.Helper()
	cluster := envtestkit.Get(t)
	w := &world{
		t: t, ns: cluster.Namespace(t), c: &counting{WithWatch: cluster.Client},
		clock: clocktesting.NewFakeClock(time.Now()), events: &envtestkit.Recorder{},
	}
	w.caches = &Reconciler{
		Client: w.c, Events: w.events, Clock: w.clock, Images: testImages, InputsRole: "hlb-operator-agent-inputs",
	}
	w.workloads = &workload.Reconciler{Client: w.c, Events: w.events, Clock: w.clock, Images: testImages}
	return w
}

// counting is a client that counts writes.
type counting struct {
	client.WithWatch
	writes int
}

func (c *counting) Apply(ctx context.Context, o runtime.ApplyConfiguration, options ...client.ApplyOption) error {
	c.writes++
	return c.WithWatch.Apply(ctx, o, options...)
}

func (c *counting) Patch(
	ctx context.Context, o client.Object, patch client.Patch, options ...client.PatchOption,
) error {
	c.writes++
	return c.WithWatch.Patch(ctx, o, patch, options...)
}

func (c *counting) Delete(ctx context.Context, o client.Object, options ...client.DeleteOption) error {
	c.writes++
	return c.WithWatch.Delete(ctx, o, options...)
}

// must fails the test on any of the errors.
func (w *world) must(errs ...error) {
	w.t.Helper()
	for _, err := range errs {
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) create(objects ...client.Object) {
	w.t.Helper()
	for _, o := range objects {
		w.must(w.c.Create(w.t.Context(), o))
	}
}

// read refreshes o from the server and returns it.
func read[T client.Object](w *world, o T) T {
	w.t.Helper()
	w.must(w.c.Get(w.t.Context(), client.ObjectKeyFromObject(o), o))
	return o
}

func (w *world) named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: w.ns, Name: name}
}

func (w *world) set(daemon string) *appsv1.StatefulSet {
	w.t.Helper()
	return read(w, &appsv1.StatefulSet{ObjectMeta: w.named(daemon)})
}

func (w *world) pod(daemon string) *corev1.Pod {
	w.t.Helper()
	return read(w, &corev1.Pod{ObjectMeta: w.named(workload.PodName(daemon))})
}

func (w *world) claim(daemon string) *corev1.PersistentVolumeClaim {
	w.t.Helper()
	return read(w, &corev1.PersistentVolumeClaim{ObjectMeta: w.named(workload.ClaimName(daemon))})
}

func (w *world) daemon(name string) *v1alpha1.BuildDaemon {
	w.t.Helper()
	return read(w, &v1alpha1.BuildDaemon{ObjectMeta: w.named(name)})
}

func (w *world) exists(o client.Object) bool {
	w.t.Helper()
	err := w.c.Get(w.t.Context(), client.ObjectKeyFromObject(o), o)
	if client.IgnoreNotFound(err) != nil {
		w.t.Fatal(err)
	}
	return err == nil
}

// keep reconciles a BuildCache once and returns it as it then is.
func (w *world) keep(cache *v1alpha1.BuildCache) *v1alpha1.BuildCache {
	w.t.Helper()
	_, err := w.caches.Reconcile(w.t.Context(), read(w, cache))
	w.must(err)
	return read(w, cache)
}

// work reconciles the workload of a daemon once.
func (w *world) work(name string) ctrl.Result {
	w.t.Helper()
	result, err := w.workloads.Reconcile(w.t.Context(), w.daemon(name))
	w.must(err)
	return result
}

func (w *world) daemons() []v1alpha1.BuildDaemon {
	w.t.Helper()
	var list v1alpha1.BuildDaemonList
	w.must(w.c.List(w.t.Context(), &list, client.InNamespace(w.ns)))
	return list.Items
}

// settle reconciles the fleet and its workloads, with what Kubernetes and agents do in between, until all is done that
// follows from the present state. Pods run and their agents report unless a daemon is among the broken.
func (w *world) settle(cache *v1alpha1.BuildCache, broken ...string) *v1alpha1.BuildCache {
	w.t.Helper()
	for range 4 {
		w.keep(cache)
		for _, d := range w.daemons() {
			w.work(d.Name)
		}
		w.kubernetes(broken...)
	}
	return w.keep(cache)
}

// kubernetes does what the StatefulSet controller, the garbage collector, a kubelet and agents would do once.
func (w *world) kubernetes(broken ...string) {
	w.t.Helper()
	var sets appsv1.StatefulSetList
	w.must(w.c.List(w.t.Context(), &sets, client.InNamespace(w.ns)))
	for i := range sets.Items {
		w.runSet(&sets.Items[i])
	}
	var pods corev1.PodList
	w.must(w.c.List(w.t.Context(), &pods, client.InNamespace(w.ns)))
	skip := map[string]bool{}
	for _, name := range broken {
		skip[name] = true
	}
	for i := range pods.Items {
		if name := pods.Items[i].Labels[v1alpha1.LabelDaemon]; !skip[name] {
			w.serve(name, &pods.Items[i])
		}
	}
}

// runSet makes or deletes the claim and the pod of a StatefulSet.
func (w *world) runSet(set *appsv1.StatefulSet) {
	w.t.Helper()
	if owner := metav1.GetControllerOf(set); owner != nil {
		d := &v1alpha1.BuildDaemon{ObjectMeta: w.named(owner.Name)}
		if !w.exists(d) || d.UID != owner.UID { // collected, with its pod
			w.must(w.c.WithWatch.Delete(w.t.Context(), set))
			w.deletePod(set.Name)
			return
		}
	}
	if !set.DeletionTimestamp.IsZero() { // without its pod
		set.Finalizers = nil
		w.must(w.c.Update(w.t.Context(), set))
		return
	}
	set.Status.ObservedGeneration = set.Generation
	w.must(w.c.Status().Update(w.t.Context(), set))
	pod := &corev1.Pod{ObjectMeta: w.named(workload.PodName(set.Name))}
	switch exists := w.exists(pod); {
	case *set.Spec.Replicas == 0:
		w.deletePod(set.Name)
	case !exists:
		w.makeClaim(set)
		pod = &corev1.Pod{
			ObjectMeta: *set.Spec.Template.ObjectMeta.DeepCopy(), Spec: *set.Spec.Template.Spec.DeepCopy(),
		}
		pod.Namespace, pod.Name = w.ns, workload.PodName(set.Name)
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "cache", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: workload.ClaimName(set.Name)},
		}})
		pod.Spec.ServiceAccountName = ""
		w.create(pod)
	}
}

func (w *world) deletePod(daemon string) {
	w.t.Helper()
	err := w.c.WithWatch.Delete(
		w.t.Context(), &corev1.Pod{ObjectMeta: w.named(workload.PodName(daemon))}, client.GracePeriodSeconds(0))
	w.must(client.IgnoreNotFound(err))
}

// makeClaim makes the claim of a StatefulSet, unless there is one, bound to a volume.
func (w *world) makeClaim(set *appsv1.StatefulSet) {
	w.t.Helper()
	claim := set.Spec.VolumeClaimTemplates[0].DeepCopy()
	claim.Namespace, claim.Name = w.ns, workload.ClaimName(set.Name)
	err := w.c.Create(w.t.Context(), claim)
	if apierrors.IsAlreadyExists(err) {
		return
	}
	w.must(err)
	claim.Status.Phase, claim.Status.Capacity = corev1.ClaimBound, claim.Spec.Resources.Requests
	w.must(w.c.Status().Update(w.t.Context(), claim))
}

// serve has a pod run and its agent report.
func (w *world) serve(daemon string, pod *corev1.Pod) {
	w.t.Helper()
	for i, c := range pod.Spec.Containers {
		id := "containerd://" + string(pod.UID) + "/" + c.Image
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses[:i:i], corev1.ContainerStatus{
			Name: c.Name, Image: c.Image, ContainerID: id, Ready: true,
		})
	}
	pod.Status.Phase = corev1.PodRunning
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	w.must(w.c.Status().Update(w.t.Context(), pod))
	d := &v1alpha1.BuildDaemon{ObjectMeta: w.named(daemon)}
	if !w.exists(d) {
		return
	}
	testbuild.Serving(d)
	d.Status.AgentID = string(pod.UID) + "/agent"
	w.must(w.c.Status().Update(w.t.Context(), d))
}

// change edits a BuildCache's spec.
func (w *world) change(cache *v1alpha1.BuildCache, edit func(*v1alpha1.BuildCacheSpec)) *v1alpha1.BuildCache {
	w.t.Helper()
	edit(&read(w, cache).Spec)
	w.must(w.c.Update(w.t.Context(), cache))
	return cache
}
