// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// keep reconciles a BuildCache once and returns it as it then is.
func (w *world) keep(cache *v1alpha1.BuildCache) *v1alpha1.BuildCache {
	w.t.Helper()
	_, err := w.caches.Reconcile(w.t.Context(), read(w, cache))
	w.must(err)
	return read(w, cache)
}

// owned lists what carries a BuildCache's label, as resource versions by kind and name. Each of it must be controlled
// by the BuildCache.
func (w *world) owned(cache *v1alpha1.BuildCache) map[string]string {
	w.t.Helper()
	versions := map[string]string{}
	for kind, list := range map[string]client.ObjectList{
		"StatefulSet": &appsv1.StatefulSetList{}, "ConfigMap": &corev1.ConfigMapList{}, "ServiceAccount": &corev1.ServiceAccountList{},
		"Role": &rbacv1.RoleList{}, "RoleBinding": &rbacv1.RoleBindingList{}, "NetworkPolicy": &networkingv1.NetworkPolicyList{},
		"PodDisruptionBudget": &policyv1.PodDisruptionBudgetList{}, "BuildDaemon": &v1alpha1.BuildDaemonList{},
	} {
		w.must(w.c.List(w.t.Context(), list, client.InNamespace(w.ns), client.MatchingLabels{v1alpha1.LabelCache: cache.Name}))
		items, err := extract(list)
		w.must(err)
		for _, o := range items {
			versions[kind+" "+o.GetName()] = o.GetResourceVersion()
			if !metav1.IsControlledBy(o, cache) {
				w.t.Errorf("%s %s is not controlled by the BuildCache", kind, o.GetName())
			}
		}
	}
	return versions
}

func TestBuildCacheMakesItsObjects(t *testing.T) {
	w := newWorld(t)
	cache := testbuild.BuildCache(w.ns, "c", testbuild.WithReplicas(2))
	w.create(cache)
	if got := envtestkit.Kstatus(t, cache); got != status.InProgressStatus {
		t.Errorf("an unseen fleet's kstatus is %s", got)
	}
	cache = w.keep(cache)
	first := w.owned(cache)
	want := []string{
		"BuildDaemon c-0", "BuildDaemon c-1", "ConfigMap c-buildkitd", "NetworkPolicy c", "PodDisruptionBudget c", "Role c-agent",
		"RoleBinding c-agent", "RoleBinding c-agent-inputs", "ServiceAccount c-agent", "StatefulSet c",
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(first))); diff != "" {
		t.Errorf("objects differ (-want +got):\n%s", diff)
	}
	cache = w.keep(cache) // now it sees the daemons that it made
	settled, version := w.owned(cache), cache.ResourceVersion
	w.events.Take()
	applies := 0
	w.restart(interceptor.NewClient(w.c, interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			applies++
			return c.Apply(ctx, o, opts...)
		},
	}))
	cache = w.keep(cache)
	if diff := cmp.Diff(settled, w.owned(cache)); diff != "" || applies > 0 {
		t.Errorf("a pass on the same world sent %d applies and wrote (-before +after):\n%s", applies, diff)
	}
	if cache.ResourceVersion != version || len(w.events.Take()) > 0 {
		t.Error("a pass on the same world reports again")
	}
}

// rollOut sets the StatefulSet's status as its controller would.
func (w *world) rollOut(name string, n int32) {
	w.t.Helper()
	sts := read(w, &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name}})
	sts.Status = appsv1.StatefulSetStatus{ObservedGeneration: sts.Generation, Replicas: n, UpdatedReplicas: n, ReadyReplicas: n, AvailableReplicas: n, CurrentReplicas: n}
	w.must(w.c.Status().Update(w.t.Context(), sts))
}

func TestBuildCacheBecomesReady(t *testing.T) {
	w := newWorld(t)
	cache := testbuild.BuildCache(w.ns, "cache", testbuild.WithReplicas(1))
	w.create(cache)
	cache = w.keep(cache)
	if c := envtestkit.Condition(cache, "Ready"); c == nil || c.Reason != v1alpha1.ReasonDaemonsNotReady {
		t.Errorf("Ready is %+v", c)
	}
	w.rollOut("cache", 1)
	w.setDaemon(0, testbuild.Serving)
	cache = w.keep(cache)
	if got := envtestkit.Kstatus(t, cache); got != status.CurrentStatus || cache.Status.ReadyReplicas != 1 || cache.Status.ObservedGeneration != cache.Generation {
		t.Errorf("kstatus is %s of %+v", got, cache.Status)
	}
	if diff := cmp.Diff([]string{v1alpha1.ReasonDaemonsNotReady, v1alpha1.ReasonAllDaemonsReady}, w.events.Reasons()); diff != "" {
		t.Errorf("events differ (-want +got):\n%s", diff)
	}
}

