// SPDX-License-Identifier: Apache-2.0

package lease_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/openllb/hlb-operator/agent/lease"
	"github.com/openllb/hlb-operator/internal/attempt"
)

const patience = time.Minute

var (
	name   = types.NamespacedName{Namespace: "ns", Name: "cache-0"}
	timing = attempt.Timing{
		RenewEvery: 50 * time.Millisecond, FenceAfter: 400 * time.Millisecond, Duration: time.Second,
	}
)

// server holds one Lease and can be cut off.
type server struct {
	client.WithWatch
	down atomic.Bool
}

func newServer(holder string) *server {
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}}
	if holder != "" {
		now := metav1.NowMicro()
		l.Spec.HolderIdentity, l.Spec.RenewTime = &holder, &now
	}
	s := &server{}
	s.WithWatch = fake.NewClientBuilder().WithObjects(l).WithInterceptorFuncs(interceptor.Funcs{
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			if s.down.Load() {
				return errors.New("no route to host")
			}
			return c.Update(ctx, o, opts...)
		},
	}).Build()
	return s
}

func (s *server) holder(t *testing.T) string {
	t.Helper()
	l := &coordinationv1.Lease{}
	if err := s.Get(context.Background(), name, l); err != nil {
		t.Fatal(err)
	}
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

// run keeps the Lease for a pod until the test ends or stop is called.
func run(t *testing.T, s *server, pod string) (k *lease.Keeper, stop func()) {
	t.Helper()
	k = lease.New(s, name, pod, timing, testr.New(t))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = k.Run(ctx) // its error is the release's, which the tests look at in the Lease
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return k, stop
}

func wait(t *testing.T, k *lease.Keeper) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for { // between the wait and the look the session may end, on a machine that is slow enough
		if err := k.Wait(ctx); err != nil {
			t.Fatalf("the Lease is not held: %v", err)
		}
		if ctx, session := k.Session(); session.IsHeld() {
			return ctx
		}
	}
}

func TestALeaseIsHeldAndReleased(t *testing.T) {
	s := newServer("")
	k, stop := run(t, s, "pod")
	session := wait(t, k)
	_, held := k.Session()
	if got := s.holder(t); got != held.ID || !strings.HasPrefix(got, "pod/") || held.Daemon != name {
		t.Errorf("the holder is %q, and the session %+v", got, held)
	}
	stop()
	if got := s.holder(t); got != "" {
		t.Errorf("after the end the holder is %q", got)
	}
	if session.Err() == nil {
		t.Error("the session outlives the Lease")
	}
}

// TestAChangedLeaseIsReleasedToo has a Lease change behind the keeper's back, as it does when the answer to a renewal
// is lost.
func TestAChangedLeaseIsReleasedToo(t *testing.T) {
	for _, tc := range []struct{ holder, want string }{{"pod/a", ""}, {"other/b", "other/b"}} {
		s := newServer("")
		k := lease.New(s, name, "pod",
			attempt.Timing{RenewEvery: patience, FenceAfter: 2 * patience, Duration: 3 * patience}, testr.New(t))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx) }()
		if err := k.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		l := &coordinationv1.Lease{}
		if err := s.Get(t.Context(), name, l); err != nil {
			t.Fatal(err)
		}
		l.Spec.HolderIdentity = &tc.holder
		l.Labels = map[string]string{"changed": "yes"}
		if err := s.Update(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := s.holder(t); got != tc.want {
			t.Errorf("after %s wrote the Lease and the keeper ended, %q holds it, want %q", tc.holder, got, tc.want)
		}
	}
}

func TestAnAgentThatIsCutOffFencesItselfAndComesBack(t *testing.T) {
	s := newServer("")
	k, _ := run(t, s, "pod")
	session := wait(t, k)
	_, before := k.Session()
	s.down.Store(true)
	renewed := time.Now() // or a moment before
	select {
	case <-session.Done():
	case <-time.After(patience):
		t.Fatal("the session goes on without renewals")
	}
	if !errors.Is(context.Cause(session), lease.ErrFenced) {
		t.Errorf("the cause is %v", context.Cause(session))
	}
	_, after := k.Session()
	if after.IsHeld() {
		t.Error("the Lease is still held")
	}
	s.down.Store(false)
	wait(t, k)
	if _, again := k.Session(); again.ID == before.ID {
		t.Error("the old session came back")
	}
	if took := time.Since(renewed); took < timing.Duration-timing.RenewEvery {
		t.Errorf("another session began %s after the last renewal of the one before, want %s", took, timing.Duration)
	}
}

// TestATakenLeaseEndsTheSession has the manager take a Lease that the agent believes to hold, as it does after the
// agent's machine stood still.
func TestATakenLeaseEndsTheSession(t *testing.T) {
	for _, holder := range []string{attempt.Taken, attempt.Revoked, "otherpod/x"} {
		t.Run(holder, func(t *testing.T) {
			s := newServer("")
			k, _ := run(t, s, "pod")
			session := wait(t, k)
			_, before := k.Session()
			l := &coordinationv1.Lease{}
			for { // the agent writes it too
				if err := s.Get(t.Context(), name, l); err != nil {
					t.Fatal(err)
				}
				l.Spec.HolderIdentity = &holder
				if err := s.Update(t.Context(), l); err == nil {
					break
				}
			}
			renewed := l.Spec.RenewTime.Time
			select {
			case <-session.Done():
			case <-time.After(patience):
				t.Fatal("the session goes on")
			}
			wait(t, k)
			if _, again := k.Session(); again.ID == before.ID {
				t.Error("the old session came back")
			}
			if took := time.Since(renewed); took < timing.Duration {
				t.Errorf("another session began %s after the last renewal, want %s at least", took, timing.Duration)
			}
		})
	}
}

func TestAnotherProcessOfThePodTakesOverAtOnce(t *testing.T) {
	s := newServer("pod/dead")
	began := time.Now()
	k, _ := run(t, s, "pod")
	wait(t, k)
	if took := time.Since(began); took > patience/2 {
		t.Errorf("it took %s", took)
	}
}

func TestAnotherPodsLeaseIsLeftToRunOut(t *testing.T) {
	s := newServer("otherpod/a")
	began := time.Now()
	k, _ := run(t, s, "pod")
	wait(t, k)
	if took := time.Since(began); took < timing.Duration {
		t.Errorf("it was taken over after %s, though it lasts %s", took, timing.Duration)
	}
}
