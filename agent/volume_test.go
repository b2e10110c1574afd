// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/gc"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/gcrules"
)

func TestIsolationIsReadFromTheUserNamespace(t *testing.T) {
	cases := map[string]struct {
		uidMap string
		want   v1alpha1.Isolation
	}{
		"the node's own namespace": {"         0          0 4294967295\n", v1alpha1.IsolationPrivileged},
		"a pod's user namespace":   {"         0  524288  65536\n", v1alpha1.IsolationUserNamespace},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := isolationOf(tc.uidMap); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

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
		full  bool
	}{
		"there is space":                        {gc.Volume{CapacityBytes: 1000, FreeBytes: 101, CapacityInodes: 1000, FreeInodes: 101}, 0, "DiskPressure False VolumeHasSpace", false},
		"nothing is known":                      {gc.Volume{}, 0, "DiskPressure False VolumeHasSpace", false},
		"space runs out":                        {gc.Volume{CapacityBytes: 1000, FreeBytes: 100, CapacityInodes: 1000, FreeInodes: 101}, 0, "DiskPressure True VolumeNearlyFull", false},
		"there is no space":                     {gc.Volume{CapacityBytes: 1000, FreeBytes: 20, CapacityInodes: 1000, FreeInodes: 101}, 0, "DiskPressure True VolumeNearlyFull", true},
		"inodes run out":                        {gc.Volume{CapacityBytes: 1000, FreeBytes: 500, CapacityInodes: 1000, FreeInodes: 100}, 0, "DiskPressure True InodesNearlyFull", false},
		"there are no inodes":                   {gc.Volume{CapacityBytes: 1000, FreeBytes: 500, CapacityInodes: 1000, FreeInodes: 0}, 0, "DiskPressure True InodesNearlyFull", true},
		"a shared disk has as much as is asked": {gc.Volume{CapacityBytes: 100000, FreeBytes: 5000}, 1000, "DiskPressure False VolumeHasSpace", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := said(diskCondition(tc.vol, gc.BudgetOf(tc.vol, tc.asked, v1alpha1.GCSpec{})))
			if diff := cmp.Diff([]string{tc.want}, got); diff != "" {
				t.Errorf("condition (-want +got):\n%s", diff)
			}
			if got := isFull(tc.vol); got != tc.full {
				t.Errorf("full is %v", got)
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
		"stock rules":          {[]gcrules.Rule{{Filters: []string{"type==exec.cachemount"}, Others: true}}, "GCPolicyInForce False GCPolicyDiffers"},
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

func TestOptionsAreChecked(t *testing.T) {
	valid := DefaultOptions()
	valid.Namespace, valid.Cache, valid.Daemon, valid.PodUID = "ns", "c", "c-0", "uid"
	if err := valid.Validate(); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		change func(*Options)
		want   string
	}{
		"a missing name":                 {func(o *Options) { o.Daemon = "" }, "--daemon is missing"},
		"a relative state directory":     {func(o *Options) { o.StateDir = "state" }, "--state-dir"},
		"an address without a port":      {func(o *Options) { o.HealthAddr = "localhost" }, "--health-addr"},
		"fencing after the Lease's end":  {func(o *Options) { o.Lease.FenceAfter = o.Lease.Duration }, "fence itself"},
		"renewing less than fencing":     {func(o *Options) { o.Lease.RenewEvery = o.Lease.FenceAfter }, "renewed more often"},
		"a Lease of part of a second":    {func(o *Options) { o.Lease.Duration += 1 }, "whole seconds"},
		"a pod that could name an agent": {func(o *Options) { o.PodUID = "a/b" }, "--pod-uid"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			o := valid
			tc.change(&o)
			err := o.Validate()
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want an error about %q", err, tc.want)
			}
			if got := ExitCode(err); got != ExitUsage {
				t.Errorf("exit code %d, want %d", got, ExitUsage)
			}
		})
	}
	if got := ExitCode(&VolumeError{errors.New("read-only")}); got != ExitVolume {
		t.Errorf("exit code %d for an unwritable volume, want %d", got, ExitVolume)
	}
}
