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
		Repository: "r.example.com/cache", Import: imports, Export: v1alpha1.RegistryExportSpec{Policy: exports},
	}
}

func TestDecide(t *testing.T) {
	ref := cacheref.Ref("r.example.com/cache", "ns", "k")
	cases := map[string]struct {
		registry *v1alpha1.RegistryCacheSpec
		known    bool
		want     cacheplan.Plan
	}{
		"without a registry a fresh daemon starts from nothing": {nil, false, cacheplan.Plan{Fresh: true}},
		"without a registry a warm daemon is warm":              {nil, true, cacheplan.Plan{}},
		"a fresh daemon imports, and exports what it made of it": {
			registry(v1alpha1.ImportOnFreshDaemon, v1alpha1.ExportOnFreshDaemon), false,
			cacheplan.Plan{Fresh: true, Imports: []string{ref}, Export: ref}},
		"a warm daemon pays for nothing": {
			registry(v1alpha1.ImportOnFreshDaemon, v1alpha1.ExportOnFreshDaemon), true, cacheplan.Plan{}},
		"a warm daemon exports where the policy says always": {
			registry(v1alpha1.ImportOnFreshDaemon, v1alpha1.ExportAlways), true, cacheplan.Plan{Export: ref}},
		"never is never, on a fresh daemon too": {
			registry(v1alpha1.ImportNever, v1alpha1.ExportNever), false, cacheplan.Plan{Fresh: true}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, cacheplan.Decide(tc.registry, tc.known, "k", "ns")); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}
