// SPDX-License-Identifier: Apache-2.0

// Package toolchain builds the programs the tests and the local cluster run (BuildKit, containerd, Kubernetes, a
// registry and a few of our own) from source, through the Go module proxy, and keeps them under the git-ignored bin
// folder.
//
// Every program is built once: its folder names the version, a stamp beside it holds what it was built from, and
// while the stamp fits, asking for the program costs a file read. Several processes may ask at once; a file lock lets
// one build.
package toolchain

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// modulePath is this repository's module, by which Root knows its own go.mod.
const modulePath = "github.com/openllb/hlb-operator"

// Root returns the absolute path of the checkout the working directory lies in.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the checkout: %w", err)
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module "+modulePath+"\n") {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no go.mod of %s at or above the working directory", modulePath)
		}
		dir = parent
	}
}

// Chain builds and finds the programs of one checkout.
type Chain struct {
	// Root is the checkout's absolute path.
	Root string
	// Log receives a line before each build; nil means silence.
	Log io.Writer
}

// New returns the Chain of the checkout around the working directory, logging to w.
func New(w io.Writer) (Chain, error) {
	root, err := Root()
	return Chain{Root: root, Log: w}, err
}

// Dir makes sure that all programs of set are built and returns the absolute folder that holds them.
func (c Chain) Dir(ctx context.Context, set Set) (string, error) {
	version, err := c.version(set)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(c.Root, "bin", set.name+version)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make %s: %w", dir, err)
	}
	unlock, err := lock(filepath.Join(dir, ".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	for _, p := range set.programs {
		if err := c.ensure(ctx, set, p, dir, strings.TrimPrefix(version, "-")); err != nil {
			return "", err
		}
	}
	return dir, link(dir, set)
}

// ensure builds one program, unless its stamp shows that it was built from the same inputs before.
func (c Chain) ensure(ctx context.Context, set Set, p program, dir, version string) error {
	module := filepath.Join(c.Root, set.module)
	ldflags := "-s -w"
	if p.ldflags != "" {
		ldflags += " " + strings.NewReplacer("VERSION", version, "MINOR", minor(version)).Replace(p.ldflags)
	}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", ldflags}
	if p.tags != "" {
		args = append(args, "-tags", p.tags)
	}
	cgo := "CGO_ENABLED=0"
	if p.cgo {
		cgo = "CGO_ENABLED=1"
	}
	sources, err := digest(module, p.sources)
	if err != nil {
		return err
	}
	output, stamp := filepath.Join(dir, p.name), filepath.Join(dir, "."+p.name+".stamp")
	want := strings.Join(slices.Concat([]string{runtime.Version(), version, cgo, sources}, args, []string{p.pkg}), "\n")
	if have, err := os.ReadFile(stamp); err == nil && string(have) == want && executable(output) {
		return nil
	}
	if c.Log != nil {
		fmt.Fprintf(c.Log, "building %s %s\n", p.name, version)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", output+".new", p.pkg)...)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), cgo, "GOTOOLCHAIN=local", "GOFLAGS=", "GOWORK=off")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", p.name, err, tail(text))
	}
	if err := os.Rename(output+".new", output); err != nil { // never writes into a binary that runs
		return fmt.Errorf("build %s: %w", p.name, err)
	}
	return os.WriteFile(stamp, []byte(want), 0o644)
}

// version returns "-v1.2.3" for the version of the set's naming module, or "" for a set of our own programs.
func (c Chain) version(set Set) (string, error) {
	if set.versionOf == "" {
		return "", nil
	}
	file := filepath.Join(c.Root, set.module, "go.mod")
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("find the version of %s: %w", set.name, err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) >= 2 && fields[0] == set.versionOf && strings.HasPrefix(fields[1], "v") {
			return "-" + fields[1], nil
		}
	}
	return "", fmt.Errorf("%s requires no %s", file, set.versionOf)
}

// digest hashes the Go files of the given folders of module, so that a changed program of ours is rebuilt.
func digest(module string, folders []string) (string, error) {
	sum := sha256.New()
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(module, folder, "*.go"))
		if err != nil {
			return "", fmt.Errorf("read the sources in %s: %w", folder, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return "", fmt.Errorf("read the sources in %s: %w", folder, err)
			}
			fmt.Fprintf(sum, "%s %d\n", filepath.Base(file), len(text))
			sum.Write(text)
		}
	}
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}

// link makes the symlinks by which a multi-call program is called.
func link(dir string, set Set) error {
	for name, target := range set.links {
		err := os.Symlink(target, filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("link %s: %w", name, err)
		}
	}
	return nil
}

// lock takes an exclusive lock on file, waiting for its holder, and returns a function that releases it.
func lock(file string) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", file, err)
	}
	return func() { f.Close() }, nil // closing gives the lock back
}

func executable(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// minor is the second number of a version such as v1.37.2.
func minor(version string) string {
	if parts := strings.Split(version, "."); len(parts) > 1 {
		return parts[1]
	}
	return "0"
}

// tail keeps the last 4 KiB of a build's output, where the reason stands.
func tail(text []byte) []byte {
	return text[max(0, len(text)-4096):]
}
