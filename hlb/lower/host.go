// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// machine is this machine as a Host.
type machine struct{}

func (machine) Environ(key string) string  { return os.Getenv(key) }
func (machine) Cwd() (string, error)       { return os.Getwd() }
func (machine) Home() (string, error)      { return os.UserHomeDir() }
func (machine) Platform() (string, string) { return runtime.GOOS, runtime.GOARCH }

// ID is the machine id where the system has one, else the host name.
func (machine) ID() string {
	if dt, err := os.ReadFile("/etc/machine-id"); err == nil {
		return strings.TrimSpace(string(dt))
	}
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

func (machine) Run(ctx context.Context, dir string, args []string) (stdout, stderr, both []byte, err error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	var out, errOut, all bytes.Buffer
	var mu sync.Mutex
	cmd.Stdout = tee{&mu, &out, &all}
	cmd.Stderr = tee{&mu, &errOut, &all}
	err = cmd.Run()
	return out.Bytes(), errOut.Bytes(), all.Bytes(), err
}

// tee writes to its own buffer and to the one with everything in the order written.
type tee struct {
	mu       *sync.Mutex
	own, all *bytes.Buffer
}

func (t tee) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.own.Write(p)
	return t.all.Write(p)
}

// defaultPlatform is what filesystems are built for unless the program says otherwise.
func defaultPlatform(opts Options) ocispecs.Platform {
	if opts.Platform != nil {
		return *opts.Platform
	}
	return ocispecs.Platform{OS: "linux", Architecture: runtime.GOARCH}
}
