// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/openllb/hlb-operator/hack/cluster/nodespec"
)

// restartDelay keeps a daemon that cannot start from burning the processor.
const restartDelay = time.Second

// supervise starts the daemons and starts each again when it ends, for ever. As the first process it also collects the
// exit codes of orphans, so there is one wait loop and no os/exec once it runs.
func supervise(c nodespec.Config) error {
	if err := os.Setenv("PATH", c.Path); err != nil {
		return err
	}
	running := map[int]nodespec.Daemon{}
	for _, d := range c.Daemons {
		if err := prepare(d); err != nil {
			return err
		}
		pid, err := start(d)
		if err != nil {
			return err
		}
		running[pid] = d
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait: %w", err)
		}
		d, known := running[pid]
		if !known {
			continue
		}
		delete(running, pid)
		fmt.Fprintf(os.Stderr, "nodeinit: %s ended (status %#x), starting it again\n", d.Args[0], uint32(status))
		time.Sleep(restartDelay)
		if pid, err = start(d); err != nil {
			return err
		}
		running[pid] = d
	}
}

// prepare waits for what the daemon needs and runs its preparing commands.
func prepare(d nodespec.Daemon) error {
	if d.After != "" {
		if err := awaitSocket(d.After); err != nil {
			return err
		}
	}
	for _, args := range d.Prepare {
		if text, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w: %s", args, err, text)
		}
	}
	return nil
}

// awaitSocket polls until somebody listens on the unix socket; a busy machine may need long.
func awaitSocket(path string) error {
	deadline := time.Now().Add(2 * time.Minute)
	for {
		conn, err := net.Dial("unix", path)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("nobody listens on %s: %w", path, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func start(d nodespec.Daemon) (pid int, err error) {
	log, err := os.OpenFile(d.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	pid, err = syscall.ForkExec(d.Args[0], d.Args, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{null.Fd(), log.Fd(), log.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", d.Args[0], err)
	}
	return pid, nil
}
