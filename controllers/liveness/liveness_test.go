// SPDX-License-Identifier: Apache-2.0

package liveness_test

import (
	"os"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/controllers/liveness"
	"github.com/openllb/hlb-operator/internal/attempt"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/fleettest"
)

func TestMain(m *testing.M) { os.Exit(envtestkit.Main(m)) }

// world is a namespace with one Lease of 13 seconds and a manager that watches it.
type world struct {
	*fleettest.World
	watch *liveness.Watch
	lease *coordinationv1.Lease
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{World: fleettest.New(t)}
	w.watch = &liveness.Watch{Client: w.Client, Live: w.Client, Clock: w.Clock}
	w.lease = &coordinationv1.Lease{ObjectMeta: w.Named("cache-0")}
	w.Create(w.lease)
	return w
}

// write has an agent write its Lease, with a clock that is an hour off.
func (w *world) write(holder *string) {
	w.T.Helper()
	l := fleettest.Read(w, w.lease)
	at := metav1.NewMicroTime(w.Clock.Now().Add(-time.Hour))
	l.Spec.HolderIdentity, l.Spec.RenewTime, l.Spec.LeaseDurationSeconds = holder, &at, ptr.To[int32](13)
	w.Must(w.Client.Update(w.T.Context(), l))
}

// look has the manager look at the Lease as its cache has it.
func (w *world) look(cached *coordinationv1.Lease, reported bool) (liveness.State, time.Duration) {
	w.T.Helper()
	state, left, err := w.watch.Look(w.T.Context(), cached.DeepCopy(), reported)
	w.Must(err)
	return state, left
}

func (w *world) holder() string { return attempt.Holder(fleettest.Read(w, w.lease.DeepCopy())) }

func (w *world) expect(what string, state liveness.State, left time.Duration) func(liveness.State, time.Duration) {
	return func(gotState liveness.State, gotLeft time.Duration) {
		w.T.Helper()
		if gotState != state || gotLeft != left {
			w.T.Errorf("%s: %d with %s left, want %d with %s", what, gotState, gotLeft, state, left)
		}
	}
}

// TestLeaseIsJudgedByOwnClock walks one Lease through its life.
func TestLeaseIsJudgedByOwnClock(t *testing.T) {
	const s = time.Second
	w := newWorld(t)
	now := func(reported bool) (liveness.State, time.Duration) {
		return w.look(fleettest.Read(w, w.lease), reported)
	}
	w.expect("without a holder", liveness.NeverSeen, 0)(now(false))
	w.write(ptr.To("pod/a"))
	w.expect("first seen", liveness.Alive, 13*s)(now(true))
	w.Clock.Step(12 * s)
	w.expect("unchanged for a while", liveness.Alive, s)(now(true))
	w.write(ptr.To("pod/a"))
	w.expect("renewed in time", liveness.Alive, 13*s)(now(true))
	w.Clock.Step(13 * s)
	w.expect("unchanged for its time", liveness.Expired, 0)(now(true))
	if got := w.holder(); got != attempt.Taken {
		t.Errorf("the Lease is held by %q", got)
	}
	w.expect("still taken", liveness.Expired, 0)(now(true))
	w.write(ptr.To("pod/b"))
	w.expect("acquired again", liveness.Alive, 13*s)(now(true))
	w.write(ptr.To(attempt.Nobody))
	w.expect("given back", liveness.Released, 0)(now(true))
	w.Must(w.Client.Delete(t.Context(), w.lease))
	w.lease = &coordinationv1.Lease{ObjectMeta: w.Named("cache-0")}
	w.Create(w.lease)
	w.expect("made anew", liveness.Alive, 13*s)(now(true))
	w.Clock.Step(13 * s)
	w.expect("not acquired since", liveness.Expired, 0)(now(true))
}

