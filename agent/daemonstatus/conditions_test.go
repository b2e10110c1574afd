// SPDX-License-Identifier: Apache-2.0

package daemonstatus

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/gc"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/gcrules"
)

// said are conditions as "Type Status Reason".
func said(conditions ...metav1.Condition) []string {
	var out []string
	for _, c := range conditions {
		out = append(out, strings.Join([]string{c.Type, string(c.Status), c.Reason}, " "))
	}
	return out
}

func TestConditionOfTheVolume(t *testing.T) {
	cases := map[string]struct {
		vol   gc.Volume
		asked int64
		want  string
	}{
		"there is space": {
			gc.Volume{CapacityBytes: 1000, FreeBytes: 101, CapacityInodes: 1000, FreeInodes: 101}, 0,
			"DiskPressure False VolumeHasSpace",
		},
		"nothing is known": {gc.Volume{}, 0, "DiskPressure False VolumeHasSpace"},
		"space runs out": {
			gc.Volume{CapacityBytes: 1000, FreeBytes: 100, CapacityInodes: 1000, FreeInodes: 101}, 0,
			"DiskPressure True VolumeNearlyFull",
		},
		"there is no space": {
			gc.Volume{CapacityBytes: 1000, FreeBytes: 20, CapacityInodes: 1000, FreeInodes: 101}, 0,
			"DiskPressure True VolumeNearlyFull",
		},
		"inodes run out": {
			gc.Volume{CapacityBytes: 1000, FreeBytes: 500, CapacityInodes: 1000, FreeInodes: 100}, 0,
			"DiskPressure True InodesNearlyFull",
		},
		"there are no inodes": {
			gc.Volume{CapacityBytes: 1000, FreeBytes: 500, CapacityInodes: 1000, FreeInodes: 0}, 0,
			"DiskPressure True InodesNearlyFull",
		},
		"a shared disk has as much as is asked": {
			gc.Volume{CapacityBytes: 100000, FreeBytes: 5000}, 1000, "DiskPressure False VolumeHasSpace",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := said(diskCondition(tc.vol, gc.BudgetOf(tc.vol, tc.asked, v1alpha1.GCSpec{})))
			if diff := cmp.Diff([]string{tc.want}, got); diff != "" {
				t.Errorf("condition (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRulesThatDifferAreTold(t *testing.T) {
	cases := map[string]struct {
		rules []gcrules.Rule
		want  string
	}{
		"the rules configured": {gcrules.Backstop(1000), "GCPolicyInForce True GCPolicyAsConfigured"},
		"stock rules": {
			[]gcrules.Rule{{Filters: []string{"type==exec.cachemount"}, Others: true}},
			"GCPolicyInForce False GCPolicyDiffers",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := policyCondition(&daemon.Observation{Rules: tc.rules, GCPolicy: []string{"all"}}, 1000)
			if diff := cmp.Diff([]string{tc.want}, said(got)); diff != "" {
				t.Errorf("condition (-want +got):\n%s", diff)
			}
		})
	}
}
