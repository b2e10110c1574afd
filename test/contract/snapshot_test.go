// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"testing"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"

	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

// pushed exports the result as an image.
func pushed(ref string) func(*client.SolveOpt) {
	return func(o *client.SolveOpt) {
		o.Exports = []client.ExportEntry{{Type: client.ExporterImage, Attrs: map[string]string{
			"name": ref, "push": "true", "compression": "zstd", "compression-level": "1", "force-compression": "true",
			"oci-mediatypes": "true",
		}}}
	}
}

// snapshot copies a mount's content into an image, as the agent does.
func (w *world) snapshot(id, ref string) {
	w.t.Helper()
	out := w.sh("cp -a /c/. /out/", salt(),
		llb.AddMount("/c", llb.Scratch(), llb.AsPersistentCacheDir(id, llb.CacheMountShared), llb.Readonly)).
		AddMount("/out", llb.Scratch())
	w.must(out, pushed(ref))
}

// prime copies a snapshot into a mount unless it was primed before, as the agent does.
func (w *world) prime(id, ref string) {
	w.t.Helper()
	w.must(w.sh("test -e /c/.primed || { cp -a /seed/. /c/; touch /c/.primed; }", salt(),
		llb.AddMount("/seed", llb.Image(ref), llb.Readonly), mount(id, llb.CacheMountLocked)).Root())
}

func TestSnapshotPrimesAMountOnAnotherDaemon(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	ref := w.registry.Ref("snapshot:1")
	w.must(w.sh("mkdir /c/d; echo warm > /c/d/f; touch -d 2001-02-03 /c/d/f; chown 7:8 /c/d/f",
		mount("a", llb.CacheMountShared)).Root())
	w.snapshot("a", ref)

	other := w.fresh(buildkittest.Options{})
	other.prime("a", ref)
	out := other.must(other.sh("stat -c '%u:%g %y' /c/d/f | cut -c1-14; cat /c/d/f", mount("a", llb.CacheMountShared),
		salt()).Root())
	// Tools such as go and make decide by times, so these must survive.
	if want := "7:8 2001-02-03\nwarm\n"; out.log != want {
		t.Errorf("the primed mount shows %q, want %q", out.log, want)
	}
	other.must(other.sh("echo newer > /c/d/f", mount("a", llb.CacheMountShared), salt()).Root())
	other.prime("a", ref)
	if got := other.show("a"); got != ".primed: \nd/f: newer" {
		t.Errorf("after a second priming the mount holds %q, want it left alone", got)
	}
}

func TestSnapshotOfAnUnknownMountIsEmptyAndLeavesARecord(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	if n := len(w.mounts("")); n != 0 {
		t.Fatalf("%d mounts on a new daemon", n)
	}
	w.snapshot("typo", w.registry.Ref("snapshot:1")) // no error: who asks must look the id up first
	if n := len(w.mounts("typo")); n != 1 {
		t.Errorf("%d records of the unknown mount, want one empty record", n)
	}
	out := w.must(w.sh("ls /seed", llb.AddMount("/seed", llb.Image(w.registry.Ref("snapshot:1")), llb.Readonly)).Root())
	if out.log != "" {
		t.Errorf("the image holds %q, want nothing", out.log)
	}
}

func TestCacheExportHoldsNoMounts(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	program := func() llb.State {
		return w.sh("echo warm > /c/f; echo out > /o", mount("a", llb.CacheMountShared)).Root()
	}
	w.must(program(), exportCache(w.registry.Ref("cache:1"), nil))

	other := w.fresh(buildkittest.Options{})
	out := other.must(program(), importCache(w.registry.Ref("cache:1")))
	if out.cached != 1 || out.steps != 1 {
		t.Errorf("%d of %d steps cached, want the step imported", out.cached, out.steps)
	}
	if got := other.show("a"); got != "" {
		t.Errorf("the mount holds %q on the other daemon, want nothing", got)
	}
}
