// SPDX-License-Identifier: Apache-2.0

package admission_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/admission"
)

// cache is a BuildCache of namespace builders that serves namespaces already.
func cache(allowed *v1alpha1.AllowedNamespaces, served ...v1alpha1.ServedNamespace) *v1alpha1.BuildCache {
	c := &v1alpha1.BuildCache{ObjectMeta: metav1.ObjectMeta{Namespace: "builders", Name: "c"}}
	c.Spec.AllowedNamespaces, c.Status.Namespaces = allowed, served
	return c
}

var (
	all     = &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll}
	labeled = &v1alpha1.AllowedNamespaces{
		From:     v1alpha1.NamespacesFromSelector,
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"builds": "yes"}},
	}
)

func TestIsAllowed(t *testing.T) {
	yes := map[string]string{"builds": "yes"}
	broken := &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromSelector, Selector: &metav1.LabelSelector{
		MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}},
	}}
	cases := map[string]struct {
		allowed   *v1alpha1.AllowedNamespaces
		namespace string
		labels    map[string]string
		want      bool
	}{
		"the BuildCache's own namespace is":            {nil, "builders", nil, true},
		"its own is whatever its labels are":           {labeled, "builders", nil, true},
		"no other is by default":                       {nil, "team", yes, false},
		"no other is with Same":                        {&v1alpha1.AllowedNamespaces{From: "Same"}, "team", yes, false},
		"every one is with All":                        {all, "team", nil, true},
		"one with the label is with Selector":          {labeled, "team", yes, true},
		"one without the label is not":                 {labeled, "team", nil, false},
		"none is by a selector that can't be read":     {broken, "team", yes, false},
		"a source of a later version is not known yet": {&v1alpha1.AllowedNamespaces{From: "New"}, "team", yes, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := admission.IsAllowed(cache(tc.allowed), tc.namespace, tc.labels); got != tc.want {
				t.Errorf("allowed is %v, want %v", got, tc.want)
			}
		})
	}
}

func TestServed(t *testing.T) {
	served := func(name string, admitted bool) v1alpha1.ServedNamespace {
		return v1alpha1.ServedNamespace{Name: name, Admitted: admitted}
	}
	use := func(namespace string) admission.Use { return admission.Use{Namespace: namespace} }
	bound := func(namespace string) admission.Use { return admission.Use{Namespace: namespace, Bound: true} }
	cases := map[string]struct {
		cache *v1alpha1.BuildCache
		uses  []admission.Use
		want  []v1alpha1.ServedNamespace
	}{
		"namespaces that are allowed, by name": {
			cache(all), []admission.Use{use("b"), use("a")},
			[]v1alpha1.ServedNamespace{served("a", true), served("b", true)},
		},
		"none that is not": {cache(labeled), []admission.Use{use("a")}, nil},
		"none that is not though a build claims to be bound": {cache(labeled), []admission.Use{bound("a")}, nil},
		"one that was served stays while a build is bound": {
			cache(nil, served("a", true)), []admission.Use{bound("a")}, []v1alpha1.ServedNamespace{served("a", false)},
		},
		"and goes with the last of them": {cache(nil, served("a", false)), []admission.Use{use("a")}, nil},
		"one that is being deleted is not": {
			cache(all, served("a", true)), []admission.Use{{Namespace: "a", Gone: true}}, nil,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, admission.Served(tc.cache, tc.uses)); diff != "" {
				t.Errorf("served (-want +got):\n%s", diff)
			}
		})
	}
}

func TestServedNamespacesAreBounded(t *testing.T) {
	var uses []admission.Use
	for i := range v1alpha1.MaxServedNamespaces {
		uses = append(uses, admission.Use{Namespace: fmt.Sprintf("a-%04d", i)})
	}
	uses = append(uses, admission.Use{Namespace: "z"})
	got := admission.Served(cache(all, v1alpha1.ServedNamespace{Name: "z", Admitted: true}), uses)
	if len(got) != v1alpha1.MaxServedNamespaces || got[len(got)-1].Name != "z" {
		t.Errorf("%d are served, the last is %v; want those that were served already", len(got), got[len(got)-1])
	}
}
