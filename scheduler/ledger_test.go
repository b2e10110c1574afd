// SPDX-License-Identifier: Apache-2.0

package scheduler

import "testing"

func TestTrimForgetsOnlyWhatNobodyHoldsOrWants(t *testing.T) {
	l := NewLedger()
	l.Restore(1, Copy{Daemon: 7})
	l.Restore(2, Copy{Daemon: 7})
	l.Drop(2, 7)
	l.WantReplicas(3, 2)
	l.Restore(4, Copy{Daemon: 7})
	l.WantReplicas(4, 2)
	l.WantReplicas(4, 1)
	l.Drop(4, 7)
	l.Trim()
	for key, want := range map[KeyID]bool{1: true, 2: false, 3: true, 4: false} {
		if kept := l.keys.get(key) != nil; kept != want {
			t.Errorf("key %d is kept: %v, want %v", key, kept, want)
		}
	}
}
