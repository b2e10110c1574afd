// SPDX-License-Identifier: Apache-2.0

package buildcache

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/workload"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
	"github.com/openllb/hlb-operator/test/kit/fleettest"
)

// owned lists what carries a BuildCache's label and is the whole fleet's, as resource versions by kind and name. Each
// of it must be controlled by the BuildCache.
func (w *world) owned(cache *v1alpha1.BuildCache) map[string]string {
	w.T.Helper()
	versions := map[string]string{}
	for kind, list := range map[string]client.ObjectList{
		"ConfigMap": &corev1.ConfigMapList{}, "ServiceAccount": &corev1.ServiceAccountList{},
		"Role": &rbacv1.RoleList{}, "RoleBinding": &rbacv1.RoleBindingList{},
		"NetworkPolicy": &networkingv1.NetworkPolicyList{}, "PodDisruptionBudget": &policyv1.PodDisruptionBudgetList{},
		"BuildDaemon": &v1alpha1.BuildDaemonList{},
	} {
		mine := client.MatchingLabels{v1alpha1.LabelCache: cache.Name}
		w.Must(w.Client.List(w.T.Context(), list, client.InNamespace(w.NS), mine))
		w.Must(apimeta.EachListItem(list, func(item runtime.Object) error {
			o := item.(client.Object)
			versions[kind+" "+o.GetName()] = o.GetResourceVersion()
			if !metav1.IsControlledBy(o, cache) {
				w.T.Errorf("%s %s is not controlled by the BuildCache", kind, o.GetName())
			}
			return nil
		}))
	}
	return versions
}

func TestBuildCacheMakesItsObjects(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := testbuild.BuildCache(w.NS, "c", testbuild.WithReplicas(2))
	w.Create(cache)
	if got := envtestkit.Kstatus(t, cache); got != status.InProgressStatus {
		t.Errorf("an unseen fleet's kstatus is %s", got)
	}
	cache = w.settle(cache)
	want := []string{
		"BuildDaemon c-0", "BuildDaemon c-1", "ConfigMap c-buildkitd", "NetworkPolicy c-daemons",
		"PodDisruptionBudget c-daemons", "Role c-agent", "RoleBinding c-agent", "RoleBinding c-agent-builds",
		"ServiceAccount c-agent",
	}
	settled := w.owned(cache)
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(settled))); diff != "" {
		t.Errorf("objects differ (-want +got):\n%s", diff)
	}
	for _, name := range []string{"c-0", "c-1"} {
		if set := w.Set(name); !metav1.IsControlledBy(set, w.Daemon(name)) || *set.Spec.Replicas != 1 {
			t.Errorf("the StatefulSet %s has %d replicas and owners %+v", name, *set.Spec.Replicas, set.OwnerReferences)
		}
	}
	w.Events.Take()
	w.manager.writes = 0
	w.keep(cache)
	w.work("c-0")
	if diff := cmp.Diff(settled, w.owned(cache)); diff != "" || w.manager.writes > 0 || len(w.Events.Take()) > 0 {
		t.Errorf("a pass on the same world wrote %d times (-before +after):\n%s", w.manager.writes, diff)
	}
}

func TestABusyDaemonCausesNoWrites(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.settle(w.made(3))
	d := w.Daemon("c-1")
	before := d.DeepCopy()
	d.Status.RunningBuilds, d.Status.UsedBytes = 3, 1<<30
	w.Must(w.Client.Status().Update(t.Context(), d))
	if mattersAtOnce(before, d) || !mattersLater(before, d) {
		t.Error("usage wakes the fleet at once, or never")
	}
	w.manager.writes = 0
	w.keep(cache)
	w.work("c-1")
	if w.manager.writes > 0 {
		t.Errorf("%d writes besides that of the fleet's status", w.manager.writes)
	}
	if got := fleettest.Read(w, cache).Status; got.Daemons[1].RunningBuilds != 3 || got.Usage != "3% of 30Gi" {
		t.Errorf("the status shows %+v and usage %q", got.Daemons, got.Usage)
	}
}

// made creates a BuildCache "c" of n daemons.
func (w *world) made(n int32, options ...func(*v1alpha1.BuildCache)) *v1alpha1.BuildCache {
	w.T.Helper()
	cache := testbuild.BuildCache(w.NS, "c", append(options, testbuild.WithReplicas(n))...)
	w.Create(cache)
	return cache
}

func TestBuildCacheBecomesReady(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.keep(w.made(1))
	if c := envtestkit.Condition(cache, "Ready"); c == nil || c.Reason != v1alpha1.ReasonDaemonsNotReady {
		t.Errorf("Ready is %+v", c)
	}
	cache = w.settle(cache)
	if got := envtestkit.Kstatus(t, cache); got != status.CurrentStatus || cache.Status.ReadyReplicas != 1 ||
		cache.Status.ObservedGeneration != cache.Generation || cache.Status.ReadyDisplay != "1/1" {
		t.Errorf("kstatus is %s of %+v", got, cache.Status)
	}
	want := []string{v1alpha1.ReasonDaemonsNotReady, v1alpha1.ReasonAllDaemonsReady}
	if diff := cmp.Diff(want, w.Events.Reasons()); diff != "" {
		t.Errorf("events differ (-want +got):\n%s", diff)
	}
}

