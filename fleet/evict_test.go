// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"testing"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

func TestRoomBeforeAMountIsDropped(t *testing.T) {
	for name, c := range map[string]struct {
		gc   *v1alpha1.GCStatus
		want int64
	}{
		"all that is free while no bounds are known": {nil, 400},
		"what is above the space that is kept free": {
			&v1alpha1.GCStatus{FreeBytes: 250, MountsBudgetBytes: 500, MountsBytes: 100}, 150,
		},
		"what the mounts' bound leaves": {
			&v1alpha1.GCStatus{FreeBytes: 100, MountsBudgetBytes: 500, MountsBytes: 420}, 80,
		},
		"nothing over a bound": {&v1alpha1.GCStatus{FreeBytes: 100, MountsBudgetBytes: 500, MountsBytes: 600}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := roomBytes(&v1alpha1.BuildDaemonStatus{CapacityBytes: 1000, UsedBytes: 600,
				GC: c.gc}); got != c.want {
				t.Errorf("room for %d bytes, want %d", got, c.want)
			}
		})
	}
}
