// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client/llb"

	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

func TestMountIsKnownByItsID(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	w.must(w.sh("echo one > /c/f", mount("a", llb.CacheMountShared)).Root())
	// The path, the sharing mode and the step make no difference; the id does.
	w.must(w.sh("echo two > /elsewhere/g",
		llb.AddMount("/elsewhere", llb.Scratch(), llb.AsPersistentCacheDir("a", llb.CacheMountLocked))).Root())
	got := map[string]string{"a": w.show("a"), "b": w.show("b")}
	if diff := cmp.Diff(map[string]string{"a": "f: one\ng: two", "b": ""}, got); diff != "" {
		t.Errorf("content by id (-want +got):\n%s", diff)
	}
}

// Priming copies into the plain mount because a base would make another mount of it.
func TestBaseOfAMountBelongsToItsIdentity(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	base := func(content string) llb.State { return llb.Scratch().File(llb.Mkfile("/f", 0o644, []byte(content))) }
	with := func(b llb.State) string {
		return w.must(w.sh("cat /c/f; date +%N > /c/mark; cat /c/mark >> /c/f",
			llb.AddMount("/c", b, llb.AsPersistentCacheDir("a", llb.CacheMountShared)), salt()).Root()).log
	}
	if got := with(base("first\n")); got != "first\n" {
		t.Fatalf("a new mount with a base holds %q, want the base's content", got)
	}
	if got := with(base("first\n")); got == "first\n" {
		t.Error("the second use of the same base found the base's content only, want what the first use wrote too")
	}
	if got := with(base("second\n")); got != "second\n" {
		t.Errorf("another base found %q, want a mount of its own with the new base's content", got)
	}
	if got := w.show("a"); got != "" {
		t.Errorf("the mount without a base holds %q, want nothing of those with one", got)
	}
}

func TestSharedMountIsUsedInParallel(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	// Each step ends only when it sees the other's file: run one after the other they would wait for ever.
	meet := func(mine, other string) llb.State {
		return w.sh("touch /c/"+mine+"; while [ ! -e /c/"+other+" ]; do sleep 0.05; done",
			mount("a", llb.CacheMountShared)).Root()
	}
	first, second := w.start(meet("x", "y")), w.start(meet("y", "x"))
	for _, done := range []<-chan error{first, second} {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestLockedMountIsUsedOneAfterTheOther(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	// mkdir fails when the other step is inside.
	step := func() llb.State {
		return w.sh("mkdir /c/inside; sleep 0.5; rmdir /c/inside; echo x >> /c/times", mount("a", llb.CacheMountLocked),
			salt()).Root()
	}
	first, second := w.start(step()), w.start(step())
	for _, done := range []<-chan error{first, second} {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got := w.show("a"); got != "times: x\nx" {
		t.Errorf("mount holds %q, want both steps' lines", got)
	}
}

func TestPrivateMountGivesASecondWriterAnEmptyOne(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	w.must(w.sh("touch /c/warm", mount("a", llb.CacheMountPrivate)).Root())
	holds := w.start(w.sh("test -e /c/warm; touch /c/held; while [ ! -e /sync/go ]; do sleep 0.05; done",
		mount("a", llb.CacheMountPrivate),
		llb.AddMount("/sync", llb.Scratch(), llb.AsPersistentCacheDir("sync", llb.CacheMountShared)), salt()).Root())
	eventually(t, "the first writer holds the mount", func() bool {
		found := w.mounts("a")
		return len(found) == 1 && found[0].InUse
	})
	w.must(w.sh("test ! -e /c/warm", mount("a", llb.CacheMountPrivate), salt()).Root())
	w.must(w.sh("touch /sync/go",
		llb.AddMount("/sync", llb.Scratch(), llb.AsPersistentCacheDir("sync", llb.CacheMountShared))).Root())
	if err := <-holds; err != nil {
		t.Error(err)
	}
	if n := len(w.mounts("a")); n != 2 {
		t.Errorf("%d records of the mount remain, want 2", n)
	}
}

func TestIDAndSharingAreNotInTheCacheKey(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	w.must(w.sh("echo hi > /c/f", mount("a", llb.CacheMountShared)).Root())
	out := w.must(w.sh("echo hi > /c/f", mount("b", llb.CacheMountLocked)).Root())
	if out.cached != 1 {
		t.Errorf("%d of %d steps cached, want the step found in spite of another id and sharing", out.cached, out.steps)
	}
}

// HLB's ignoreCache must never be lowered to BuildKit's for a step that reads a mount.
func TestIgnoreCacheWipesTheMountAndASaltDoesNot(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	w.must(w.sh("echo warm > /c/f", mount("a", llb.CacheMountShared)).Root())
	if got := w.must(w.sh("cat /c/f", mount("a", llb.CacheMountShared), salt()).Root()).log; got != "warm\n" {
		t.Errorf("a salted step read %q, want the mount's content", got)
	}
	if got := w.must(w.sh("ls /c", mount("a", llb.CacheMountShared), llb.IgnoreCache).Root()).log; got != "" {
		t.Errorf("a step with IgnoreCache found %q, want an empty mount", got)
	}
	if got := w.show("a"); got != "" {
		t.Errorf("afterwards the mount holds %q, want nothing: it was wiped", got)
	}
}
