// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/openllb/hlb-operator/hack/toolchain"
)

// Build builds every program that the cluster runs, and BuildKit for the image of the daemons and the tests, after
// installing the Debian packages they need.
func (c *Cluster) Build(ctx context.Context) error {
	if err := toolchain.InstallPackages(ctx); err != nil {
		return err
	}
	if _, err := c.chain.Dir(ctx, toolchain.BuildKit); err != nil {
		return err
	}
	return c.buildTools(ctx)
}

// Up brings the cluster to where everything runs and all nodes are Ready, from any state: nothing there, all there, or
// the remains of a cluster whose processes were killed or whose machine was started anew.
func (c *Cluster) Up(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("the local cluster makes namespaces, mounts and interfaces: run it as root")
	}
	if err := c.Build(ctx); err != nil {
		return err
	}
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	start := time.Now()
	if err := c.endFaults(); err != nil {
		return err
	}
	if err := c.startAll(ctx); err != nil {
		return err
	}
	c.logf(
		"cluster is up after %.1f s: export KUBECONFIG=%s PATH=%s:$PATH",
		time.Since(start).Seconds(),
		c.Kubeconfig(),
		c.tools.kube,
	)
	return nil
}

// startAll starts what does not run, the slow things first, and waits for all of it.
func (c *Cluster) startAll(ctx context.Context) error {
	if err := c.claimBridge(); err != nil {
		return err
	}
	if err := c.makePKI(); err != nil {
		return err
	}
	if err := c.startAPI(); err != nil {
		return err
	}
	for _, r := range registries {
		if err := c.startRegistry(r.name); err != nil {
			return err
		}
	}
	if err := c.writePause(); err != nil {
		return err
	}
	for _, node := range Nodes {
		if err := c.startNode(node); err != nil {
			return fmt.Errorf("start node %s: %w", node, err)
		}
	}
	a, err := c.api()
	if err != nil {
		return err
	}
	if err := c.awaitAPI(ctx, a); err != nil {
		return err
	}
	if err := c.startControllers(); err != nil {
		return err
	}
	if err := poll(ctx, "create the storage class", func() error { return createStorage(ctx, a) }); err != nil {
		return err
	}
	return c.awaitAll(ctx, a)
}

func (c *Cluster) awaitAll(ctx context.Context, a *api) error {
	for _, r := range registries {
		if err := c.awaitRegistry(ctx, r.name); err != nil {
			return err
		}
	}
	for _, node := range Nodes {
		if err := c.awaitNode(ctx, a, node); err != nil {
			return err
		}
	}
	if err := poll(ctx, "wait for the default service account", func() error {
		return a.get(ctx, "/api/v1/namespaces/default/serviceaccounts/default", nil)
	}); err != nil {
		return err
	}
	return c.writeInfo()
}

// Down ends everything and removes every trace: processes, interfaces, cgroups, mount points, the cluster's folder with
// all volumes and images. It does what it can and returns all errors; on a machine without a cluster it does nothing.
func (c *Cluster) Down() error {
	if _, err := os.Stat(c.Dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	var failed []error
	for _, node := range Nodes {
		failed = append(failed, c.KillNode(node))
	}
	for _, name := range []string{"storage", "kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd",
		"registry", "registry-auth"} {
		failed = append(failed, c.kill(name, syscall.SIGKILL, 30*time.Second))
	}
	failed = append(failed, c.endFaults())
	if owner, exists, err := bridgeOwner(); err != nil {
		failed = append(failed, err)
	} else if exists && owner == c.Root {
		failed = append(failed, ip("link del "+bridge))
	}
	failed = append(failed, detachLoops(c.Dir))
	points, err := c.mountPoints()
	failed = append(failed, err)
	for _, dir := range points {
		if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) &&
			!errors.Is(err, syscall.ENOTEMPTY) {
			failed = append(failed, fmt.Errorf("remove the mount point %s: %w", dir, err))
		}
	}
	if err := errors.Join(failed...); err != nil {
		return err // the folder stays: the next Down needs what is noted in it
	}
	return os.RemoveAll(c.Dir)
}

// detachLoops waits until no loop device holds a file below dir. They go with their node, a moment later.
func detachLoops(dir string) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		held, err := heldLoops(dir)
		if err != nil || len(held) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return run("losetup", append([]string{"--detach"}, held...)...)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// heldLoops lists the loop devices (/dev/loop3) whose file lies below dir.
func heldLoops(dir string) ([]string, error) {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	var held []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil && strings.HasPrefix(string(text), dir+"/") { // an error: it went away meanwhile
			held = append(held, "/dev/"+strings.Split(file, "/")[3])
		}
	}
	return held, nil
}

// lock keeps a second Up or Down of this checkout waiting. The file lies beside the folder that Down removes.
func (c *Cluster) lock() (unlock func(), err error) {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(c.Dir+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// Running reads the addresses of a cluster that Up has brought up, by this process or another.
func (c *Cluster) Running() (Info, error) {
	var info Info
	text, err := os.ReadFile(c.path("cluster.json"))
	if err != nil {
		return info, fmt.Errorf("no cluster is up, run `go run ./hack/cluster up`: %w", err)
	}
	return info, json.Unmarshal(text, &info)
}
