// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/openllb/hlb-operator/hack/cluster/nodespec"
)

// setup turns the empty namespaces into a machine: own mounts, own name, own network.
func setup(c nodespec.Config) error {
	for _, step := range []func(nodespec.Config) error{mountAll, setName, connect} {
		if err := step(c); err != nil {
			return err
		}
	}
	return nil
}

// mountAll gives the node its own /proc, /sys, /run and data folders. Mounts are private while this is done, so that
// nothing leaks to the host, and shared afterwards, since kubelet and containerd propagate mounts into pods.
func mountAll(c nodespec.Config) error {
	hold := filepath.Join(c.Scratch, "cgroup")
	if err := os.MkdirAll(hold, 0o755); err != nil {
		return err
	}
	steps := []struct {
		source, target, kind string
		flags                uintptr
		data                 string
	}{
		{"", "/", "", syscall.MS_REC | syscall.MS_PRIVATE, ""},
		{"proc", "/proc", "proc", 0, ""},
		// A sysfs mounted here shows this network namespace; the cgroup tree below it has to be carried over.
		{"/sys/fs/cgroup", hold, "", syscall.MS_BIND | syscall.MS_REC, ""},
		{"sysfs", "/sys", "sysfs", 0, ""},
		{hold, "/sys/fs/cgroup", "", syscall.MS_BIND | syscall.MS_REC, ""},
		{"run", "/run", "tmpfs", 0, "mode=755"},
	}
	for _, target := range slices.Sorted(maps.Keys(c.Binds)) {
		steps = append(steps, struct {
			source, target, kind string
			flags                uintptr
			data                 string
		}{c.Binds[target], target, "", syscall.MS_BIND, ""})
	}
	for _, s := range steps {
		if err := syscall.Mount(s.source, s.target, s.kind, s.flags, s.data); err != nil {
			return fmt.Errorf("mount %s on %s: %w", s.source, s.target, err)
		}
	}
	if err := syscall.Unmount(hold, syscall.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", hold, err)
	}
	for _, dir := range []string{"/run/netns", "/run/lock"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share the mounts: %w", err)
	}
	return nil
}

func setName(c nodespec.Config) error {
	return syscall.Sethostname([]byte(c.Hostname))
}

// connect brings eth0 up and routes to the other nodes' pods.
func connect(c nodespec.Config) error {
	commands := []string{
		"link set lo up",
		"link set eth0 up",
		"addr add " + c.Address + " dev eth0",
		"route add default via " + c.Gateway,
	}
	for _, subnet := range slices.Sorted(maps.Keys(c.Routes)) {
		commands = append(commands, "route add "+subnet+" via "+c.Routes[subnet])
	}
	for _, command := range commands {
		if text, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", command, err, text)
		}
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
}
