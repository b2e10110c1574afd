// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/api/v1alpha1"
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

func TestConditionsOfADaemon(t *testing.T) {
	const gib = 1 << 30
	cases := map[string]struct {
		unreached error
		draining  bool
		vol       volume
		want      []string
	}{
		"all is well":                {nil, false, volume{100 * gib, 89 * gib}, []string{"Ready True DaemonServing", "Draining False InService", "DiskPressure False VolumeHasSpace"}},
		"nothing is known":           {nil, false, volume{}, []string{"Ready True DaemonServing", "Draining False InService", "DiskPressure False VolumeHasSpace"}},
		"the daemon does not answer": {errors.New("EOF"), false, volume{100 * gib, gib}, []string{"Ready False DaemonUnreachable", "Draining False InService", "DiskPressure False VolumeHasSpace"}},
		"it drains a full volume":    {nil, true, volume{100 * gib, 90 * gib}, []string{"Ready True DaemonServing", "Draining True ShuttingDown", "DiskPressure True VolumeNearlyFull"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, c := range daemonConditions(tc.unreached, tc.draining, 1, tc.vol) {
				got = append(got, strings.Join([]string{c.Type, string(c.Status), c.Reason}, " "))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("conditions (-want +got):\n%s", diff)
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
