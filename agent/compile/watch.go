// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"
)

// watchEvery is how often a child is looked at. A program can fill about 50 MiB in that time.
const watchEvery = 20 * time.Millisecond

// watch ends the process once it takes more than the limits. It returns when the process has ended. The kernel's
// limits, which the child has set for itself, hold where a look comes late.
func (p *process) watch(limits *Limits, memory *memory) {
	defer memory.remove(p)
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-p.ended:
			return
		case now := <-ticker.C:
			p.check(limits, memory, now)
		}
	}
}

func (p *process) check(limits *Limits, memory *memory, now time.Time) {
	if p.atWork(now) > limits.Time {
		p.kill(&LimitError{fmt.Sprintf("compiling the program takes longer than %s", limits.Time)})
	}
	used, err := usageOf(p.cmd.Process.Pid)
	if err != nil {
		return // it has ended
	}
	p.peak.Store(max(p.peak.Load(), used.memory))
	switch {
	case used.memory > limits.MemoryBytes:
		p.kill(limits.overMemory())
	case used.cpu >= limits.CPU:
		p.kill(limits.overCPU())
	default:
		if largest := memory.record(p, used.memory); largest != nil {
			largest.kill(&InternalError{errors.New("the programs that are compiled at present take all of the memory " +
				"that there is for them, and this one takes most of it")})
		}
	}
}

// memory is what all children take.
type memory struct {
	limit int64

	mu   sync.Mutex
	used map[*process]int64
}

func newMemory(limit int64) *memory { return &memory{limit: limit, used: map[*process]int64{}} }

// record takes what a process uses and returns the process that must end because of it, nil for none.
func (m *memory) record(p *process, bytes int64) *process {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used[p] = bytes
	var total int64
	largest := p
	for other, used := range m.used {
		total += used
		if used > m.used[largest] {
			largest = other
		}
	}
	if total <= m.limit {
		return nil
	}
	delete(m.used, largest) // it is as good as gone
	return largest
}

func (m *memory) remove(p *process) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.used, p)
}

// usage is what a process takes: resident bytes, and processor time so far.
type usage struct {
	memory int64
	cpu    time.Duration
}

// The fields of /proc/PID/stat behind the name, counted from the state, which is the first one (proc_pid_stat(5)).
const (
	statUserTicks   = 11
	statSystemTicks = 12
	statPages       = 21
	// tick is what the kernel counts processor time in for user space, on every architecture that Go runs on.
	tick = 10 * time.Millisecond
)

func usageOf(pid int) (usage, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, err
	}
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) <= statPages {
		return usage{}, errors.New("the kernel's statistics of a process are too short")
	}
	var numbers [3]int64
	for i, field := range []int{statUserTicks, statSystemTicks, statPages} {
		if numbers[i], err = strconv.ParseInt(string(fields[field]), 10, 64); err != nil {
			return usage{}, err
		}
	}
	return usage{memory: numbers[2] * int64(os.Getpagesize()), cpu: time.Duration(numbers[0]+numbers[1]) * tick}, nil
}
