// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	cgroupRoot  = "/sys/fs/cgroup"
	cgroupMagic = 0x63677270 // CGROUP2_SUPER_MAGIC of linux/magic.h
)

// isCgroupV2 reports whether the host mounts the unified hierarchy alone.
func isCgroupV2() bool {
	var s syscall.Statfs_t
	return syscall.Statfs(cgroupRoot, &s) == nil && s.Type == cgroupMagic
}

// hierarchies are the mounted cgroup trees: one on v2, one a controller on v1.
func hierarchies() ([]string, error) {
	if isCgroupV2() {
		return []string{cgroupRoot}, nil
	}
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, e := range entries {
		if e.IsDir() { // the symlinks beside them are second names (cpu → cpu,cpuacct)
			dirs = append(dirs, filepath.Join(cgroupRoot, e.Name()))
		}
	}
	return dirs, nil
}

// makeCgroups makes the node's cgroup in every hierarchy, with a leaf "init" for the node's own daemons beside the
// kubelet's pods.
func makeCgroups(node string) error {
	trees, err := hierarchies()
	if err != nil {
		return err
	}
	v2 := isCgroupV2()
	for _, tree := range trees {
		parent := tree
		for _, name := range []string{cgroupPrefix + node, "init"} {
			if v2 {
				if err := delegate(parent); err != nil {
					return err
				}
			}
			dir := filepath.Join(parent, name)
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("make cgroup: %w", err)
			}
			if err := inheritCPUs(parent, dir); err != nil {
				return err
			}
			parent = dir
		}
	}
	return nil
}

// delegate hands the controllers of a v2 cgroup to its children.
func delegate(dir string) error {
	have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	available := strings.Fields(string(have))
	for _, controller := range []string{"cpu", "cpuset", "memory", "pids", "io", "hugetlb"} {
		if !slices.Contains(available, controller) {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller),
			0o644); err != nil {
			return fmt.Errorf("delegate %s in %s: %w", controller, dir, err)
		}
	}
	return nil
}

// inheritCPUs fills a new v1 cpuset, which is born empty and refuses processes until it is filled.
func inheritCPUs(parent, dir string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		text, err := os.ReadFile(filepath.Join(parent, file))
		if errors.Is(err, fs.ErrNotExist) || isCgroupV2() {
			continue // another controller, or v2, where an empty set means the parent's
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, file), text, 0o644)
		}
		if err != nil {
			return fmt.Errorf("fill cpuset: %w", err)
		}
	}
	return nil
}

// enterCgroups moves a process into the node's "init" leaves.
func enterCgroups(node string, pid int) error {
	trees, err := hierarchies()
	if err != nil {
		return err
	}
	for _, tree := range trees {
		file := filepath.Join(tree, cgroupPrefix+node, "init", "cgroup.procs")
		if err := os.WriteFile(file, []byte(strconv.Itoa(pid)), 0o644); err != nil {
			return fmt.Errorf("enter cgroup: %w", err)
		}
	}
	return nil
}

// freeze stops or continues every process of the node, pods included. An absent node is no error when thawing.
func freeze(node string, frozen bool) error {
	file, states := filepath.Join(
		cgroupRoot,
		"freezer",
		cgroupPrefix+node,
		"freezer.state",
	), [2]string{
		"THAWED",
		"FROZEN",
	}
	if isCgroupV2() {
		file, states = filepath.Join(cgroupRoot, cgroupPrefix+node, "cgroup.freeze"), [2]string{"0", "1"}
	}
	state := states[0]
	if frozen {
		state = states[1]
	}
	err := os.WriteFile(file, []byte(state), 0o644)
	if errors.Is(err, fs.ErrNotExist) && !frozen {
		return nil
	}
	return err
}

// removeCgroups removes the node's cgroups; its processes may take a moment to be gone after they were killed.
func removeCgroups(node string) error {
	trees, err := hierarchies()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(30 * time.Second)
	for _, tree := range trees {
		dir := filepath.Join(tree, cgroupPrefix+node)
		for {
			err := removeTree(dir)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("remove cgroup: %w", err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

// removeTree removes a cgroup and those below it, deepest first; the files in them go with their folder.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return syscall.Rmdir(dir)
}
