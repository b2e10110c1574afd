// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"testing"

	"github.com/openllb/hlb-operator/agent/gc"
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

func TestAVolumeIsFull(t *testing.T) {
	cases := map[string]struct {
		vol  gc.Volume
		want bool
	}{
		"there is space": {
			gc.Volume{CapacityBytes: 1000, FreeBytes: 101, CapacityInodes: 1000, FreeInodes: 101}, false,
		},
		"nothing is known": {gc.Volume{}, false},
		"space runs out": {
			gc.Volume{CapacityBytes: 1000, FreeBytes: 100, CapacityInodes: 1000, FreeInodes: 101}, false,
		},
		"there is no space": {
			gc.Volume{CapacityBytes: 1000, FreeBytes: 20, CapacityInodes: 1000, FreeInodes: 101}, true,
		},
		"inodes run out": {
			gc.Volume{CapacityBytes: 1000, FreeBytes: 500, CapacityInodes: 1000, FreeInodes: 100}, false,
		},
		"there are no inodes": {gc.Volume{CapacityBytes: 1000, FreeBytes: 500, CapacityInodes: 1000}, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := IsFull(tc.vol); got != tc.want {
				t.Errorf("full is %v", got)
			}
		})
	}
}
