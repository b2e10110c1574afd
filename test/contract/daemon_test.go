// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

// gated is a step that says that it runs by a file in the mount "sync" and ends when told so by another, with what it
// wrote to the mount "a" on the way.
func (w *world) gated() llb.State {
	return w.sh("echo begun > /c/f; sync; touch /sync/here; while [ ! -e /sync/go ]; do sleep 0.05; done; echo ended >> /c/f",
		mount("a", llb.CacheMountShared), gate(), salt()).Root()
}

func gate() llb.RunOption {
	return llb.AddMount("/sync", llb.Scratch(), llb.AsPersistentCacheDir("sync", llb.CacheMountShared))
}

// awaitGated waits until the gated step runs.
func (w *world) awaitGated() {
	w.t.Helper()
	w.must(w.sh("while [ ! -e /sync/here ]; do sleep 0.05; done", gate(), salt()).Root())
}

// A roll-out may send SIGTERM to a daemon at work: the pod ends when the builds have.
func TestSIGTERMLetsRunningSolvesFinishAndRefusesNewOnes(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	root := w.daemon.Root
	running := w.start(w.gated())
	w.awaitGated()
	w.daemon.Terminate()
	eventually(t, "new calls are refused", func() bool {
		_, err := w.client.ListWorkers(t.Context())
		return err != nil
	})
	select {
	case err := <-running:
		t.Fatalf("the running solve ended with %v, want it to go on", err)
	case <-w.daemon.Ended():
		t.Fatal("the daemon ended before its solve")
	case <-time.After(time.Second):
	}
	openGate(t, root)
	if err := <-running; err != nil {
		t.Errorf("the running solve: %v", err)
	}
	select {
	case <-w.daemon.Ended():
	case <-time.After(20 * time.Second):
		t.Error("the daemon has not ended although its last solve has")
	}
	w.restart()
	if got := w.show("a"); got != "f: begun\nended" {
		t.Errorf("the mount holds %q, want all that the step wrote", got)
	}
}

// restart starts the daemon again and waits until the client, which backs off after refused calls, reaches it.
func (w *world) restart() {
	w.t.Helper()
	w.daemon.Restart()
	eventually(w.t, "the client reaches the daemon again", func() bool {
		_, err := w.client.ListWorkers(w.t.Context())
		return err == nil
	})
}

// openGate makes the file that the gated step waits for, in the mount's folder on the host, since the daemon takes no
// calls.
func openGate(t *testing.T, root string) {
	t.Helper()
	opened := false
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Name() == "here" {
			opened = true
			return os.WriteFile(filepath.Join(filepath.Dir(path), "go"), nil, 0o644)
		}
		return nil // steps come and go while we walk
	})
	if err != nil || !opened {
		t.Fatalf("the gate was not found below %s: %v", root, err)
	}
}

func TestKilledDaemonKeepsWhatTheStepHadWritten(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	running := w.start(w.gated())
	w.awaitGated()
	w.daemon.Kill()
	if err := <-running; status.Code(err) != codes.Unavailable && !strings.Contains(err.Error(), "Unavailable") {
		t.Errorf("the solve's error is %v, want Unavailable", err)
	}
	w.restart()
	if got := w.show("a"); got != "f: begun" {
		t.Errorf("the mount holds %q, want what was written before the kill", got)
	}
}

// In a pod the pid namespace goes with the daemon; the test daemons are started alike.
func TestKilledDaemonTakesItsStepsAlong(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	mark := "3141592.6"
	running := w.start(w.sh("sleep " + mark).Root())
	sleeping := func() bool {
		text, _ := exec.Command("pgrep", "-f", "sleep "+mark).Output() // exits with 1 when there is none
		return len(text) > 0
	}
	eventually(t, "the step runs", sleeping)
	w.daemon.Kill()
	if err := <-running; err == nil {
		t.Error("the solve ended well, although its daemon was killed")
	}
	eventually(t, "the step is gone", func() bool { return !sleeping() })
}

func TestSocketBelongsToTheConfiguredGroup(t *testing.T) {
	w := newWorld(t, buildkittest.Options{SocketGID: 65532})
	info, err := os.Stat(w.daemon.Socket)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	got := map[string]uint32{"uid": owner.Uid, "gid": owner.Gid, "mode": uint32(info.Mode().Perm())}
	if diff := cmp.Diff(map[string]uint32{"uid": 0, "gid": 65532, "mode": 0o660}, got); diff != "" {
		t.Errorf("socket (-want +got):\n%s", diff)
	}
}

func TestWorkerLabelsAndVersionAreRead(t *testing.T) {
	w := newWorld(t, buildkittest.Options{Worker: "[worker.oci.labels]\n\"build.openllb.dev/volume\" = \"v7\"\n"})
	workers, err := w.client.ListWorkers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := workers[0].Labels["build.openllb.dev/volume"]; got != "v7" {
		t.Errorf("label is %q, want v7", got)
	}
	info, err := w.client.Info(t.Context())
	if err != nil || !strings.HasPrefix(info.BuildkitVersion.Version, "v0.34.") {
		t.Errorf("version %q (%v), want v0.34", info.BuildkitVersion.Version, err)
	}
}

func TestNewClientDoesNotConnect(t *testing.T) {
	c, err := client.New(t.Context(), "unix:///nonexistent/buildkitd.sock")
	if err != nil {
		t.Fatalf("client.New: %v, want it to succeed without a daemon", err)
	}
	defer c.Close()
	if _, err := c.Info(t.Context()); err == nil {
		t.Error("Info succeeded without a daemon")
	}
}

// The limit on builds must be the agent's own: BuildKit's counts steps, over all builds of the daemon.
func TestMaxParallelismBoundsSteps(t *testing.T) {
	w := newWorld(t, buildkittest.Options{Worker: "max-parallelism = 1"})
	step := func(n string) llb.State {
		return w.sh("mkdir /c/inside; sleep 0.3; rmdir /c/inside; echo "+n+" >> /c/times",
			mount("a", llb.CacheMountShared), salt()).Root()
	}
	first, second := w.start(step("x")), w.start(step("x"))
	for _, done := range []<-chan error{first, second} {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got := w.show("a"); got != "times: x\nx" {
		t.Errorf("the mount holds %q, want both steps to have run, one after the other", got)
	}
}
