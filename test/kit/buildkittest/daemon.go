// SPDX-License-Identifier: Apache-2.0

// Package buildkittest gives tests real buildkitd daemons, a real registry and base images, built from source and
// started in temporary folders. It needs root, and a test that uses it without fails: a skipped integration test
// proves nothing.
package buildkittest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/client"

	"github.com/openllb/hlb-operator/hack/toolchain"
)

// patience bounds every wait in this package; it is long because test machines are busy.
const patience = time.Minute

// Options shape a daemon. The zero value is a plain daemon with an empty root and BuildKit's stock garbage collection.
type Options struct {
	// Root is the daemon's data folder; empty means a temporary one, removed with the test.
	Root string
	// Worker are lines of buildkitd.toml in its section [worker.oci] (sections below it, such as
	// [[worker.oci.gcpolicy]], may follow them), Sections whole sections.
	Worker, Sections string
	// Insecure has the daemon permit the entitlement security.insecure. It always permits network.host, as the
	// operator's daemons do: who may use it is decided for each job.
	Insecure bool
	// Registries are addresses to talk plain http to, such as Registry.Address.
	Registries []string
	// SocketGID is the group that may open the socket; 0 leaves it to root.
	SocketGID int
	// Network is where the daemon runs; nil for the test's own network, which its steps share.
	Network *Network
}

// Daemon is one buildkitd in pid and mount namespaces of its own: killing it ends its build steps too, as in a pod.
type Daemon struct {
	// Root is the data folder, Socket the absolute path of the unix socket it serves.
	Root, Socket string

	t       testing.TB
	dir     string // socket, configuration and log; short, since socket paths have 107 bytes at most
	cgroup  string
	command []string // buildkitd and what starts it
	mu      sync.Mutex
	init    int           // pid of unshare, parent of the daemon
	done    chan struct{} // closed when it has ended
}

// Start starts a daemon, waits until it answers and stops it when the test ends. The log's tail is shown when the test
// has failed.
func Start(t testing.TB, o Options) *Daemon {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("buildkitd makes namespaces and mounts: run this test as root")
	}
	d := &Daemon{t: t, Root: o.Root, dir: shortDir(t), cgroup: "hlbtest-" + rand.Text()[:8]}
	if d.Root == "" {
		d.Root = filepath.Join(d.dir, "root")
	}
	d.Socket = filepath.Join(d.dir, "d.sock")
	programs, runc := Programs(t)
	d.command = []string{
		"unshare", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc", "--propagation", "private",
		filepath.Join(programs, "buildkitd"), "--config", d.file("buildkitd.toml"),
	}
	if n := o.Network; n != nil {
		d.command = append([]string{"nsenter", "--net=/run/netns/" + n.name}, d.command...)
		o.Worker = n.worker() + o.Worker
		for _, r := range o.Registries {
			n.forward(r)
		}
	}
	if err := os.WriteFile(d.file("buildkitd.toml"), d.config(o, filepath.Join(runc, "runc")), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Kill()
		if err := d.removeCgroups(); err != nil {
			t.Errorf("cgroups of the daemon remain: %v", err)
		}
		if t.Failed() {
			t.Logf("log of the daemon at %s:\n%s", d.Socket, d.LogTail())
		}
	})
	d.Restart()
	return d
}

