// SPDX-License-Identifier: Apache-2.0

package buildcache

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/workload"
)

// fleetName names what is about the pods of all daemons.
func fleetName(cache *v1alpha1.BuildCache) string { return cache.Name + "-daemons" }

// objectMeta is that of an object of the whole fleet.
func objectMeta(cache *v1alpha1.BuildCache, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:      name,
		Namespace: cache.Namespace,
		Labels:    map[string]string{v1alpha1.LabelCache: cache.Name},
	}
}

func desiredServiceAccount(cache *v1alpha1.BuildCache) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{
		TypeMeta:                     metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta:                   objectMeta(cache, workload.AgentName(cache.Name)),
		AutomountServiceAccountToken: ptr.To(false),
	}
}

// desiredRole is what agents may do about their fleet: see its objects, and keep those of their own daemons.
func desiredRole(cache *v1alpha1.BuildCache, daemons []string) *rbacv1.Role {
	const group = "build.openllb.dev"
	return &rbacv1.Role{
		TypeMeta:   metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "Role"},
		ObjectMeta: objectMeta(cache, workload.AgentName(cache.Name)),
		Rules: []rbacv1.PolicyRule{
			{
				APIGroups:     []string{group},
				Resources:     []string{"buildcaches"},
				ResourceNames: []string{cache.Name},
				Verbs:         []string{"get", "list", "watch"},
			},
			{
				// by no name: lists can't be narrowed by several
				APIGroups: []string{group},
				Resources: []string{"builddaemons"},
				Verbs:     []string{"get", "list", "watch"},
			},
			{
				APIGroups:     []string{group},
				Resources:     []string{"builddaemons/status"},
				ResourceNames: daemons,
				Verbs:         []string{"patch"},
			},
			{
				APIGroups:     []string{"coordination.k8s.io"},
				Resources:     []string{"leases"},
				ResourceNames: daemons,
				Verbs:         []string{"get", "update", "patch"},
			},
			{APIGroups: []string{"events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}},
		},
	}
}

// desiredRoleBindings give the agents their Role and the installation's ClusterRole about builds. What builds name
// can't be narrowed by name, since they name it freely. It is not in a Role because the manager would then have to hold
// the right to read every Secret of the cluster itself; so it only needs the right to bind that one ClusterRole.
func desiredRoleBindings(cache *v1alpha1.BuildCache, buildsRole string) []*rbacv1.RoleBinding {
	return []*rbacv1.RoleBinding{
		roleBinding(
			cache,
			workload.AgentName(cache.Name),
			rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: workload.AgentName(cache.Name)},
		),
		roleBinding(cache, workload.AgentName(cache.Name)+"-builds", aboutBuilds(buildsRole)),
	}
}

// elsewhereBinding gives the agents the installation's ClusterRole about builds in another namespace. Names of
// namespaces have no colon, so the RoleBindings of two BuildCaches never have one name.
func elsewhereBinding(cache *v1alpha1.BuildCache, namespace, buildsRole string) *rbacv1.RoleBinding {
	name := "hlb-operator:" + cache.Namespace + ":" + workload.AgentName(cache.Name)
	out := roleBinding(cache, name, aboutBuilds(buildsRole))
	out.Namespace = namespace
	return out
}

func aboutBuilds(role string) rbacv1.RoleRef {
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}
}

func roleBinding(cache *v1alpha1.BuildCache, name string, role rbacv1.RoleRef) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "RoleBinding"},
		ObjectMeta: objectMeta(cache, name),
		RoleRef:    role,
		Subjects: []rbacv1.Subject{{
			Kind: "ServiceAccount", Name: workload.AgentName(cache.Name), Namespace: cache.Namespace,
		}},
	}
}

func desiredConfigMap(cache *v1alpha1.BuildCache, config string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: objectMeta(cache, workload.ConfigName(cache.Name)),
		Data:       map[string]string{workload.ConfigFile: config},
	}
}

// desiredNetworkPolicy denies all ingress to the daemons: nothing but the kubelet's probes has business there.
func desiredNetworkPolicy(cache *v1alpha1.BuildCache) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
		ObjectMeta: objectMeta(cache, fleetName(cache)),
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: workload.FleetLabels(cache.Name)},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		},
	}
}

// desiredPodDisruptionBudget lets node drains take one daemon at a time; each takes its caches' warmth with it for a
// while. Daemons that are not up may be evicted at any time: they hold up nobody's builds.
func desiredPodDisruptionBudget(cache *v1alpha1.BuildCache) *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		TypeMeta:   metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"},
		ObjectMeta: objectMeta(cache, fleetName(cache)),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: ptr.To(intstr.FromInt32(1)),
			Selector:       &metav1.LabelSelector{MatchLabels: workload.FleetLabels(cache.Name)},

			UnhealthyPodEvictionPolicy: ptr.To(policyv1.AlwaysAllow),
		},
	}
}
