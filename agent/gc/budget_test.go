// SPDX-License-Identifier: Apache-2.0

package gc_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/agent/gc"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

func TestBudgetsFollowTheVolume(t *testing.T) {
	spec := v1alpha1.GCSpec{MountsPercent: 50, LayersPercent: 30, FreePercent: 20}
	disk := func(bytes int64) gc.Volume {
		return gc.Volume{CapacityBytes: bytes, FreeBytes: bytes, CapacityInodes: 1000, FreeInodes: 1000}
	}
	cases := map[string]struct {
		volume gc.Volume
		asked  int64
		want   gc.Budget
	}{
		"the file system is what was asked for": {
			disk(1000), 1000,
			gc.Budget{CapacityBytes: 1000, MountsBytes: 500, LayersBytes: 300, FreeBytes: 200, FreeInodes: 200},
		},
		"it is smaller, for its own records": {
			disk(900), 1000,
			gc.Budget{CapacityBytes: 900, MountsBytes: 450, LayersBytes: 270, FreeBytes: 180, FreeInodes: 200},
		},
		"it is a disk that others use too": {
			disk(90000), 1000,
			gc.Budget{CapacityBytes: 1000, MountsBytes: 500, LayersBytes: 300, FreeBytes: 200, FreeInodes: 200},
		},
		"nobody knows what was asked for": {
			disk(2000), 0,
			gc.Budget{CapacityBytes: 2000, MountsBytes: 1000, LayersBytes: 600, FreeBytes: 400, FreeInodes: 200},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, gc.BudgetOf(tc.volume, tc.asked, spec)); diff != "" {
				t.Errorf("budget (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPressure(t *testing.T) {
	cases := map[string]struct {
		volume        gc.Volume
		bytes, inodes bool
	}{
		"more than a tenth is free": {
			gc.Volume{CapacityBytes: 1000, FreeBytes: 101, CapacityInodes: 1000, FreeInodes: 101}, false, false,
		},
		"a tenth of the bytes is free": {
			gc.Volume{CapacityBytes: 1000, FreeBytes: 100, CapacityInodes: 1000, FreeInodes: 101}, true, false,
		},
		"a tenth of the inodes is": {
			gc.Volume{CapacityBytes: 1000, FreeBytes: 101, CapacityInodes: 1000, FreeInodes: 100}, false, true,
		},
		"inodes are not counted": {gc.Volume{CapacityBytes: 1000, FreeBytes: 900}, false, false},
		"nothing is known":       {gc.Volume{}, false, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := gc.BudgetOf(tc.volume, 0, v1alpha1.GCSpec{})
			if got := tc.volume.HasBytePressure(b); got != tc.bytes {
				t.Errorf("pressure of bytes is %v", got)
			}
			if got := tc.volume.HasInodePressure(); got != tc.inodes {
				t.Errorf("pressure of inodes is %v", got)
			}
		})
	}
}
