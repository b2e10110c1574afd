// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/openllb/hlb-operator/internal/attempt"
)

func TestTheAPIServersClockCounts(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	at := func(written ...time.Duration) client.Object {
		l := &coordinationv1.Lease{}
		for _, ago := range written {
			l.ManagedFields = append(l.ManagedFields,
				metav1.ManagedFieldsEntry{Time: &metav1.Time{Time: now.Add(-ago)}})
		}
		return l
	}
	cases := map[string]struct {
		written client.Object
		want    time.Duration // that the machine's clock is ahead
	}{
		"an object without times tells nothing":  {at(), 5 * time.Hour},
		"clocks that agree":                      {at(time.Hour, 2*time.Second), 0},
		"a clock that is ahead":                  {at(300*24*time.Hour, 24*time.Hour), 24 * time.Hour},
		"a clock that is behind":                 {at(-10 * time.Minute), -10 * time.Minute},
		"the time of a request is no difference": {at(30 * time.Second), 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			k := &Keeper{log: logr.Discard(), ahead: 5 * time.Hour}
			k.compareClocks(tc.written, now)
			if got := time.Since(k.Now()).Round(time.Second); got != tc.want {
				t.Errorf("the clock is %s ahead, want %s", got, tc.want)
			}
		})
	}
}

// TestASuspendedMachineIsFencedWhenItResumes has time pass that no timer sees.
func TestASuspendedMachineIsFencedWhenItResumes(t *testing.T) {
	lost := false
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "cache-0"}}
	var away atomic.Bool
	c := fake.NewClientBuilder().WithObjects(l).WithInterceptorFuncs(interceptor.Funcs{
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			if away.Load() {
				<-ctx.Done()
				return ctx.Err()
			}
			return c.Update(ctx, o, opts...)
		},
	}).Build()
	timing := attempt.Timing{RenewEvery: 3 * time.Second, FenceAfter: 10 * time.Second, Duration: 13 * time.Second}
	k := New(c, types.NamespacedName{Namespace: "ns", Name: "cache-0"}, "pod", timing, logr.Discard())
	var suspended atomic.Int64
	k.boot = func() time.Duration { return sinceBoot() + time.Duration(suspended.Load()) }
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() { defer close(done); _ = k.Run(ctx) }() // gives the Lease back in vain
	if err := k.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	session, _ := k.Session()
	away.Store(true)
	suspended.Store(int64(time.Hour))
	resumed := time.Now()
	select {
	case <-session.Done():
		lost = errors.Is(context.Cause(session), ErrFenced)
	case <-time.After(5 * time.Second):
	}
	if !lost {
		t.Errorf("%s after an hour's suspension the session goes on", time.Since(resumed))
	}
	away.Store(false)
	cancel()
	<-done
}
