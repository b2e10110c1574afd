// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Process returns the process ID, on this machine, of the named program in a pod of the local cluster, so that faults
// can be injected that the pod's own processes can't.
func (c *Cluster) Process(ctx context.Context, namespace, pod, program string) (int, error) {
	p := &corev1.Pod{}
	if err := c.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: pod}, p); err != nil {
		return 0, err
	}
	processes, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return 0, err
	}
	for _, comm := range processes {
		dir := filepath.Dir(comm)
		name, _ := os.ReadFile(comm) // it may have ended
		cgroups, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
		if strings.TrimSpace(string(name)) == program && strings.Contains(string(cgroups), string(p.UID)) {
			return strconv.Atoi(filepath.Base(dir))
		}
	}
	return 0, fmt.Errorf("no process of pod %s/%s is %s", namespace, pod, program)
}

// MemoryGroup returns the folder of the cgroup that counts a process's memory, of version 1 or 2.
func MemoryGroup(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", err
	}
	unified := ""
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) == 3 && fields[1] == "memory" {
			return filepath.Join("/sys/fs/cgroup/memory", fields[2]), nil
		} else if len(fields) == 3 && fields[0] == "0" {
			unified = filepath.Join("/sys/fs/cgroup", fields[2])
		}
	}
	return unified, nil
}

// The ioctls that stop and allow writes to a file system.
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

// Freeze has the file system at a path, as a process sees it, take no more writes until thaw is called. Whoever writes
// waits meanwhile, even for a signal.
func Freeze(pid int, path string) (thaw func() error, err error) {
	dir, err := os.Open(filepath.Join("/proc", strconv.Itoa(pid), "root", path))
	if err != nil {
		return nil, err
	}
	if err := ioctl(dir, fiFreeze); err != nil {
		return nil, errors.Join(fmt.Errorf("freeze %s: %w", path, err), dir.Close())
	}
	return func() error { return errors.Join(ioctl(dir, fiThaw), dir.Close()) }, nil
}

func ioctl(f *os.File, request uint) error {
	return unix.IoctlSetInt(int(f.Fd()), request, 0)
}
