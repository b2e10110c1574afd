// SPDX-License-Identifier: Apache-2.0

package snapshot_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/mountcopy"
	"github.com/openllb/hlb-operator/agent/snapshot"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/cacheref"
)

func TestAMountFollowsItsSnapshots(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.site("a")
	outcome(t, a.use("echo 1 > /c/f"), v1alpha1.PrimeNoSnapshot)
	first := a.take(v1alpha1.SnapshotPushed)
	a.take(v1alpha1.SnapshotUnchanged) // by the count of uses
	a.use("cat /c/f")
	// by the digest
	if again := a.take(v1alpha1.SnapshotUnchanged); again.Digest != first.Digest || again.Ref != first.Ref {
		t.Errorf("the unchanged mount is now %s in %s, was %s in %s", again.Digest, again.Ref, first.Digest, first.Ref)
	}
	a.use("echo 2 > /c/f; echo more > /c/g")
	second := a.take(v1alpha1.SnapshotPushed)

	b := w.site("b")
	primed := b.use(`test "$(cat /c/f)" = 2; test -e /c/g; echo mine > /c/f`)
	outcome(t, primed, v1alpha1.PrimePrimed)
	if primed[0].Ref != second.Ref || primed[0].Bytes != second.Bytes {
		t.Errorf("primed from %+v, want %s of %d bytes", primed[0], second.Ref, second.Bytes)
	}
	if again := b.use("test $(cat /c/f) = mine"); len(again) > 0 {
		t.Errorf("a mount that is held was primed: %+v", again)
	}
}

// TestAMountThatIsBehindIsRefreshed has two daemons that take turns. Only a snapshot that the other one has made
// since counts, and only on request.
func TestAMountThatIsBehindIsRefreshed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.site("a"), w.site("b")
	a.use("echo 1 > /c/f")
	a.take(v1alpha1.SnapshotPushed)
	outcome(t, b.use("test $(cat /c/f) = 1"), v1alpha1.PrimePrimed)
	b.refresh = true
	if got := b.use("true"); len(got) > 0 {
		t.Errorf("a mount that is as new as the snapshot was primed: %+v", got)
	}
	a.use("echo 2 > /c/f; echo more > /c/g")
	second := a.take(v1alpha1.SnapshotPushed)
	b.refresh = false
	if got := b.use("test $(cat /c/f) = 1; echo mine > /c/mine"); len(got) > 0 {
		t.Errorf("a mount was replaced although nobody asked for it: %+v", got)
	}
	b.refresh = true
	if got := b.use("test -e /c/mine"); len(got) > 0 {
		t.Errorf("a mount was replaced by a snapshot that is older than its last use: %+v", got)
	}
	a.use("echo 3 > /c/f")
	third := a.take(v1alpha1.SnapshotPushed)
	primed := b.use("test $(cat /c/f) = 3; test -e /c/g; test ! -e /c/mine")
	outcome(t, primed, v1alpha1.PrimeRefreshed)
	if primed[0].Ref != third.Ref || primed[0].Ref == second.Ref || primed[0].Bytes != third.Bytes {
		t.Errorf("refreshed from %+v, want %s of %d bytes", primed[0], third.Ref, third.Bytes)
	}
	a.refresh = true
	if got := a.use("true"); len(got) > 0 {
		t.Errorf("a mount was replaced by a snapshot of its own: %+v", got)
	}
}

func TestOldSnapshotsGoAndNothingElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := w.registry.Busybox()
	foreign := []string{"latest", "mount-other-0123456789abcdef-20200101T000000Z-01234567", "mount-ns",
		"cache-ns-0123456789abcdef"}
	for _, year := range []int{2020, 9998, 9999} { // an image of somebody else, under tags of the mount
		foreign = append(foreign, cacheref.MountTag("ns", "go", time.Date(year, 12, 31, 0, 0, 0, 0, time.UTC), "x"))
	}
	a := w.site("a")
	for _, tag := range foreign {
		state, err := llb.Image(image).Marshal(t.Context())
		if err == nil {
			_, err = a.client.Solve(t.Context(), state,
				client.SolveOpt{Exports: []client.ExportEntry{{Type: client.ExporterImage, Attrs: map[string]string{
					"name": w.registry.Ref("team/cache:" + tag), "push": "true"}}}}, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var newest string
	for _, text := range []string{"1", "2", "3", "4"} {
		a.use("echo " + text + " > /c/f")
		newest = a.take(v1alpha1.SnapshotPushed).Ref
	}
	tags := w.tags()
	for _, tag := range foreign {
		if !slices.Contains(tags, tag) {
			t.Errorf("the foreign tag %s is gone", tag)
		}
	}
	if kept := len(tags) - len(foreign); kept != 2 {
		t.Errorf("%d snapshots are kept, want 2: %q", kept, tags)
	}
	primed := w.site("b").use("test $(cat /c/f) = 4")
	if outcome(t, primed, v1alpha1.PrimePrimed); primed[0].Ref != newest {
		t.Errorf("primed from %s, want the newest, %s", primed[0].Ref, newest)
	}
}

// disturbing is a daemon on which a build begins while a mount is copied.
type disturbing struct {
	snapshot.Copier
	between func()
}

func (d *disturbing) Snapshot(ctx context.Context, c *daemon.MountCopy) (mountcopy.Result, string, error) {
	check := c.Check
	c.Check = func() error { d.between(); return check() }
	return d.Copier.Snapshot(ctx, c)
}

func TestSnapshotsKeepOutOfTheWayOfBuilds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.site("a")
	a.use("echo 1 > /c/f")
	if _, err := a.State.Begin("epoch", snapshot.Sharing(used), w.clock); err != nil {
		t.Fatal(err)
	}
	a.take(v1alpha1.SnapshotDeferred) // while a build uses it
	if err := a.State.End(snapshot.Sharing(used), false); err != nil {
		t.Fatal(err)
	}
	a.take(v1alpha1.SnapshotDeferred) // after one that failed
	a.use("echo 2 > /c/f")
	a.Copier = &disturbing{a.Copier, func() { a.use("echo 3 > /c/f") }}
	a.take(v1alpha1.SnapshotDeferred) // disturbed by one
	if tags := w.tags(); len(tags) > 0 {
		t.Errorf("snapshots got tags: %q", tags)
	}
}

// failing is a daemon whose next copies fail.
type failing struct {
	snapshot.Copier
	with []error
}

func (f *failing) Snapshot(ctx context.Context, c *daemon.MountCopy) (mountcopy.Result, string, error) {
	if len(f.with) > 0 {
		err := f.with[0]
		f.with = f.with[1:]
		return mountcopy.Result{}, "", err
	}
	return f.Copier.Snapshot(ctx, c)
}

func TestASnapshotThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.site("a")
	a.use("echo 1 > /c/f")
	a.Copier = &failing{a.Copier, []error{errors.New("no route to the registry"), daemon.ErrNotReached}}
	due := func(want bool) {
		t.Helper()
		if got := a.Due(w.cache); (len(got) > 0) != want {
			t.Errorf("due: %q, want %v", got, want)
		}
	}
	due(false)
	if err := a.State.Ask("now"); err != nil {
		t.Fatal(err)
	}
	due(true)
	if e := a.take(v1alpha1.SnapshotFailed); e.Failures != 1 || !strings.Contains(e.Message, "no route") {
		t.Errorf("the failure is remembered as %+v", e)
	}
	due(false)
	w.clock = w.clock.Add(20 * time.Second)
	due(true)
	a.take(v1alpha1.SnapshotDeferred)
	due(false)
	w.clock = w.clock.Add(20 * time.Second)
	due(true)
	a.take(v1alpha1.SnapshotPushed)
	w.clock = w.clock.Add(time.Hour)
	due(false)
}

