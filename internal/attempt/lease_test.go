// SPDX-License-Identifier: Apache-2.0

package attempt_test

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/internal/attempt"
)

// TestMargins is about the one place where the times of the protocol are.
func TestMargins(t *testing.T) {
	timing := attempt.DefaultTiming()
	if err := timing.Validate(); err != nil {
		t.Error(err)
	}
	if tries := timing.FenceAfter / timing.RenewEvery; tries < 3 {
		t.Errorf("an agent fences itself after %d renewals that failed, want 3 at least", tries)
	}
	if margin := timing.Duration - timing.FenceAfter; margin < attempt.StopMargin {
		t.Errorf("an agent has %s to end its attempts, want %s", margin, attempt.StopMargin)
	}
	// the manager sees a renewal a moment after it was sent, and writes twice
	if left := attempt.NoticeWithin - timing.Duration; left < 2*time.Second {
		t.Errorf("%s are left to notice an agent's death within %s", left, attempt.NoticeWithin)
	}
}

func lease(holder *string) *coordinationv1.Lease {
	return &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{
		HolderIdentity: holder, LeaseDurationSeconds: ptr.To[int32](13),
	}}
}

func TestWhoMayHaveALease(t *testing.T) {
	const long, short = 13 * time.Second, 12 * time.Second
	cases := map[string]struct {
		holder                   *string
		unchanged                time.Duration
		acquire, renew           bool
		giveBack, take, over, of bool
	}{
		"never held":            {nil, 0, true, false, false, false, false, false},
		"made anew for long":    {nil, long, true, false, false, false, true, true},
		"given back":            {ptr.To(attempt.Nobody), 0, true, false, false, false, true, true},
		"taken":                 {ptr.To(attempt.Taken), 0, true, false, false, false, true, true},
		"revoked just now":      {ptr.To(attempt.Revoked), short, false, false, false, false, false, false},
		"revoked for long":      {ptr.To(attempt.Revoked), long, true, false, false, false, true, true},
		"its own":               {ptr.To("pod/a"), short, true, true, true, false, false, true},
		"its own, unrenewed":    {ptr.To("pod/a"), long, true, true, true, true, false, true},
		"another session's":     {ptr.To("pod/z"), short, true, false, false, false, true, false},
		"another pod's":         {ptr.To("other/b"), short, false, false, false, false, true, true},
		"another pod's, silent": {ptr.To("other/b"), long, true, false, false, true, true, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			of := func(do func(*coordinationv1.Lease) bool) bool { return do(lease(tc.holder)) }
			got := [6]bool{
				attempt.MayAcquire(lease(tc.holder), "pod/a", tc.unchanged, long),
				of(func(l *coordinationv1.Lease) bool { return attempt.Renew(l, "pod/a", long, start) }),
				of(func(l *coordinationv1.Lease) bool { return attempt.GiveBack(l, "pod/a") }),
				of(func(l *coordinationv1.Lease) bool {
					return attempt.Take(l, tc.unchanged, long) && attempt.Holder(l) == attempt.Taken
				}),
				attempt.IsOver(lease(tc.holder), me, tc.unchanged, long),
				attempt.IsOver(lease(tc.holder), earlier, tc.unchanged, long),
			}
			if want := [6]bool{tc.acquire, tc.renew, tc.giveBack, tc.take, tc.over, tc.of}; got != want {
				t.Errorf("acquire, renew, give back, take, over for pod/a and for pod/z: %v, want %v", got, want)
			}
		})
	}
}
