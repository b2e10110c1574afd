// SPDX-License-Identifier: Apache-2.0

package builddaemon

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/test/kit/envtestkit"
)

func lease(holder string, renewed time.Time) *coordinationv1.Lease {
	at := metav1.NewMicroTime(renewed)
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Namespace: "ns", Name: "c-0",
	}, Spec: coordinationv1.LeaseSpec{
		HolderIdentity: &holder, RenewTime: &at, LeaseDurationSeconds: ptr.To[int32](15),
	}}
}

// TestLeaseIsJudgedByOwnClock walks one Lease through its life; the agent's clock is an hour off.
func TestLeaseIsJudgedByOwnClock(t *testing.T) {
	w := newLeaseWatch()
	now, theirs := envtestkit.Epoch, envtestkit.Epoch.Add(-time.Hour)
	lost := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "c-0"}}
	steps := []struct {
		name     string
		reported bool
		after    time.Duration
		lease    *coordinationv1.Lease
		want     liveness
		wantLeft time.Duration
	}{
		{"without a holder", false, 0, lost, neverSeen, 0},
		{"first seen", true, 0, lease("a", theirs), alive, 17 * time.Second},
		{"unchanged for a while", true, 16 * time.Second, lease("a", theirs), alive, time.Second},
		{"renewed in time", true, 0, lease("a", theirs.Add(time.Second)), alive, 17 * time.Second},
		{
			"unchanged for its time and the grace", true, 17 * time.Second, lease("a", theirs.Add(time.Second)),
			expired, 0,
		},
		{"still unchanged", true, time.Second, lease("a", theirs.Add(time.Second)), expired, 0},
		{"renewed late", true, 0, lease("a", theirs.Add(2*time.Second)), alive, 17 * time.Second},
		{
			"taken by another with the same time", true, 16 * time.Second, lease("b", theirs.Add(2*time.Second)),
			alive, 17 * time.Second,
		},
		{"released", true, 0, lease("", theirs.Add(2*time.Second)), released, 0},
		{"taken again", true, 0, lease("b", theirs.Add(2*time.Second)), alive, 17 * time.Second},
		{"deleted and made anew", true, 16 * time.Second, lost, alive, time.Second},
		{"not taken again", true, time.Second, lost, expired, 0},
		{"taken again after all", true, 0, lease("c", theirs), alive, 17 * time.Second},
		{"of a new daemon of that name", false, 0, lost, neverSeen, 0},
		{"deleted before it was seen", true, 0, lost, alive, 17 * time.Second},
		{"still not taken", true, 17 * time.Second, lost, expired, 0},
	}
	for _, s := range steps {
		now = now.Add(s.after)
		if got, left := w.look(s.lease, s.reported, now); got != s.want || left != s.wantLeft {
			t.Errorf("%s: %d with %s left, want %d with %s", s.name, got, left, s.want, s.wantLeft)
		}
	}
}

func TestRestartedManagerWaitsAWholeLease(t *testing.T) {
	old := lease("a", envtestkit.Epoch.Add(-24*time.Hour))
	if got, left := newLeaseWatch().look(old, true, envtestkit.Epoch); got != alive || left != 17*time.Second {
		t.Errorf("a Lease seen for the first time is %d with %s left: the agent may be well", got, left)
	}
}
