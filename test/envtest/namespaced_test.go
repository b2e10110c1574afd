// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// applyNamespaced installs the roles of config/namespaced, and those of config/rbac that are no binding of the
// manager's to the whole cluster, for an operator in namespace system that acts on others.
func applyNamespaced(t *testing.T, system string, others ...string) {
	t.Helper()
	apply := func(file, namespace string) {
		applyFile(t, filepath.Join(envtestkit.Get(t).Root, "config", file), func(o *unstructured.Unstructured) {
			o.SetNamespace(namespace)
			if strings.HasPrefix(o.GetKind(), "ClusterRoleB") { // not those of an operator for all namespaces
				o.SetName(o.GetName() + "-" + system)
			}
			if subjects, found, err := unstructured.NestedSlice(o.Object, "subjects"); found && err == nil {
				subjects[0].(map[string]any)["namespace"] = system
				if err := unstructured.SetNestedSlice(o.Object, subjects, "subjects"); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	apply("rbac/role.yaml", "")
	apply("rbac/agent_builds_role.yaml", "")
	apply("rbac/leader_election.yaml", system)
	apply("namespaced/cluster_role.yaml", "")
	apply("namespaced/own_pod.yaml", system)
	for _, ns := range others {
		apply("namespaced/role_binding.yaml", ns)
	}
}

// TestAnOperatorForSomeNamespaces runs the manager with --namespaces and with rights in these namespaces only.
func TestAnOperatorForSomeNamespaces(t *testing.T) {
	cluster := envtestkit.Get(t)
	system, others := cluster.Namespace(t), cluster.Namespace(t)
	builds, users := cluster.Namespace(t), cluster.Namespace(t)
	applyNamespaced(t, system, builds, users)
	user := "system:serviceaccount:" + system + ":hlb-operator"
	refused := startManager(t, user, builds, users)

	served, ignored := testbuild.BuildCache(builds, "cache"), testbuild.BuildCache(others, "cache")
	served.Spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll}
	build := testbuild.HLBBuild(users, "b")
	build.Spec.CacheRef.Namespace = builds
	for _, o := range []client.Object{ignored, served, build} {
		if err := cluster.Client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	cluster.WaitCondition(t, served, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDaemonsNotReady)
	envtestkit.Eventually(t, func() error { // agents get their rights where the builds are
		var bindings rbacv1.RoleBindingList
		if err := cluster.Client.List(t.Context(), &bindings, client.InNamespace(users)); err != nil {
			return err
		}
		for i := range bindings.Items {
			if bindings.Items[i].RoleRef.Name == "hlb-operator-agent-builds" {
				return nil
			}
		}
		return errors.Join(errors.New("no rights for the agents in the users' namespace"), refusedError(refused))
	})
	time.Sleep(time.Second)
	if err := cluster.Client.Get(t.Context(), client.ObjectKeyFromObject(ignored), ignored); err != nil {
		t.Fatal(err)
	}
	if len(ignored.Status.Conditions) > 0 {
		t.Errorf("the BuildCache of another namespace was acted on: %+v", ignored.Status.Conditions)
	}
	if err := refusedError(refused); err != nil {
		t.Error(err)
	}
	for _, kind := range []string{"pods", "configmaps", "persistentvolumeclaims"} {
		for ns, want := range map[string]bool{builds: true, others: false, "": false} {
			if got := may(t, user, authorizationv1.ResourceAttributes{
				Verb: "list", Resource: kind, Namespace: ns}); got != want {
				t.Errorf("the manager may list %s in namespace %q: %v", kind, ns, got)
			}
		}
	}
}

// TestTheClusterRolesAreOne compares what config/namespaced grants in the whole cluster with the manager's own role.
func TestTheClusterRolesAreOne(t *testing.T) {
	cluster := envtestkit.Get(t)
	rules := func(file string) map[string][]string {
		text, err := os.ReadFile(filepath.Join(cluster.Root, "config", file))
		if err != nil {
			t.Fatal(err)
		}
		role := &rbacv1.ClusterRole{}
		first, _, _ := strings.Cut(strings.TrimPrefix(string(text), "---\n"), "\n---\n")
		if err := yaml.Unmarshal([]byte(first), role); err != nil {
			t.Fatal(err)
		}
		out := map[string][]string{}
		for _, r := range role.Rules {
			for _, kind := range r.Resources {
				if slices.Contains([]string{"namespaces", "namespaces/status", "nodes", "storageclasses"}, kind) {
					out[r.APIGroups[0]+"/"+kind] = r.Verbs
				}
			}
		}
		return out
	}
	all, some := rules("rbac/role.yaml"), rules("namespaced/cluster_role.yaml")
	if len(all) != 4 || !maps.EqualFunc(all, some, slices.Equal) {
		t.Errorf("rbac has %v, namespaced has %v", all, some)
	}
}
