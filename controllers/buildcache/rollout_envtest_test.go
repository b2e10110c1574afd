// SPDX-License-Identifier: Apache-2.0

package buildcache

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/workload"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
	"github.com/openllb/hlb-operator/test/kit/fleettest"
)

// podUIDs are the UIDs of the fleet's pods by daemon.
func (w *world) podUIDs() map[string]string {
	w.T.Helper()
	var pods corev1.PodList
	w.Must(w.Client.List(w.T.Context(), &pods, client.InNamespace(w.NS)))
	out := map[string]string{}
	for i := range pods.Items {
		out[pods.Items[i].Labels[v1alpha1.LabelDaemon]] = string(pods.Items[i].UID)
	}
	return out
}

// changed are the daemons whose pods are others than before, sorted; one whose pod is missing counts.
func changed(before, after map[string]string) []string {
	var out []string
	for name, uid := range before {
		if after[name] != uid {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// TestAConfigChangeReplacesPodsOneByOne changes what buildkitd reads at its start.
func TestAConfigChangeReplacesPodsOneByOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.settle(w.made(3))
	before := w.podUIDs()
	w.change(cache, func(s *v1alpha1.BuildCacheSpec) { s.BuildKit.MaxConcurrentBuilds = 7 })
	w.settle(cache)
	if got := changed(before, w.podUIDs()); len(got) > 0 {
		t.Errorf("what the scheduler alone knows has replaced %v", got)
	}
	w.change(cache, func(s *v1alpha1.BuildCacheSpec) { s.BuildKit.MaxParallelism = 7 })
	w.keep(cache)
	if got := changed(before, w.podUIDs()); len(got) > 0 {
		t.Errorf("%v are replaced before their StatefulSets know the change", got)
	}
	for n := 1; n <= 3; n++ {
		for _, d := range w.Daemons() {
			w.work(d.Name)
		}
		w.RunKubernetes()
		w.keep(cache)
		if got := changed(before, w.podUIDs()); len(got) != n {
			t.Errorf("after %d steps %v are replaced", n, got)
		}
		cache = w.keep(cache)
		if c := envtestkit.Condition(cache, "Ready"); c.Reason != v1alpha1.ReasonDaemonsNotReady {
			t.Errorf("in the middle of a roll-out Ready is %+v", c)
		}
		w.RunKubernetes()
	}
	cache = w.settle(cache)
	if c := envtestkit.Condition(cache, "Ready"); c.Status != metav1.ConditionTrue {
		t.Errorf("after the roll-out Ready is %+v", c)
	}
	for _, d := range w.Daemons() {
		if d.Annotations[v1alpha1.AnnotationUpdating] != "" {
			t.Errorf("the update of %s has no end", d.Name)
		}
	}
}

// TestAnUpgradeOfTheOperatorRestartsNoBuildkitd changes the agent's image alone.
func TestAnUpgradeOfTheOperatorRestartsNoBuildkitd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.settle(w.made(2))
	before := w.podUIDs()
	agents := func() (next int) {
		for _, d := range w.Daemons() {
			if w.Pod(d.Name).Spec.Containers[0].Image == "operator:next" {
				next++
			}
		}
		return next
	}
	w.caches.Images.Operator, w.workloads.Images.Operator = "operator:next", "operator:next"
	w.work("c-0")
	w.work("c-1")
	w.keep(cache)
	if got := agents(); got != 0 {
		t.Errorf("%d agents are replaced before their StatefulSets know", got)
	}
	w.RunKubernetes()
	w.keep(cache)
	w.keep(cache)
	if got := agents(); got != 1 {
		t.Errorf("%d agents are replaced while a kubelet has not restarted the first", got)
	}
	cache = w.settle(cache)
	if got := agents(); got != 2 {
		t.Errorf("%d of 2 agents are replaced in the end", got)
	}
	if got := changed(before, w.podUIDs()); len(got) > 0 {
		t.Errorf("the pods of %v are others than before", got)
	}
	if c := envtestkit.Condition(cache, "Ready"); c.Status != metav1.ConditionTrue {
		t.Errorf("after the upgrade Ready is %+v", c)
	}
}

// TestARollOutOfFiveFinishesFour rolls a fleet of which one daemon finds no node any more.
func TestARollOutOfFiveFinishesFour(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.settle(w.made(5))
	before := w.podUIDs()
	w.change(cache, func(s *v1alpha1.BuildCacheSpec) { s.BuildKit.MaxParallelism = 7 })
	for range 8 {
		w.settle(cache, "c-4") // the first to be replaced
		if w.podUIDs()["c-4"] != before["c-4"] {
			w.unschedulable("c-4")
		}
		w.Clock.Step(time.Minute)
	}
	if got := changed(before, w.podUIDs()); len(got) != 5 {
		t.Errorf("%v are replaced", got)
	}
	cache = w.settle(cache, "c-4")
	c := envtestkit.Condition(cache, "Ready")
	if c.Reason != v1alpha1.ReasonUnschedulable || cache.Status.ReadyReplicas != 4 {
		t.Errorf("Ready is %+v with %d daemons", c, cache.Status.ReadyReplicas)
	}
}

// unschedulable has the scheduler find no node for a daemon's pod, whose former agent has ended.
func (w *world) unschedulable(daemon string) {
	w.T.Helper()
	pod := w.Pod(daemon)
	pod.Status = corev1.PodStatus{Conditions: []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse,
		Reason: corev1.PodReasonUnschedulable, Message: "0/3 nodes",
	}}}
	w.Must(w.Client.Status().Update(w.T.Context(), pod))
	d := w.Daemon(daemon)
	if envtestkit.Condition(d, "Ready").Reason == v1alpha1.ReasonDaemonServing {
		testbuild.WithReady(metav1.ConditionUnknown, v1alpha1.ReasonAgentStopped)(d)
		w.Must(w.Client.Status().Update(w.T.Context(), d))
	}
}

func TestScaleDownAndUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.settle(w.made(2))
	least := w.Daemon("c-0") // is worth nothing
	busy := w.Daemon("c-1")
	testbuild.WithKey("k", w.Clock.Now(), 1, 50)(busy)
	w.Must(w.Client.Status().Update(t.Context(), busy))
	claim := w.claim(least.Name).UID
	w.change(cache, func(s *v1alpha1.BuildCacheSpec) { *s.Replicas = 1 })
	w.keep(cache)
	w.work("c-0")
	d := w.Daemon("c-0")
	if !d.Spec.Suspend || envtestkit.Condition(d, "Ready").Reason != v1alpha1.ReasonDaemonServing {
		t.Errorf("while its pod finishes builds the daemon is %+v, suspend %v", d.Status.Conditions, d.Spec.Suspend)
	}
	cache = w.settle(cache)
	if c := envtestkit.Condition(w.Daemon("c-0"), "Ready"); c.Reason != v1alpha1.ReasonScaledDown {
		t.Errorf("Ready of the daemon that sleeps is %+v", c)
	}
	if cache.Status.Replicas != 1 || cache.Status.Daemons[0].Name != "c-1" {
		t.Errorf("the status has %d pods and %+v", cache.Status.Replicas, cache.Status.Daemons)
	}
	if c := envtestkit.Condition(cache, "Ready"); c.Status != metav1.ConditionTrue {
		t.Errorf("Ready is %+v", c)
	}
	w.change(cache, func(s *v1alpha1.BuildCacheSpec) { *s.Replicas = 2 })
	w.settle(cache)
	if d := w.Daemon("c-0"); d.UID != least.UID || d.Spec.Suspend || w.claim("c-0").UID != claim {
		t.Errorf("the daemon came back as another: %+v", d.ObjectMeta)
	}
}

func TestScaleDownCanDeleteTheVolume(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.settle(w.made(2, func(c *v1alpha1.BuildCache) {
		c.Spec.Storage.Retention.WhenScaled = v1alpha1.RetentionDelete
	}))
	w.change(cache, func(s *v1alpha1.BuildCacheSpec) { *s.Replicas = 1 })
	w.keep(cache)
	if w.claim("c-1"); !w.Exists(&v1alpha1.BuildDaemon{ObjectMeta: w.Named("c-1")}) {
		t.Error("the daemon is deleted while it finishes its builds")
	}
	w.settle(cache)
	if w.Exists(&v1alpha1.BuildDaemon{ObjectMeta: w.Named("c-1")}) {
		t.Error("the BuildDaemon is still there")
	}
	w.collect("c-1")
	w.change(cache, func(s *v1alpha1.BuildCacheSpec) { *s.Replicas = 2 })
	w.settle(cache)
	if claim := w.claim("c-1"); !claim.DeletionTimestamp.IsZero() {
		t.Error("the daemon that came back has the volume that was deleted")
	}
}

// collect lets a claim that is being deleted go, and fails the test if it is not. No controller protects claims here
// from being deleted while a pod uses them, so that it may be gone already.
func (w *world) collect(daemon string) {
	w.T.Helper()
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: w.Named(workload.ClaimName(daemon))}
	if !w.Exists(claim) {
		return
	}
	if claim.DeletionTimestamp.IsZero() {
		w.T.Errorf("claim %s is not being deleted", claim.Name)
	}
	claim.Finalizers = nil
	w.Must(w.Client.Update(w.T.Context(), claim))
}

