// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"strings"
	"testing"
)

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	valid := DefaultOptions()
	valid.Namespace, valid.Cache, valid.Daemon, valid.PodUID = "ns", "c", "c-0", "uid"
	if err := valid.Validate(); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		change func(*Options)
		want   string
	}{
		"a missing name":                {func(o *Options) { o.Daemon = "" }, "--daemon is missing"},
		"a relative state directory":    {func(o *Options) { o.StateDir = "state" }, "--state-dir"},
		"an address without a port":     {func(o *Options) { o.HealthAddr = "localhost" }, "--health-addr"},
		"fencing after the Lease's end": {func(o *Options) { o.Lease.FenceAfter = o.Lease.Duration }, "fence itself"},
		"renewing less than fencing": {
			func(o *Options) { o.Lease.RenewEvery = o.Lease.FenceAfter }, "renewed more often",
		},
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
