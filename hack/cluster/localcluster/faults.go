// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// FillRegistry starts the named registry, which must not run, on a volume without any room: it serves what it holds
// and takes nothing more. The returned function stops it and gives it its own volume back.
func (c *Cluster) FillRegistry(ctx context.Context, name string) (end func() error, err error) {
	data, room := c.path(name), c.path(name+"-full")
	upper, work := filepath.Join(room, "upper"), filepath.Join(room, "work")
	end = func() error { return c.emptyRegistry(name) }
	for _, step := range []func() error{
		func() error { return os.MkdirAll(room, 0o755) },
		func() error { return syscall.Mount("tmpfs", room, "tmpfs", 0, "size=256k") },
		func() error { return errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755)) },
		func() error {
			options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", data, upper, work)
			return syscall.Mount("overlay", data, "overlay", 0, options)
		},
		func() error { return takeAll(filepath.Join(room, "rest")) },
		func() error { return c.StartRegistry(ctx, name) },
	} {
		if err := step(); err != nil {
			return nil, errors.Join(fmt.Errorf("fill the volume of %s: %w", name, err), end())
		}
	}
	return end, nil
}

// emptyRegistry ends FillRegistry, also that of a run which was broken off.
func (c *Cluster) emptyRegistry(name string) error {
	data, room := c.path(name), c.path(name+"-full")
	if _, err := os.Stat(room); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(c.StopRegistry(name), unmount(data), unmount(room), os.RemoveAll(room))
}

// endFaults ends the faults that a run which was broken off has left behind.
func (c *Cluster) endFaults() (err error) {
	for _, r := range registries {
		err = errors.Join(err, c.emptyRegistry(r.name))
	}
	for _, node := range Nodes {
		if c.mustRun(node) == nil {
			err = errors.Join(err, c.ResumeNode(node), c.HealNode(node))
		}
	}
	if run("nft", "list", "table", "ip", redirectTable) == nil {
		err = errors.Join(err, c.RestoreAPI())
	}
	return err
}

// takeAll writes a file that takes all room there is.
func takeAll(file string) error {
	f, err := os.Create(file)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return f.Close()
}

// unmount unmounts what may not be mounted.
func unmount(path string) error {
	if err := syscall.Unmount(path, 0); !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOENT) {
		return err
	}
	return nil
}
