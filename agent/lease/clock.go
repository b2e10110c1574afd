// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// clockTolerance is how far this machine's clock may be from the API server's without being corrected. That one shows
// in whole seconds.
const clockTolerance = time.Minute

// Now is the time by the API server's clock, which the machine's is compared with at each renewal: what others see, and
// what is deleted by age, must not depend on one node's clock. Before the first renewal, and where the clocks agree by
// a minute, it is the machine's time. It may jump when the clocks are compared: it is of no use to measure with.
func (k *Keeper) Now() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return time.Now().Add(-k.ahead)
}

// compareClocks notes how far the machine's clock is ahead, from an object that the API server has just written.
func (k *Keeper) compareClocks(written client.Object, now time.Time) {
	var at time.Time
	for _, entry := range written.GetManagedFields() {
		if entry.Time != nil && entry.Time.After(at) {
			at = entry.Time.Time
		}
	}
	if at.IsZero() {
		return
	}
	ahead := now.Round(0).Sub(at)
	if ahead.Abs() <= clockTolerance {
		ahead = 0
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if (ahead == 0) != (k.ahead == 0) {
		k.log.Info("Comparing the machine's clock with the API server's", "ahead", ahead.String())
	}
	k.ahead = ahead
}

// sinceBoot is the time since the machine was booted, that in which it was suspended included. Timers and time.Since
// leave that out.
func sinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0 // the kernel has had it since 2.6.39
	}
	return time.Duration(ts.Nano())
}

// watchSuspension ends a session whose renewal is overdue because the machine was suspended: its builds were given
// away meanwhile. It returns when ctx is done.
func (k *Keeper) watchSuspension(ctx context.Context) {
	ticker := time.NewTicker(min(time.Second, k.timing.FenceAfter/4))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		k.mu.Lock()
		late := k.session != nil && k.boot()-k.renewedBoot >= k.timing.FenceAfter
		k.mu.Unlock()
		if late {
			k.drop()
		}
	}
}
