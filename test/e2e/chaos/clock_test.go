// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// clockStep steps the wall clock of every long-lived program of the node of the daemon that runs most builds. All nodes
// of the local cluster share one kernel and so one clock, so that the step is made in each process: the code with which
// the kernel lets a process read its clock is replaced by code that adds to what was read.
func clockStep(by time.Duration) func(*testing.T, *world, []*v1alpha1.HLBBuild) func() error {
	return func(t *testing.T, w *world, builds []*v1alpha1.HLBBuild) func() error {
		var undo []func() error
		end := func() (err error) {
			for _, u := range undo {
				err = errors.Join(err, u())
			}
			return err
		}
		for _, pid := range programsOf(t, daemonNode(t, w, builds)) {
			back, err := stepClock(pid, by)
			if err != nil {
				t.Fatal(errors.Join(err, end()))
			}
			undo = append(undo, back)
		}
		if len(undo) < 4 {
			t.Errorf("only %d clocks were stepped", len(undo))
		}
		return end
	}
}

// programsOf are the processes of a node that read the clock for longer than a moment.
func programsOf(t *testing.T, node string) (pids []int) {
	t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*/comm")
	must(t, err)
	for _, comm := range processes {
		dir := filepath.Dir(comm)
		name, _ := os.ReadFile(comm) // it may have ended
		cgroups, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
		programs := []string{"kubelet", "containerd", "agent", "buildkitd", "manager"}
		if slices.Contains(programs, strings.TrimSpace(string(name))) &&
			strings.Contains(string(cgroups), "/hlb-"+node+"/") {
			pid, err := strconv.Atoi(filepath.Base(dir))
			must(t, err)
			pids = append(pids, pid)
		}
	}
	return pids
}

// stepClock steps the wall clock of a process, and returns what steps it back.
func stepClock(pid int, by time.Duration) (back func() error, err error) {
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	read, spare, err := clockCode(pid, memory)
	if err != nil {
		return nil, errors.Join(err, memory.Close())
	}
	original := make([]byte, 5)
	if _, err := memory.ReadAt(original, read); err != nil {
		return nil, errors.Join(err, memory.Close())
	}
	// mov eax, 228 (clock_gettime); syscall; test edi, edi (the wall clock); jne the end; add [rsi], seconds; ret
	code := []byte{0xb8, 228, 0, 0, 0, 0x0f, 0x05, 0x85, 0xff, 0x75, 0x07, 0x48, 0x81, 0x06}
	code = append(binary.LittleEndian.AppendUint32(code, uint32(int32(by/time.Second))), 0xc3)
	jump := binary.LittleEndian.AppendUint32([]byte{0xe9}, uint32(int32(spare-read-5)))
	_, err = memory.WriteAt(code, spare)
	if err = errors.Join(err, replaceCode(pid, memory, read, jump)); err != nil {
		return nil, errors.Join(err, memory.Close())
	}
	return func() error {
		err := replaceCode(pid, memory, read, original)
		if errors.Is(err, syscall.ESRCH) || errors.Is(err, os.ErrProcessDone) {
			err = nil // it has ended, and its clock with it
		}
		return errors.Join(err, memory.Close())
	}, nil
}

// replaceCode writes code into a process that stands still meanwhile.
func replaceCode(pid int, memory *os.File, at int64, code []byte) error {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return err
	}
	time.Sleep(10 * time.Millisecond) // its threads stop one by one
	_, err := memory.WriteAt(code, at)
	return errors.Join(err, syscall.Kill(pid, syscall.SIGCONT))
}

// clockCode returns where a process has the kernel's code that reads the clock, and where it has code that no program
// of this cluster calls, since all are written in Go.
func clockCode(pid int, memory *os.File) (read, spare int64, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(maps)) {
		if !strings.Contains(line, "[vdso]") {
			continue
		}
		var from, to int64
		if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err != nil {
			return 0, 0, err
		}
		image := make([]byte, to-from)
		if _, err := memory.ReadAt(image, from); err != nil {
			return 0, 0, err
		}
		file, err := elf.NewFile(bytes.NewReader(image))
		if err != nil {
			return 0, 0, err
		}
		symbols, err := file.DynamicSymbols()
		for _, s := range symbols {
			switch s.Name {
			case "__vdso_clock_gettime":
				read = from + int64(s.Value)
			case "__vdso_gettimeofday":
				spare = from + int64(s.Value)
			}
		}
		if read != 0 && spare != 0 {
			return read, spare, nil
		}
		return 0, 0, errors.Join(errors.New("the kernel's code has no clock_gettime or gettimeofday"), err)
	}
	return 0, 0, fmt.Errorf("process %d has no code of the kernel", pid)
}
