// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process identifies a process beyond reuse of its id: Start is its start time in clock ticks since boot, Boot the
// boot.
type process struct {
	Pid   int    `json:"pid"`
	Start uint64 `json:"start"`
	Boot  string `json:"boot"`
}

// spawn starts args detached from this process, its output appended to logs/NAME.log, and records it as NAME.
func (c *Cluster) spawn(name string, args ...string) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	_, err := c.spawnCmd(name, cmd)
	return err
}

// spawnCmd is spawn for a prepared command; it returns what it recorded.
func (c *Cluster) spawnCmd(name string, cmd *exec.Cmd) (process, error) {
	file := c.path("logs", name+".log")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return process{}, err
	}
	log, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return process{}, err
	}
	defer log.Close()
	cmd.Dir = c.Dir
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return process{}, fmt.Errorf("start %s: %w", name, err)
	}
	go cmd.Wait() //nolint:errcheck // collects the child's exit code while we live; its end shows in find
	p, err := identify(cmd.Process.Pid)
	if err != nil {
		return process{}, fmt.Errorf("%s ended at once: %s", name, c.logTail(name))
	}
	text, err := json.Marshal(p)
	if err != nil {
		return process{}, err
	}
	return p, writeFile(c.path("pids", name), text)
}

// find returns the process recorded as name, or false when it has ended or never was.
func (c *Cluster) find(name string) (process, bool) {
	text, err := os.ReadFile(c.path("pids", name))
	if err != nil {
		return process{}, false
	}
	var recorded process
	if json.Unmarshal(text, &recorded) != nil {
		return process{}, false
	}
	now, err := identify(recorded.Pid)
	return recorded, err == nil && now == recorded
}

// kill sends sig to the process recorded as name and waits for its end; after grace it is killed. No process is no
// error.
func (c *Cluster) kill(name string, sig syscall.Signal, grace time.Duration) error {
	p, alive := c.find(name)
	if !alive {
		return c.forget(name)
	}
	if err := syscall.Kill(p.Pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop %s: %w", name, err)
	}
	deadline, killed := time.Now().Add(grace), sig == syscall.SIGKILL
	for {
		if _, alive := c.find(name); !alive {
			return c.forget(name)
		}
		if time.Now().After(deadline) {
			if killed {
				return fmt.Errorf("process %d (%s) does not end", p.Pid, name)
			}
			syscall.Kill(p.Pid, syscall.SIGKILL) //nolint:errcheck // the loop sees whether it worked
			deadline, killed = time.Now().Add(30*time.Second), true
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (c *Cluster) forget(name string) error {
	if err := os.Remove(c.path("pids", name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// logTail returns the last 2 KiB of what the named process wrote.
func (c *Cluster) logTail(name string) string {
	text, err := os.ReadFile(c.path("logs", name+".log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2048):])
}

// identify reads a live process's identity; a zombie counts as ended.
func identify(pid int) (process, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, err
	}
	// The name in parentheses may hold anything; the fields after it are state (3rd) … starttime (22nd).
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return process{}, fmt.Errorf("process %d has ended", pid)
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return process{}, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return process{}, err
	}
	return process{Pid: pid, Start: start, Boot: strings.TrimSpace(string(boot))}, nil
}
