// SPDX-License-Identifier: Apache-2.0

package cacheplan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/agent/cacheplan"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/cacheref"
)

func registry(imports v1alpha1.ImportPolicy, exports v1alpha1.ExportPolicy) *v1alpha1.RegistryCacheSpec {
	return &v1alpha1.RegistryCacheSpec{
		Repository: "r.example.com/cache", ImportPolicy: imports, ExportPolicy: exports,
	}
}

func TestDecide(t *testing.T) {
	ref := cacheref.Ref("r.example.com/cache", "ns", "k")
	cases := map[string]struct {
		registry *v1alpha1.RegistryCacheSpec
		fresh    bool
		want     cacheplan.Plan
	}{
		"without a registry a fresh daemon starts from nothing": {nil, true, cacheplan.Plan{Fresh: true}},
		"without a registry a warm daemon is warm":              {nil, false, cacheplan.Plan{}},
		"a fresh daemon imports, and exports what it made of it": {
			registry(v1alpha1.ImportOnFreshDaemon, v1alpha1.ExportOnFreshDaemon), true,
			cacheplan.Plan{Fresh: true, Imports: []string{ref}, Export: ref}},
		"a warm daemon pays for nothing": {
			registry(v1alpha1.ImportOnFreshDaemon, v1alpha1.ExportOnFreshDaemon), false, cacheplan.Plan{}},
		"a warm daemon exports where the policy says always": {
			registry(v1alpha1.ImportOnFreshDaemon, v1alpha1.ExportAlways), false, cacheplan.Plan{Export: ref}},
		"never is never, on a fresh daemon too": {
			registry(v1alpha1.ImportNever, v1alpha1.ExportNever), true, cacheplan.Plan{Fresh: true}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, cacheplan.Decide(tc.registry, tc.fresh, "k", "ns")); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

func TestIsFresh(t *testing.T) {
	cases := map[string]struct {
		known  bool
		mounts []string
		held   map[string]int64
		want   bool
	}{
		"a key that was never built": {false, nil, map[string]int64{"a": 1}, true},
		"a key without mounts":       {true, nil, nil, false},
		"a key whose mounts are held": {
			true, []string{"a", "b"}, map[string]int64{"a": 1, "b": 0, "c": 1}, false,
		},
		"a key one of whose mounts was evicted":   {true, []string{"a", "b"}, map[string]int64{"a": 1}, true},
		"a key on a daemon that holds no mount":   {true, []string{"a"}, nil, true},
		"a key whose mounts others built, not it": {false, []string{"a"}, map[string]int64{"a": 1}, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := cacheplan.IsFresh(tc.known, tc.mounts, tc.held); got != tc.want {
				t.Errorf("fresh is %v", got)
			}
		})
	}
}