func TestRestartedManagerWaitsAWholeLease(t *testing.T) {
	w := newWorld(t)
	w.write(ptr.To("pod/a"))
	w.Clock.Step(24 * time.Hour)
	w.expect("seen for the first time", liveness.Alive, 13*time.Second)(w.look(fleettest.Read(w, w.lease), true))
}

// TestALateCacheTakesNoLease has the manager stand still, or its watch lag, while an agent renews.
func TestALateCacheTakesNoLease(t *testing.T) {
	w := newWorld(t)
	w.write(ptr.To("pod/a"))
	cached := fleettest.Read(w, w.lease).DeepCopy()
	w.look(cached, true)
	for range 14 {
		w.Clock.Step(time.Second)
		w.write(ptr.To("pod/a"))
	}
	w.expect("renewed behind the cache's back", liveness.Alive, 13*time.Second)(w.look(cached, true))
	if got := w.holder(); got != "pod/a" {
		t.Errorf("the Lease was taken: it is held by %q", got)
	}
}

// TestATakenLeaseIsNotRenewed has an agent renew what it read before the manager took it.
func TestATakenLeaseIsNotRenewed(t *testing.T) {
	w := newWorld(t)
	w.write(ptr.To("pod/a"))
	agents := fleettest.Read(w, w.lease).DeepCopy()
	w.look(agents, true)
	w.Clock.Step(13 * time.Second)
	w.expect("expired", liveness.Expired, 0)(w.look(agents, true))
	if !attempt.Renew(agents, "pod/a", 13*time.Second, w.Clock.Now()) {
		t.Fatal("the agent does not believe in its Lease")
	}
	if err := w.Client.Update(t.Context(), agents); !apierrors.IsConflict(err) {
		t.Errorf("the renewal ended with %v, want a conflict", err)
	}
}

func TestSessionsAreOverForGood(t *testing.T) {
	const s = time.Second
	cases := map[string]struct {
		holder   *string
		later    time.Duration // after the first look
		want     bool
		wantLeft time.Duration
	}{
		"its own":                      {ptr.To("pod/a"), 0, false, 13 * s},
		"its own, not renewed":         {ptr.To("pod/a"), 13 * s, true, 0},
		"another session's":            {ptr.To("pod/b"), 0, true, 0},
		"given back":                   {ptr.To(attempt.Nobody), 0, true, 0},
		"taken":                        {ptr.To(attempt.Taken), 0, true, 0},
		"revoked":                      {ptr.To(attempt.Revoked), 12 * s, false, s},
		"revoked for long":             {ptr.To(attempt.Revoked), 13 * s, true, 0},
		"made anew":                    {nil, 12 * s, false, s},
		"made anew and not held since": {nil, 13 * s, true, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write(tc.holder)
			session := attempt.Session{Daemon: client.ObjectKeyFromObject(w.lease), ID: "pod/a"}
			if _, _, err := w.watch.IsOver(t.Context(), session); err != nil {
				t.Fatal(err)
			}
			w.Clock.Step(tc.later)
			over, left, err := w.watch.IsOver(t.Context(), session)
			w.Must(err)
			if over != tc.want || !over && left != tc.wantLeft {
				t.Errorf("over is %v with %s left, want %v with %s", over, left, tc.want, tc.wantLeft)
			}
		})
	}
}

func TestRevokedSessions(t *testing.T) {
	w := newWorld(t)
	w.write(ptr.To("pod/a"))
	session := attempt.Session{Daemon: client.ObjectKeyFromObject(w.lease), ID: "pod/b"}
	if revoked, err := w.watch.Revoke(t.Context(), session); revoked || err != nil {
		t.Errorf("another session's Lease was revoked: %v, %v", revoked, err)
	}
	session.ID = "pod/a"
	if revoked, err := w.watch.Revoke(t.Context(), session); !revoked || err != nil || w.holder() != attempt.Revoked {
		t.Errorf("revoked is %v, error %v, and the holder %q", revoked, err, w.holder())
	}
}
