// SPDX-License-Identifier: Apache-2.0

package buildcache

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/buildrun"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
	"github.com/openllb/hlb-operator/test/kit/fleettest"
)

// visitor creates a build in another namespace that names the BuildCache.
func (w *world) visitor(namespace string) *v1alpha1.HLBBuild {
	w.T.Helper()
	b := testbuild.HLBBuild(namespace, "visitor", testbuild.WithCache("c"))
	b.Spec.CacheRef.Namespace = w.NS
	w.Create(b)
	return b
}

// binding is the RoleBinding of the fleet's agents in another namespace.
func (w *world) binding(namespace string) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: "hlb-operator:" + w.NS + ":c-agent",
	}}
}

func TestOtherNamespacesAreServed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	team := envtestkit.Get(t).Namespace(t)
	cache := w.change(w.made(1), func(s *v1alpha1.BuildCacheSpec) {
		s.AllowedNamespaces = &v1alpha1.AllowedNamespaces{
			From:     v1alpha1.NamespacesFromSelector,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"builds": "yes"}},
		}
	})
	b := w.visitor(team)
	if cache = w.keep(cache); len(cache.Status.Namespaces) > 0 || w.Exists(w.binding(team)) {
		t.Fatalf("a namespace without the label is served: %v", cache.Status.Namespaces)
	}
	w.label(team, "yes")
	cache = w.keep(cache)
	want := []v1alpha1.ServedNamespace{{Name: team, Admitted: true}}
	if diff := cmp.Diff(want, cache.Status.Namespaces); diff != "" {
		t.Fatalf("status.namespaces (-want +got):\n%s", diff)
	}
	binding := fleettest.Read(w, w.binding(team))
	if s := binding.Subjects; len(s) != 1 || s[0].Namespace != w.NS || s[0].Name != "c-agent" ||
		binding.RoleRef.Name != "hlb-operator-agent-builds" {
		t.Errorf("%v may do %s", s, binding.RoleRef.Name)
	}
	w.Report(b, func(b *v1alpha1.HLBBuild) {
		status.Open(b, buildrun.New(b), w.Clock.Now())
		status.Place(b, v1alpha1.PlacementStatus{Daemon: "c-0", Namespace: w.NS}, w.Clock.Now())
	})
	w.label(team, "no")
	cache = w.keep(cache)
	want[0].Admitted = false
	if diff := cmp.Diff(want, cache.Status.Namespaces); diff != "" || !w.Exists(w.binding(team)) {
		t.Fatalf("a namespace with a bound build lost its agents; status.namespaces (-want +got):\n%s", diff)
	}
	w.Report(b, func(b *v1alpha1.HLBBuild) { status.Succeed(b, w.Clock.Now()) })
	if cache = w.keep(cache); len(cache.Status.Namespaces) > 0 || w.Exists(w.binding(team)) {
		t.Errorf("a namespace that may not be served is: %v", cache.Status.Namespaces)
	}
}

// label sets the label of a namespace that the BuildCache asks for.
func (w *world) label(namespace, value string) {
	w.T.Helper()
	ns := fleettest.Read(w, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	ns.Labels["builds"] = value
	w.Must(w.Client.Update(w.T.Context(), ns))
}

func TestRightsElsewhereGoWithTheBuildCache(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	team := envtestkit.Get(t).Namespace(t)
	cache := w.change(w.made(1), func(s *v1alpha1.BuildCacheSpec) {
		s.AllowedNamespaces = &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll}
	})
	w.visitor(team)
	w.keep(cache)
	w.manager.writes = 0
	if w.keep(cache); w.manager.writes > 0 {
		t.Errorf("a second look wrote %d objects", w.manager.writes)
	}
	if !w.Exists(w.binding(team)) {
		t.Fatal("the agents have no rights in the namespace")
	}
	other := w.binding(team) // as of a BuildCache of the same name elsewhere
	other.Name = "hlb-operator:elsewhere:c-agent"
	other.Labels = map[string]string{v1alpha1.LabelCache: "c"}
	other.RoleRef = rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}
	w.Create(other)
	w.Must(w.Client.Delete(t.Context(), fleettest.Read(w, cache)))
	_, err := w.caches.Reconcile(t.Context(), fleettest.Read(w, cache))
	w.Must(err)
	if w.Exists(w.binding(team)) || w.Exists(cache) || !w.Exists(other) {
		t.Error("want the BuildCache and its rights gone, and another one's kept")
	}
}

// TestANamespaceThatRefusesHoldsUpNoOther has the API server refuse rights in one of two namespaces.
func TestANamespaceThatRefusesHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good, bad := envtestkit.Get(t).Namespace(t), envtestkit.Get(t).Namespace(t)
	cache := w.change(w.made(1), func(s *v1alpha1.BuildCacheSpec) {
		s.AllowedNamespaces = &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll}
	})
	w.visitor(good)
	w.visitor(bad)
	w.caches.Client = interceptor.NewClient(w.Client, interceptor.Funcs{
		Apply: func(
			ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption,
		) error {
			if named, is := o.(interface{ GetNamespace() string }); is && named.GetNamespace() == bad {
				return apierrors.NewForbidden(rbacv1.Resource("rolebindings"), "b", errors.New("exceeded quota"))
			}
			return c.Apply(ctx, o, opts...)
		},
	})
	cache = w.keep(cache)
	want := []v1alpha1.ServedNamespace{{Name: good, Admitted: true}}
	if diff := cmp.Diff(want, cache.Status.Namespaces); diff != "" {
		t.Errorf("status.namespaces (-want +got):\n%s", diff)
	}
	ready := envtestkit.Condition(cache, "Ready")
	if ready == nil || ready.Reason == v1alpha1.ReasonRetryingAfterError {
		t.Errorf("the fleet does not go on: %+v", ready)
	}
}
