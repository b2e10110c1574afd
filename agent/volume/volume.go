// SPDX-License-Identifier: Apache-2.0

// Package volume measures the daemon's volume and the isolation that the pod runs with.
package volume

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/openllb/hlb-operator/agent/gc"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// fullPercent of bytes or inodes taken is where a step's "no space left" is taken to be about the volume: file systems
// keep a few percent back.
const fullPercent = 98

// Measure measures the file system that path is on. What is kept back for root counts as used.
func Measure(path string) (gc.Volume, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return gc.Volume{}, fmt.Errorf("statfs %s: %w", path, err)
	}
	return gc.Volume{
		CapacityBytes: int64(st.Blocks) * st.Bsize, FreeBytes: int64(st.Bavail) * st.Bsize,
		CapacityInodes: int64(st.Files), FreeInodes: int64(st.Ffree),
	}, nil
}

// IsFull reports whether a file system has no room for a step.
func IsFull(v gc.Volume) bool {
	taken := func(used, capacity int64) bool { return capacity > 0 && used >= capacity/100*fullPercent }
	return taken(v.UsedBytes(), v.CapacityBytes) || taken(v.UsedInodes(), v.CapacityInodes)
}

// Isolation returns whether the pod's root is root on the node, from this process's user namespace, which it shares
// with buildkitd.
func Isolation() (v1alpha1.Isolation, error) {
	data, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return "", fmt.Errorf("read the user namespace's map: %w", err)
	}
	return isolationOf(string(data)), nil
}

// isolationOf parses a uid_map: each line maps a range of ids, by first id inside, first id outside, and length.
func isolationOf(uidMap string) v1alpha1.Isolation {
	fields := strings.Fields(uidMap)
	if len(fields) >= 3 && fields[0] == "0" && fields[1] == "0" {
		return v1alpha1.IsolationPrivileged
	}
	return v1alpha1.IsolationUserNamespace
}
