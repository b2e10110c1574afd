// SPDX-License-Identifier: Apache-2.0

package snapshot_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/mountcopy"
	"github.com/openllb/hlb-operator/agent/snapshot"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// prefetch brings the mount in and wants it to come to that; "" is nothing.
func (s *site) prefetch(want v1alpha1.PrimeOutcome) {
	s.w.t.Helper()
	status, err := s.Prefetch(s.w.t.Context(), s.w.cache, "epoch", used[0])
	if err != nil {
		s.w.t.Fatal(err)
	}
	got := v1alpha1.PrimeOutcome("")
	if status != nil {
		got = status.Outcome
	}
	if got != want {
		s.w.t.Fatalf("bringing the mount in came to %q (%+v), want %q", got, status, want)
	}
}

func TestAMountIsFilledAheadOfBuilds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.site("a"), w.site("b")
	b.prefetch(v1alpha1.PrimeNoSnapshot)
	a.use("echo 1 > /c/f")
	a.take(v1alpha1.SnapshotPushed)
	b.prefetch(v1alpha1.PrimePrimed)
	if b.State.IsUnfilled(mount) {
		t.Error("the mount passes for one that is still to be filled")
	}
	b.prefetch(v1alpha1.PrimeHeld)
	if primed := b.use("test $(cat /c/f) = 1"); len(primed) > 0 {
		t.Errorf("the first build primed a mount that is there: %+v", primed)
	}
	if _, err := b.State.Begin("epoch", snapshot.Sharing(used), w.clock); err != nil {
		t.Fatal(err)
	}
	b.prefetch("") // while a build uses it
	w.cache.Spec.Mounts[0].Prime = v1alpha1.PrimeNever
	b.prefetch(v1alpha1.PrimeFailed)
}

func TestABuildWaitsForAMountThatIsBroughtIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.site("a"), w.site("b")
	a.use("echo 1 > /c/f")
	a.take(v1alpha1.SnapshotPushed)
	slow := &counting{b.Copier, make(chan struct{}, 1), make(chan struct{})}
	b.Copier = slow
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.prefetch(v1alpha1.PrimePrimed)
	}()
	<-slow.begun
	slow.begun <- struct{}{} // the next copy would be an error
	b.prefetch("")           // asked for once more
	primed := make(chan []v1alpha1.PrimeStatus)
	go func() {
		halfMade := map[string]int64{mount: 1} // a look at the daemon finds what the copy has made so far
		status, err := b.Begin(t.Context(), w.cache, "epoch", used, halfMade, false)
		if err != nil {
			t.Error(err)
		}
		primed <- status
	}()
	select {
	case status := <-primed:
		t.Fatalf("the build did not wait for the copy: %+v", status)
	case <-time.After(200 * time.Millisecond):
	}
	close(slow.goOn)
	if status := <-primed; len(status) > 0 {
		t.Errorf("the build primed %+v itself", status)
	}
	<-ended
	b.run("test $(cat /c/f) = 1")
}

// cutOff is a daemon whose copies end when they have made an empty mount.
type cutOff struct {
	snapshot.Copier
	site *site
}

func (c *cutOff) Prime(context.Context, *daemon.MountCopy) (mountcopy.Result, error) {
	c.site.run("true")
	return mountcopy.Result{}, errors.New("the agent was killed")
}

func TestACopyThatIsCutOffCostsNoBuildItsMount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.site("a"), w.site("b")
	a.use("echo 1 > /c/f")
	a.take(v1alpha1.SnapshotPushed)
	whole := b.Copier
	b.Copier = &cutOff{whole, b}
	path := filepath.Join(t.TempDir(), "state.json")
	b.State = snapshot.OpenState(path, "epoch")
	b.prefetch(v1alpha1.PrimeFailed)
	b.State, b.Copier = snapshot.OpenState(path, "epoch"), whole // the next agent
	if !b.State.IsUnfilled(mount) {
		t.Fatal("the next agent takes the empty mount for one that was filled")
	}
	outcome(t, b.use("test $(cat /c/f) = 1"), v1alpha1.PrimePrimed) // although the daemon holds it
	if b.State.IsUnfilled(mount) {
		t.Error("a mount that a build has had passes for one that is still to be filled")
	}
}

// TestAnAgentTakesUpACopyThatWasKilled has the agent die while it primes a mount for a build: the next build finds the
// mount in the daemon, with nothing in it or a part.
func TestAnAgentTakesUpACopyThatWasKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.site("a"), w.site("b")
	a.use("echo 1 > /c/f")
	a.take(v1alpha1.SnapshotPushed)
	whole := b.Copier
	b.Copier = &cutOff{whole, b}
	path := filepath.Join(t.TempDir(), "state.json")
	b.State = snapshot.OpenState(path, "epoch")
	if _, err := b.Begin(t.Context(), w.cache, "epoch", used, nil, false); err != nil {
		t.Fatal(err)
	}
	b.State, b.Copier = snapshot.OpenState(path, "epoch"), whole // the build never ended
	outcome(t, b.use("test $(cat /c/f) = 1"), v1alpha1.PrimePrimed)
	if b.State.IsUnfilled(mount) {
		t.Error("the mount passes for one that is still to be filled")
	}
}
