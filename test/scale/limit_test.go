// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// ticksPerSecond is the unit of processor times in /proc, the same on every Linux that Go runs on.
const ticksPerSecond = 100

// processorSeconds are the processor seconds that etcd and kube-apiserver have used, by their names; all programs of
// the machine together under "machine". The test's own process, named "agents", is mostly the agents.
func processorSeconds() map[string]float64 {
	out := map[string]float64{"machine": machineSeconds(), "agents": secondsOf(os.Getpid())}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return out
	}
	for _, path := range stats {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || parentOf(pid) != os.Getpid() {
			continue
		}
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if name := strings.TrimSpace(string(comm)); err == nil && (name == "etcd" || name == "kube-apiserver") {
			out[name] = secondsOf(pid)
		}
	}
	return out
}

// fields are the fields of /proc/PID/stat from the third on: those before may hold blanks.
func fields(pid int) []string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
}

func parentOf(pid int) int {
	f := fields(pid)
	if len(f) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(f[1])
	return parent
}

func secondsOf(pid int) float64 {
	f := fields(pid)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(f[11], 64)
	system, _ := strconv.ParseFloat(f[12], 64)
	return (user + system) / ticksPerSecond
}

// machineSeconds is what all processors have worked since the start: all but idle and waiting for disks.
func machineSeconds() float64 {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(data), "\n")
	sum := 0.0
	for i, field := range strings.Fields(line)[1:] {
		if n, err := strconv.ParseFloat(field, 64); err == nil && i != 3 && i != 4 && i < 8 {
			sum += n
		}
	}
	return sum / ticksPerSecond
}

// limitOf says what kept the builds from being done sooner: the processors when they were at work for nine tenths of
// the time, the daemons' slots when builds had them for as long, and otherwise the waiting of one program for the
// other.
func limitOf(used map[string]float64, buildSeconds, totalSeconds float64, daemons int) string {
	processors := used["machine"] / totalSeconds / float64(runtime.NumCPU())
	taken := buildSeconds / totalSeconds / float64(daemons*slots)
	switch {
	case processors >= 0.9:
		return fmt.Sprintf("processors: %d were busy for %.0f%% of the time", runtime.NumCPU(), 100*processors)
	case taken >= 0.9:
		return fmt.Sprintf("slots: builds had them for %.0f%% of the time", 100*taken)
	default:
		return fmt.Sprintf("round trips: processors were busy for %.0f%% of the time, slots for %.0f%%",
			100*processors, 100*taken)
	}
}