func TestABuildBeginsWithoutARegistry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cache.Spec.Mounts[0].PrimeTimeoutSeconds = 1
	b := w.site("b")
	b.run("true") // brings the base image
	if _, err := b.client.Info(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.registry.Stop()
	primed, err := b.Begin(t.Context(), w.cache, "epoch", used, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(primed) != 1 || primed[0].Outcome != v1alpha1.PrimeFailed && primed[0].Outcome != v1alpha1.PrimeTimedOut ||
		primed[0].Message == "" {
		t.Errorf("priming came to %+v, want it to fail", primed)
	}
}

func TestASnapshotThatIsPutOffForLongIsOverdue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.site("a")
	a.use("echo 1 > /c/f")
	if _, err := a.State.Begin("epoch", snapshot.Sharing(used), w.clock); err != nil {
		t.Fatal(err)
	}
	first := a.take(v1alpha1.SnapshotDeferred)
	if w.clock = w.clock.Add(50 * time.Minute); a.take(v1alpha1.SnapshotDeferred).Overdue || first.Overdue {
		t.Error("it is overdue within the hour")
	}
	w.clock = w.clock.Add(10 * time.Minute)
	late := a.take(v1alpha1.SnapshotDeferred)
	if want := "a build uses the mount; put off since " + first.Tried.Format(time.RFC3339); !late.Overdue ||
		late.Message != want {
		t.Errorf("after an hour it is overdue %v, %q; want %q", late.Overdue, late.Message, want)
	}
	if err := a.State.End(snapshot.Sharing(used), true); err != nil {
		t.Fatal(err)
	}
	if e := a.take(v1alpha1.SnapshotPushed); e.Overdue || !e.Deferred.IsZero() {
		t.Errorf("one that was made is remembered as put off since %v", e.Deferred)
	}
}

// counting counts how often a mount is primed, slowly.
type counting struct {
	snapshot.Copier
	begun chan struct{}
	goOn  chan struct{}
}

func (c *counting) Prime(ctx context.Context, m *daemon.MountCopy) (mountcopy.Result, error) {
	select {
	case c.begun <- struct{}{}:
	default:
		return mountcopy.Result{}, errors.New("primed twice")
	}
	<-c.goOn
	return c.Copier.Prime(ctx, m)
}

func TestTwoBuildsPrimeAMountOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.site("a")
	a.use("echo 1 > /c/f")
	a.take(v1alpha1.SnapshotPushed)
	b := w.site("b")
	slow := &counting{b.Copier, make(chan struct{}, 1), make(chan struct{})}
	b.Copier = slow
	both := make(chan []v1alpha1.PrimeStatus, 2)
	for range 2 {
		go func() {
			primed, err := b.Begin(t.Context(), w.cache, "epoch", used, nil, false)
			if err != nil {
				t.Error(err)
			}
			both <- primed
		}()
	}
	<-slow.begun
	slow.begun <- struct{}{} // the next one would be an error
	close(slow.goOn)
	outcome(t, append(<-both, <-both...), v1alpha1.PrimePrimed)
	b.run("test $(cat /c/f) = 1")
}

func TestWhatASnapshotLeavesOutIsReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.site("a"), w.site("b")
	a.use(`echo 1 > /c/f; touch /c/.wh.f "/c/$(printf '\377')"`)
	if e := a.take(v1alpha1.SnapshotPushed); !strings.HasPrefix(e.Note(), "2 left out: ") || e.Message != "" {
		t.Errorf("the snapshot's note is %q, its message %q", e.Note(), e.Message)
	}
	outcome(t, b.use("test $(cat /c/f) = 1"), v1alpha1.PrimePrimed)
	a.use("rm /c/.wh.* /c/[!f]*")
	if e := a.take(v1alpha1.SnapshotPushed); e.Note() != "" {
		t.Errorf("once nothing is left out, the note is %q", e.Note())
	}
}