// TestADaemonThatIsDeletedIsMadeAnew deletes a BuildDaemon while its pod runs. Another one of its name is made, with a
// volume of its own, once nothing is left of the first.
func TestADaemonThatIsDeletedIsMadeAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.settle(w.made(2))
	was, claim := w.Daemon("c-1"), w.claim("c-1")
	w.Must(w.Client.Delete(t.Context(), was.DeepCopy()))
	w.keep(cache)
	if w.Exists(&v1alpha1.BuildDaemon{ObjectMeta: w.Named("c-1")}) {
		t.Fatal("the BuildDaemon is made anew while its former pod runs")
	}
	w.RunKubernetes() // its StatefulSet and pod are collected
	w.collect("c-1")
	w.settle(cache)
	if now := w.Daemon("c-1"); now.UID == was.UID || w.claim("c-1").UID == claim.UID {
		t.Error("the BuildDaemon or its claim is the former one")
	}
	if !metav1.IsControlledBy(w.Set("c-1"), w.Daemon("c-1")) {
		t.Error("the StatefulSet belongs to the former BuildDaemon")
	}
}

// TestABuildCacheThatIsMadeAnewHasItsVolumes deletes a BuildCache, with everything but its claims.
func TestABuildCacheThatIsMadeAnewHasItsVolumes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.settle(w.made(2))
	claim := w.claim("c-1").UID
	w.Must(w.Client.Delete(t.Context(), cache))
	for _, d := range w.Daemons() {
		w.Must(w.Client.Delete(t.Context(), &d))
	}
	w.Must(w.Client.Delete(t.Context(), w.claim("c-0")))
	w.collect("c-0")
	w.RunKubernetes()
	for _, o := range []client.Object{
		&corev1.ConfigMap{}, &corev1.ServiceAccount{}, &rbacv1.Role{}, &rbacv1.RoleBinding{},
		&networkingv1.NetworkPolicy{}, &policyv1.PodDisruptionBudget{},
	} {
		w.Must(w.Client.DeleteAllOf(t.Context(), o, client.InNamespace(w.NS), client.HasLabels{v1alpha1.LabelCache}))
	}
	next := w.settle(w.made(1))
	if got := w.claim("c-1"); got.UID != claim || got.Annotations[v1alpha1.AnnotationCacheUID] != string(next.UID) {
		t.Errorf(
			"the claim is %s, was %s, and used by %s", got.UID, claim, got.Annotations[v1alpha1.AnnotationCacheUID],
		)
	}
	if next.Status.Daemons[0].Name != "c-1" {
		t.Errorf("the fleet has %+v, want the daemon whose volume was left", next.Status.Daemons)
	}
}

// TestWhatOthersSetOnADaemonStays is about the fields of a BuildDaemon that placement and users own.
func TestWhatOthersSetOnADaemonStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.settle(w.made(1))
	d := w.Daemon("c-0")
	d.Spec.Unschedulable = true
	d.Spec.Prefetch = []v1alpha1.PrefetchRequest{{
		ID: "m", Sharing: v1alpha1.MountShared, RequestedAt: metav1.NewTime(w.Clock.Now()).Rfc3339Copy(),
	}}
	delete(d.Annotations, v1alpha1.AnnotationAppliedHash) // so that it is applied once more
	w.Must(w.Client.Update(t.Context(), d))
	w.change(cache, func(s *v1alpha1.BuildCacheSpec) { s.BuildKit.MaxConcurrentBuilds++ })
	w.settle(cache)
	if got := w.Daemon("c-0").Spec; !got.Unschedulable || len(got.Prefetch) != 1 {
		t.Errorf("after the BuildDaemon was applied once more its spec is %+v", got)
	}
}

// TestABuildCacheWaitsForItsPredecessorsObjects makes a BuildCache anew before those of the former are collected.
func TestABuildCacheWaitsForItsPredecessorsObjects(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.settle(w.made(1))
	w.Must(w.Client.Delete(t.Context(), cache))
	next := w.made(1)
	if _, err := w.caches.Reconcile(t.Context(), fleettest.Read(w, next)); err == nil {
		t.Error("the fleet is as it should be though its objects belong to the former")
	}
	if c := envtestkit.Condition(fleettest.Read(w, next), v1alpha1.ConditionStalled); c != nil {
		t.Errorf("Stalled is %+v: the former's objects are about to go", c)
	}
	if d := w.Daemon("c-0"); metav1.IsControlledBy(d, next) {
		t.Error("the former's BuildDaemon is taken over")
	}
}