// Programs returns the folders of buildkitd with buildctl, and of runc, building them on first use.
func Programs(t testing.TB) (buildkit, runc string) {
	t.Helper()
	if err := toolchain.InstallPackages(t.Context()); err != nil {
		t.Fatal(err)
	}
	chain, err := toolchain.New(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	if buildkit, err = chain.Dir(t.Context(), toolchain.BuildKit); err != nil {
		t.Fatal(err)
	}
	if runc, err = chain.Dir(t.Context(), toolchain.Runc); err != nil {
		t.Fatal(err)
	}
	return buildkit, runc
}

// config is the daemon's buildkitd.toml.
func (d *Daemon) config(o Options, runc string) []byte {
	var b bytes.Buffer
	entitlements := `"network.host"`
	if o.Insecure {
		entitlements += `, "security.insecure"`
	}
	fmt.Fprintf(&b, "root = %q\ninsecure-entitlements = [%s]\n[grpc]\naddress = [%q]\nuid = 0\ngid = %d\n", d.Root,
		entitlements, "unix://"+d.Socket, o.SocketGID)
	fmt.Fprintf(&b, "[otel]\nsocketPath = %q\n[cdi]\ndisabled = true\n[worker.containerd]\nenabled = false\n",
		d.file("otel.sock"))
	for _, r := range o.Registries {
		fmt.Fprintf(&b, "[registry.%q]\nhttp = true\n", r)
	}
	fmt.Fprintf(&b, "%s\n[worker.oci]\nenabled = true\nbinary = %q\ndefaultCgroupParent = %q\n%s\n", o.Sections, runc,
		d.cgroup, o.Worker)
	return b.Bytes()
}

// Restart starts the daemon again on the same root and socket; it must not run. It returns when the daemon answers.
func (d *Daemon) Restart() {
	d.t.Helper()
	d.start()
	c := d.Client()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ended := d.Ended()
	go func() { // one that has ended will not answer
		select {
		case <-ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := c.Wait(ctx); err != nil {
		d.t.Fatalf("buildkitd does not answer: %v\n%s", err, d.LogTail())
	}
}

// start runs buildkitd below unshare and returns as soon as both exist.
func (d *Daemon) start() {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running() {
		d.t.Fatal("the daemon runs already")
	}
	log, err := os.OpenFile(d.file("buildkitd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		d.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(d.command[0], d.command[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	// A test that is killed takes its daemons with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	started, done := make(chan error, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread() // Pdeathsig means the death of the thread that started the process
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait() //nolint:errcheck // the exit code is always that of a killed process
		}
		close(done)
	}()
	if err := <-started; err != nil {
		d.t.Fatalf("start buildkitd: %v", err)
	}
	d.init, d.done = cmd.Process.Pid, done
}

// Client returns a client of the daemon, closed when the test ends. It stays good over a Restart.
func (d *Daemon) Client() *client.Client {
	d.t.Helper()
	c, err := client.New(context.Background(), "unix://"+d.Socket)
	if err != nil {
		d.t.Fatalf("client of %s: %v", d.Socket, err)
	}
	d.t.Cleanup(func() { c.Close() })
	return c
}

// Kill ends the daemon and its build steps at once, as SIGKILL of a pod does, and waits for the end. A daemon that does
// not run is left alone.
func (d *Daemon) Kill() {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.running() {
		return
	}
	syscall.Kill(d.init, syscall.SIGKILL) //nolint:errcheck // the wait sees whether it worked
	d.await()
}

// Terminate sends SIGTERM to buildkitd and returns at once; Ended is closed when it is gone.
func (d *Daemon) Terminate() { d.signal(syscall.SIGTERM) }

// Stop has buildkitd do nothing until Continue: it neither answers nor ends, as one that is stuck.
func (d *Daemon) Stop() { d.signal(syscall.SIGSTOP) }

// Continue ends a Stop.
func (d *Daemon) Continue() { d.signal(syscall.SIGCONT) }

// signal sends a signal to buildkitd.
func (d *Daemon) signal(s syscall.Signal) {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", d.init, d.init))
	if err != nil {
		d.t.Fatalf("find buildkitd: %v", err)
	}
	for _, field := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(field)
		if err == nil {
			err = syscall.Kill(pid, s)
		}
		if err != nil {
			d.t.Fatalf("send buildkitd %s: %v", s, err)
		}
	}
}

// Ended is closed when the daemon has ended; after a Restart, ask again.
func (d *Daemon) Ended() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.done
}

// LogTail returns the last 8 KiB of the daemon's log.
func (d *Daemon) LogTail() string {
	text, err := os.ReadFile(d.file("buildkitd.log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-8192):])
}

func (d *Daemon) file(name string) string { return filepath.Join(d.dir, name) }

// running reports whether the daemon was started and has not ended; d.mu is held.
func (d *Daemon) running() bool {
	if d.done == nil {
		return false
	}
	select {
	case <-d.done:
		return false
	default:
		return true
	}
}

// await waits for the daemon's end; d.mu is held.
func (d *Daemon) await() {
	select {
	case <-d.done:
	case <-time.After(patience):
		d.t.Errorf("process %d does not end", d.init)
	}
}

// removeCgroups removes what the daemon's steps leave in every mounted hierarchy, once their processes are gone.
func (d *Daemon) removeCgroups() error {
	roots, err := filepath.Glob("/sys/fs/cgroup/*/" + d.cgroup)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(patience)
	for _, root := range append(roots, filepath.Join("/sys/fs/cgroup", d.cgroup)) {
		for {
			if err = removeCgroup(root); err == nil {
				break
			}
			if time.Now().After(deadline) {
				return err
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

func removeCgroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			err = errors.Join(err, removeCgroup(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(err, syscall.Rmdir(dir))
}

// shortDir makes a temporary folder with a short path.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "bk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove %s: %v", dir, err)
		}
	})
	return dir
}
