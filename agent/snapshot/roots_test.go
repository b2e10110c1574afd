// SPDX-License-Identifier: Apache-2.0

package snapshot_test

import (
	"context"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/mountcopy"
	"github.com/openllb/hlb-operator/agent/snapshot"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// useAs does what a build does whose step runs as a user with a mount of such a root.
func (s *site) useAs(user string, root *mountcopy.Root, held bool, script string) []v1alpha1.PrimeStatus {
	s.w.t.Helper()
	mounts := []daemon.Mount{{ID: mount, Target: "/c", Sharing: "shared", Root: root}}
	has := map[string]int64{}
	if held {
		has[mount] = 1
	}
	primed, err := s.Begin(s.w.t.Context(), s.w.cache, "epoch", mounts, has, false)
	if err != nil {
		s.w.t.Fatal(err)
	}
	state := llb.Image(s.w.base).
		Run(llb.Args([]string{"/bin/sh", "-ec", script}), llb.AddEnv("SALT", time.Now().String()), llb.User(user),
			llb.AddMount("/c", llb.Scratch(), llb.AsPersistentCacheDir(mount, llb.CacheMountShared))).Root()
	def, err := state.Marshal(s.w.t.Context())
	if err == nil {
		_, err = s.client.Solve(s.w.t.Context(), def, client.SolveOpt{}, nil)
	}
	if err != nil {
		s.w.t.Fatal(err)
	}
	if err := s.State.End(snapshot.Sharing(mounts), true); err != nil {
		s.w.t.Fatal(err)
	}
	return primed
}

func TestAnyUserCanWriteToANewMount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.site("a"), w.site("b")
	open := &mountcopy.Root{Mode: 0o777}
	a.useAs("1000:1000", open, false, `echo 1 > /c/f; test "$(stat -c %a /c)" = 777`)
	a.useAs("2000", open, true, "echo 2 > /c/g; test $(cat /c/f) = 1")
	a.take(v1alpha1.SnapshotPushed)
	outcome(t, b.useAs("3000", open, false, "echo 3 > /c/h; test $(cat /c/f) = 1"), v1alpha1.PrimePrimed)
}

// TestAMountThatRootMadeIsOpenedToOthers has a step of root come first, on this daemon and on the one that made the
// snapshot.
func TestAMountThatRootMadeIsOpenedToOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.site("a"), w.site("b")
	a.useAs("0", nil, false, "echo 1 > /c/f")
	a.take(v1alpha1.SnapshotPushed)
	open := &mountcopy.Root{Mode: 0o777}
	a.useAs("1000", open, true, "echo 2 > /c/g")
	outcome(t, b.useAs("1000", open, false, "echo 2 > /c/g"), v1alpha1.PrimePrimed)
}

func TestAMountWithAnOwnerIsTheSameMount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.site("a"), w.site("b")
	own := &mountcopy.Root{UID: 1000, GID: 1000, Mode: 0o700}
	a.useAs("1000:1000", own, false, `echo 1 > /c/f; test "$(stat -c %u:%g:%a /c)" = 1000:1000:700`)
	if e := a.take(v1alpha1.SnapshotPushed); e.Bytes != 2 {
		t.Errorf("the snapshot has %d bytes, want 2", e.Bytes)
	}
	outcome(t, b.useAs("1000:1000", own, false, `test $(cat /c/f) = 1; test "$(stat -c %u:%a /c)" = 1000:700`),
		v1alpha1.PrimePrimed)
}

// countingRoots counts the steps that set a root.
type countingRoots struct {
	snapshot.Copier
	calls int
}

func (c *countingRoots) SetRoot(
	ctx context.Context, m *daemon.MountCopy, root mountcopy.Root,
) (mountcopy.Result, error) {
	c.calls++
	return c.Copier.SetRoot(ctx, m, root)
}

func TestTheOwnerOfAMountCostsOneStep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.site("a")
	counting := &countingRoots{Copier: a.Copier}
	a.Copier = counting
	open := &mountcopy.Root{Mode: 0o777}
	for i, held := range []bool{false, true, true} {
		a.useAs("1000", open, held, "true")
		if counting.calls != 1 {
			t.Fatalf("after %d builds, %d steps have set the mount's owner", i+1, counting.calls)
		}
	}
	a.useAs("1000", open, false, "true") // the daemon has dropped it meanwhile
	if counting.calls != 2 {
		t.Errorf("a new mount of the id was not set: %d steps", counting.calls)
	}
}