// TestAnOldViewIsNoError reconciles a BuildCache as it was before its last status: nothing is written over it, and
// the pass is soon repeated.
func TestAnOldViewIsNoError(t *testing.T) {
	w := newWorld(t)
	cache := testbuild.BuildCache(w.ns, "cache", testbuild.WithReplicas(1))
	w.create(cache)
	w.keep(cache)
	old := read(w, cache).DeepCopy()
	w.rollOut("cache", 1)
	w.setDaemon(0, testbuild.Serving)
	want := w.keep(cache).DeepCopy()
	w.events.Take()
	got, err := w.caches.Reconcile(t.Context(), old)
	if err != nil || got.RequeueAfter <= 0 {
		t.Errorf("an old view gives %+v and the error %v, want another look and none", got, err)
	}
	if diff := cmp.Diff(want, read(w, cache)); diff != "" || len(w.events.Take()) > 0 {
		t.Errorf("it was written or told (-before +after):\n%s", diff)
	}
}

func TestDriftIsRepaired(t *testing.T) {
	w := newWorld(t)
	cache := testbuild.BuildCache(w.ns, "c")
	w.create(cache)
	cache = w.keep(cache)
	meta := metav1.ObjectMeta{Namespace: w.ns, Name: "c"}
	role := read(w, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "c-agent"}})
	wanted := role.DeepCopy().Rules
	role.Rules = append(role.Rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"list"}})
	sts := read(w, &appsv1.StatefulSet{ObjectMeta: meta})
	sts.Spec.Template.Spec.Containers[0].Image = "evil:1"
	sts.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] = "now"
	config := read(w, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "c-buildkitd"}})
	config.Data[configFile] = ""
	w.must(w.c.Update(t.Context(), role), w.c.Update(t.Context(), sts), w.c.Update(t.Context(), config))
	w.must(w.c.Delete(t.Context(), &networkingv1.NetworkPolicy{ObjectMeta: meta}))
	w.keep(cache)
	if diff := cmp.Diff(wanted, read(w, role).Rules); diff != "" {
		t.Errorf("the Role's rules differ (-want +got):\n%s", diff)
	}
	read(w, sts)
	if sts.Spec.Template.Spec.Containers[0].Image != testImages.Operator || sts.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] != "now" {
		t.Errorf("of the pod template, image is %s and restartedAt %q: ours is repaired, others' stays",
			sts.Spec.Template.Spec.Containers[0].Image, sts.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"])
	}
	if read(w, config).Data[configFile] == "" {
		t.Error("the configuration stayed empty")
	}
	read(w, &networkingv1.NetworkPolicy{ObjectMeta: meta})
}

func TestNameConflictStalls(t *testing.T) {
	w := newWorld(t)
	foreign := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "c-buildkitd"}, Data: map[string]string{"mine": "yes"}}
	cache := testbuild.BuildCache(w.ns, "c")
	w.create(foreign, cache)
	result, err := w.caches.Reconcile(t.Context(), read(w, cache))
	if err != nil || result.RequeueAfter <= 0 || result.RequeueAfter > time.Minute {
		t.Errorf("looks again in %s, with error %v; want within a minute, without back-off", result.RequeueAfter, err)
	}
	read(w, cache)
	if c := envtestkit.Condition(cache, v1alpha1.ConditionStalled); c == nil || c.Reason != v1alpha1.ReasonNameConflict {
		t.Errorf("Stalled is %+v", c)
	}
	if got := envtestkit.Kstatus(t, cache); got != status.FailedStatus {
		t.Errorf("kstatus is %s", got)
	}
	if read(w, foreign); foreign.Data["mine"] != "yes" || len(foreign.OwnerReferences) > 0 {
		t.Errorf("the foreign object was taken over: %+v", foreign)
	}
	if e := w.events.Take(); len(e) != 1 || e[0].Type != "Warning" {
		t.Errorf("events are %+v", e)
	}
	w.must(w.c.Delete(t.Context(), foreign))
	if cache = w.keep(cache); envtestkit.Condition(cache, v1alpha1.ConditionStalled) != nil {
		t.Error("it stays stalled after the conflict is gone")
	}
}

func TestConfigChangeRollsThePods(t *testing.T) {
	w := newWorld(t)
	cache := testbuild.BuildCache(w.ns, "c")
	w.create(cache)
	hash := func() string {
		cache = w.keep(cache)
		return read(w, &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "c"}}).Spec.Template.Annotations[v1alpha1.AnnotationConfigHash]
	}
	before := hash()
	cache.Spec.BuildKit.MaxConcurrentBuilds = 7 // the scheduler's matter, not the daemon's
	w.must(w.c.Update(t.Context(), cache))
	if got := hash(); got != before {
		t.Error("a change that buildkitd does not know rolls the daemons")
	}
	cache.Spec.BuildKit.MaxParallelism = 7
	w.must(w.c.Update(t.Context(), cache))
	if got := hash(); got == before || got == "" {
		t.Errorf("the hash is %q after the change, %q before", got, before)
	}
}

