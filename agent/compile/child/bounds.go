// SPDX-License-Identifier: Apache-2.0

package child

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"
)

// Bounds are what a child allows itself. The agent watches it too, and ends it sooner and with a better reason; these
// hold where the agent is slow to look.
type Bounds struct {
	// MemoryBytes is the memory at which the garbage collector works hardest. The kernel refuses twice as much,
	// and what the runtime takes.
	MemoryBytes int64
	// CPU is the processor time at which the kernel ends the child, in whole seconds.
	CPU time.Duration
}

// Args are the bounds as arguments of the process.
func (b Bounds) Args() []string {
	return []string{strconv.FormatInt(b.MemoryBytes, 10), strconv.Itoa(int(b.CPU / time.Second))}
}

// ParseBounds reads what Args has written.
func ParseBounds(args []string) (Bounds, error) {
	if len(args) != 2 {
		return Bounds{}, errors.New("two numbers are wanted: bytes of memory and seconds of processor time")
	}
	memory, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil || memory <= 0 || memory > math.MaxInt64/2 {
		return Bounds{}, fmt.Errorf("%q is no number of bytes", args[0])
	}
	seconds, err := strconv.ParseInt(args[1], 10, 32)
	if err != nil || seconds <= 0 {
		return Bounds{}, fmt.Errorf("%q is no number of seconds", args[1])
	}
	return Bounds{MemoryBytes: memory, CPU: time.Duration(seconds) * time.Second}, nil
}

// runtimeBytes is what Go's runtime maps at its start, most of which it never touches.
const runtimeBytes = 256 << 20

// maxFiles is enough for the pipes and what Go's runtime opens.
const maxFiles = 32

// background is the niceness of the process: a compile must not slow the agent's renewals of its Lease. The agent gets
// three times the processor time of a child where both want it.
const background = 5

// apply bounds this process: it writes no file and leaves no core behind.
func (b Bounds) apply() error {
	debug.SetMemoryLimit(b.MemoryBytes)
	// The first process that the kernel ends when the container's memory is used up. Where this can't be written, it
	// chooses by size.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0o600)
	var errs []error
	for resource, limit := range map[int]uint64{
		syscall.RLIMIT_DATA:   uint64(2*b.MemoryBytes + runtimeBytes),
		syscall.RLIMIT_CPU:    uint64(b.CPU / time.Second),
		syscall.RLIMIT_NOFILE: maxFiles,
		syscall.RLIMIT_FSIZE:  0,
		syscall.RLIMIT_CORE:   0,
	} {
		if err := syscall.Setrlimit(resource, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
			errs = append(errs, fmt.Errorf("set resource limit %d: %w", resource, err))
		}
	}
	// Of a process, Linux means the one thread, of a group all threads of its processes.
	if syscall.Getpgrp() == os.Getpid() {
		if err := syscall.Setpriority(syscall.PRIO_PGRP, 0, background); err != nil {
			errs = append(errs, fmt.Errorf("lower the priority: %w", err))
		}
	}
	return errors.Join(errs...)
}
