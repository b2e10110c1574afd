// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

const (
	// pressurePercent of fill is where DiskPressure begins. Garbage collection starts at 80 %, so a volume gets here only when it can't keep up.
	pressurePercent = 90
	// fullPercent is where a step that says "no space left" is believed to mean the volume: file systems keep a few percent back.
	fullPercent = 98
)

// volume is how full a file system is, in bytes.
type volume struct {
	capacity, used int64
}

// volumeAt measures the file system that path is on. What is kept back for root counts as used.
func volumeAt(path string) (volume, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return volume{}, fmt.Errorf("statfs %s: %w", path, err)
	}
	capacity := int64(st.Blocks) * st.Bsize
	return volume{capacity: capacity, used: capacity - int64(st.Bavail)*st.Bsize}, nil
}

func (v volume) hasPressure() bool { return v.capacity > 0 && v.used >= v.capacity/100*pressurePercent }

func (v volume) isFull() bool { return v.capacity > 0 && v.used >= v.capacity/100*fullPercent }

// isolationInForce tells from this process's user namespace, which it shares with buildkitd, whether the pod's root is root on the node.
func isolationInForce() (v1alpha1.Isolation, error) {
	data, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return "", fmt.Errorf("read the user namespace's map: %w", err)
	}
	return isolationOf(string(data)), nil
}

// isolationOf reads a uid_map: each line maps a range of ids, by first id inside, first id outside, and length.
func isolationOf(uidMap string) v1alpha1.Isolation {
	fields := strings.Fields(uidMap)
	if len(fields) >= 3 && fields[0] == "0" && fields[1] == "0" {
		return v1alpha1.IsolationPrivileged
	}
	return v1alpha1.IsolationUserNamespace
}
