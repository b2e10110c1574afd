// SPDX-License-Identifier: Apache-2.0

package buildkittest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/crypto/bcrypt"

	"github.com/openllb/hlb-operator/hack/images/localimages"
	"github.com/openllb/hlb-operator/hack/toolchain"
)

// Registry is a distribution registry on loopback that keeps its content over Stop and Start.
type Registry struct {
	// Address is host:port, spoken to in plain http.
	Address string

	t       testing.TB
	program string
	dir     string
	process *os.Process
	done    chan struct{}
}

// StartRegistry starts an open registry and stops it when the test ends.
func StartRegistry(t testing.TB) *Registry {
	t.Helper()
	return startRegistry(t, "")
}

// StartAuthRegistry starts a registry that asks for user and password.
func StartAuthRegistry(t testing.TB, user, password string) *Registry {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return startRegistry(t, user+":"+string(hash)+"\n")
}

func startRegistry(t testing.TB, htpasswd string) *Registry {
	t.Helper()
	chain, err := toolchain.New(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	programs, err := chain.Dir(t.Context(), toolchain.Registry)
	if err != nil {
		t.Fatal(err)
	}
	r := &Registry{Address: freeAddress(t), t: t, program: filepath.Join(programs, "registry"), dir: t.TempDir()}
	config := fmt.Sprintf("version: 0.1\nlog: {level: warn, accesslog: {disabled: true}}\nhttp: {addr: %q}\n"+
		"storage: {filesystem: {rootdirectory: %q}, delete: {enabled: true}}\n", r.Address,
		filepath.Join(r.dir, "data"))
	if htpasswd != "" {
		file := filepath.Join(r.dir, "htpasswd")
		if err := os.WriteFile(file, []byte(htpasswd), 0o600); err != nil {
			t.Fatal(err)
		}
		config += fmt.Sprintf("auth: {htpasswd: {realm: test, path: %q}}\n", file)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "config.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	r.Start()
	return r
}

// Start starts the registry, at first or again after Stop, and waits until it answers.
func (r *Registry) Start() {
	r.t.Helper()
	cmd := exec.Command(r.program, "serve", filepath.Join(r.dir, "config.yaml"))
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none") // by default it sends traces to a collector nobody runs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	started, done := make(chan error, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread() // Pdeathsig means the death of the thread that started the process
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait() //nolint:errcheck // it is always killed
		}
		close(done)
	}()
	if err := <-started; err != nil {
		r.t.Fatalf("start registry: %v", err)
	}
	r.process, r.done = cmd.Process, done
	deadline := time.Now().Add(patience)
	for {
		response, err := http.Get("http://" + r.Address + "/v2/")
		if err == nil {
			response.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("the registry does not answer: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Stop ends the registry at once; a registry that does not run is left alone.
func (r *Registry) Stop() {
	if r.process == nil {
		return
	}
	r.process.Kill() //nolint:errcheck // it may have ended by itself
	<-r.done
	r.process = nil
}

// Ref is the reference of a repository and tag ("app:1") in this registry.
func (r *Registry) Ref(name string) string { return r.Address + "/" + name }

// Busybox pushes the busybox base image and returns its reference.
func (r *Registry) Busybox() string {
	r.t.Helper()
	return r.base("busybox")
}

// Golang pushes the base image with a Go toolchain (60 MB) and returns its reference.
func (r *Registry) Golang() string {
	r.t.Helper()
	return r.base("golang")
}

func (r *Registry) base(name string) string {
	r.t.Helper()
	b, err := localimages.New(io.Discard)
	if err != nil {
		r.t.Fatal(err)
	}
	image, err := b.Image(r.t.Context(), name)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.Push(image, name+":latest")
}

// Push pushes an image and returns its reference by tag.
func (r *Registry) Push(image v1.Image, name string) string {
	r.t.Helper()
	if _, err := localimages.Push(r.t.Context(), image, r.Ref(name)); err != nil {
		r.t.Fatal(err)
	}
	return r.Ref(name)
}

// freeAddress returns a loopback address that nobody listened on a moment ago.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
