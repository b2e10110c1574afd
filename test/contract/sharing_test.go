// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"testing"

	"github.com/moby/buildkit/client/llb"

	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

// TestALockedUserHidesTheMountFromSharedOnes is why mounts are copied in the mode that builds use them with: while a
// step has a mount locked, one that asks for it shared does not wait for it but gets a second, empty mount, which
// stays.
func TestALockedUserHidesTheMountFromSharedOnes(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	w.must(w.sh("echo warm > /c/f", mount("a", llb.CacheMountShared)).Root())
	locked := w.start(w.sh("touch /c/locked; i=0; while [ ! -e /c/f2 ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i+1)); done", mount("a", llb.CacheMountLocked), salt()).Root())
	eventually(t, "the mount is in use", func() bool {
		for _, m := range w.mounts("a") {
			if m.InUse {
				return true
			}
		}
		return false
	})
	out := w.must(w.sh("ls /c", mount("a", llb.CacheMountShared), salt()).Root())
	if out.log != "" {
		t.Errorf("the shared user sees %q, want an empty mount", out.log)
	}
	if err := <-locked; err != nil {
		t.Fatal(err)
	}
	if n := len(w.mounts("a")); n != 2 {
		t.Errorf("%d records of the mount, want two", n)
	}
}