func TestScaleDown(t *testing.T) {
	cases := map[string]struct {
		whenScaled v1alpha1.RetentionPolicy
		check      func(t *testing.T, w *world)
	}{
		"with retained volumes the daemon sleeps": {v1alpha1.RetentionRetain, func(t *testing.T, w *world) {
			d := read(w, testbuild.BuildDaemon(w.ns, "cache", 1))
			if c := envtestkit.Condition(d, "Ready"); c == nil || c.Reason != v1alpha1.ReasonScaledDown {
				t.Errorf("Ready is %+v", c)
			}
			if len(d.Status.Keys) != 1 || d.Status.RunningBuilds != 0 {
				t.Errorf("the sleeping daemon's status is %+v: what the volume holds stays known", d.Status)
			}
		}},
		"with deleted volumes it goes": {v1alpha1.RetentionDelete, func(t *testing.T, w *world) {
			err := w.c.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: "cache-1"}, &v1alpha1.BuildDaemon{})
			if !apierrors.IsNotFound(err) {
				t.Errorf("the BuildDaemon is still there: %v", err)
			}
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			cache := testbuild.BuildCache(w.ns, "cache", testbuild.WithReplicas(2), func(c *v1alpha1.BuildCache) { c.Spec.Storage.Retention.WhenScaled = tc.whenScaled })
			w.create(cache)
			w.keep(cache)
			w.setDaemon(1, testbuild.Serving, testbuild.WithKey("k", w.clock.Now(), 1, 2))
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "cache-1"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "x", Image: "x"}}}}
			w.create(pod)
			read(w, cache)
			cache.Spec.Replicas = ptr.To[int32](1)
			w.must(w.c.Update(t.Context(), cache))
			w.keep(cache)
			if c := envtestkit.Condition(read(w, testbuild.BuildDaemon(w.ns, "cache", 1)), "Ready"); c.Reason != v1alpha1.ReasonDaemonServing {
				t.Errorf("while its pod finishes builds the daemon is %s", c.Reason)
			}
			w.must(w.c.Delete(t.Context(), pod, client.GracePeriodSeconds(0)))
			w.keep(cache)
			tc.check(t, w)
			w.keep(cache) // nothing is left to do, and no error
		})
	}
}

func TestSilentDaemonIsGivenUp(t *testing.T) {
	w := newWorld(t)
	w.create(testbuild.BuildDaemon(w.ns, "cache", 0))
	look := func() (*v1alpha1.BuildDaemon, time.Duration) {
		d := read(w, testbuild.BuildDaemon(w.ns, "cache", 0))
		result, err := w.daemons.Reconcile(t.Context(), d)
		w.must(err)
		return read(w, d), result.RequeueAfter
	}
	expect := func(d *v1alpha1.BuildDaemon, value metav1.ConditionStatus, reason string) {
		t.Helper()
		if c := envtestkit.Condition(d, "Ready"); c == nil || c.Status != value || c.Reason != reason {
			t.Errorf("Ready is %+v, want %s %s", c, value, reason)
		}
	}
	look() // makes the Lease
	l := read(w, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "cache-0"}})
	d, _ := look()
	expect(d, metav1.ConditionUnknown, v1alpha1.ReasonNotStarted)
	l.Spec = lease("agent", w.clock.Now()).Spec
	w.must(w.c.Update(t.Context(), l))
	w.setDaemon(0, testbuild.Serving)
	d, after := look()
	expect(d, metav1.ConditionTrue, v1alpha1.ReasonDaemonServing)
	if after != 17*time.Second {
		t.Errorf("the next look is after %s", after)
	}
	w.clock.Step(after)
	w.events.Take()
	d, _ = look()
	expect(d, metav1.ConditionUnknown, v1alpha1.ReasonLeaseExpired)
	if diff := cmp.Diff([]string{v1alpha1.ReasonLeaseExpired}, w.events.Reasons()); diff != "" {
		t.Errorf("events differ (-want +got):\n%s", diff)
	}
	version := d.ResourceVersion
	if d, _ = look(); d.ResourceVersion != version || len(w.events.Take()) > 0 {
		t.Error("the same silence is reported twice")
	}
	w.must(w.c.Delete(t.Context(), l))
	look()
	if read(w, l); len(l.OwnerReferences) != 1 || l.Spec.HolderIdentity != nil {
		t.Errorf("the Lease that was deleted comes back as %+v", l)
	}
	w.setDaemon(0, testbuild.Serving) // an agent that dies while its Lease is gone
	if d, after = look(); after != 0 {
		t.Errorf("the Lease is waited for %s, after it had run out before", after)
	}
	expect(d, metav1.ConditionUnknown, v1alpha1.ReasonLeaseExpired)
}