// TestAnOldViewIsNoError reconciles a BuildCache as it was before its last status: nothing is written over it, and
// the pass is soon repeated.
func TestAnOldViewIsNoError(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.keep(w.made(1))
	old := fleettest.Read(w, cache).DeepCopy()
	want := w.settle(cache).DeepCopy()
	w.Events.Take()
	got, err := w.caches.Reconcile(t.Context(), old)
	if err != nil || got.RequeueAfter <= 0 {
		t.Errorf("an old view gives %+v and the error %v, want another look and none", got, err)
	}
	if diff := cmp.Diff(want, fleettest.Read(w, cache)); diff != "" || len(w.Events.Take()) > 0 {
		t.Errorf("it was written or told (-before +after):\n%s", diff)
	}
}

func TestDriftIsRepaired(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.settle(w.made(1))
	role := fleettest.Read(w, &rbacv1.Role{ObjectMeta: w.Named("c-agent")})
	wanted := role.DeepCopy().Rules
	secrets := rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"list"}}
	role.Rules = append(role.Rules, secrets)
	const restartedAt = "kubectl.kubernetes.io/restartedAt"
	set := w.Set("c-0")
	set.Spec.Template.Spec.Containers[0].Image = "evil:1"
	set.Spec.Template.Annotations[restartedAt] = "now"
	config := fleettest.Read(w, &corev1.ConfigMap{ObjectMeta: w.Named("c-buildkitd")})
	config.Data[workload.ConfigFile] = ""
	policy := &networkingv1.NetworkPolicy{ObjectMeta: w.Named("c-daemons")}
	w.Must(w.Client.Update(t.Context(), role), w.Client.Update(t.Context(), set), w.Client.Update(t.Context(), config))
	w.Must(w.Client.Delete(t.Context(), policy))
	w.keep(cache)
	w.work("c-0")
	if diff := cmp.Diff(wanted, fleettest.Read(w, role).Rules); diff != "" {
		t.Errorf("the Role's rules differ (-want +got):\n%s", diff)
	}
	template := w.Set("c-0").Spec.Template
	if template.Spec.Containers[0].Image != testImages.Operator || template.Annotations[restartedAt] != "now" {
		t.Errorf("of the pod template, image is %s and restartedAt %q: ours is repaired, others' stays",
			template.Spec.Containers[0].Image, template.Annotations[restartedAt])
	}
	if fleettest.Read(w, config).Data[workload.ConfigFile] == "" {
		t.Error("the configuration stayed empty")
	}
	fleettest.Read(w, policy)
}

func TestNameConflictStalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	foreign := &corev1.ConfigMap{ObjectMeta: w.Named("c-buildkitd"), Data: map[string]string{"mine": "yes"}}
	w.Create(foreign)
	cache := w.made(1)
	result, err := w.caches.Reconcile(t.Context(), fleettest.Read(w, cache))
	if err != nil || result.RequeueAfter <= 0 || result.RequeueAfter > time.Minute {
		t.Errorf("the conflict is looked at again after %s, error %v; want within a minute", result.RequeueAfter, err)
	}
	fleettest.Read(w, cache)
	c := envtestkit.Condition(cache, v1alpha1.ConditionStalled)
	if c == nil || c.Reason != v1alpha1.ReasonNameConflict {
		t.Errorf("Stalled is %+v", c)
	}
	if got := envtestkit.Kstatus(t, cache); got != status.FailedStatus {
		t.Errorf("kstatus is %s", got)
	}
	if fleettest.Read(w, foreign); foreign.Data["mine"] != "yes" || len(foreign.OwnerReferences) > 0 {
		t.Errorf("the foreign object was taken over: %+v", foreign)
	}
	if e := w.Events.Take(); len(e) != 1 || e[0].Type != "Warning" {
		t.Errorf("events are %+v", e)
	}
	w.Must(w.Client.Delete(t.Context(), foreign))
	if cache = w.keep(cache); envtestkit.Condition(cache, v1alpha1.ConditionStalled) != nil {
		t.Error("it stays stalled after the conflict is gone")
	}
}

func TestAWrongConfigStalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.made(1, func(c *v1alpha1.BuildCache) { c.Spec.BuildKit.ExtraConfig = "[worker.oci]\ngc = false" })
	_, err := w.caches.Reconcile(t.Context(), fleettest.Read(w, cache))
	if !errors.Is(err, reconcile.TerminalError(nil)) {
		t.Errorf("the error is retried: %v", err)
	}
	c := envtestkit.Condition(fleettest.Read(w, cache), v1alpha1.ConditionStalled)
	if c == nil || c.Reason != v1alpha1.ReasonInvalidConfig {
		t.Errorf("Stalled is %+v", c)
	}
}
