// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/openllb/hlb-operator/agent/compile/child"
	"github.com/openllb/hlb-operator/agent/compile/wire"
)

// process is one child.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    io.ReadCloser
	stderr *head
	limits *Limits

	ended chan struct{} // closed when the process is no more
	mu    sync.Mutex
	cause error // what it was killed for
	// working is when the child was last given the word, as Unix nanoseconds; 0 while it waits for an answer.
	working atomic.Int64
	worked  atomic.Int64 // nanoseconds in which it was at work, up to the last time it waited
	peak    atomic.Int64 // the most resident memory that was seen, in bytes
}

// start starts a process. It inherits neither environment nor files.
func start(command []string, limits *Limits) (*process, error) {
	bounds := child.Bounds{MemoryBytes: limits.MemoryBytes * 4 / 5, CPU: limits.CPU}
	p := &process{stderr: &head{}, limits: limits, ended: make(chan struct{})}
	p.cmd = exec.Command(command[0], append(command[1:len(command):len(command)], bounds.Args()...)...)
	p.cmd.Env, p.cmd.Dir, p.cmd.Stderr = []string{}, "/", p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.WaitDelay = time.Second
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start a compiler: %w", err)
	}
	p.in = in
	reader, writer, err := os.Pipe() // unlike StdoutPipe, it can be read after the process was waited for
	if err != nil {
		return nil, fmt.Errorf("start a compiler: %w", err)
	}
	p.out, p.cmd.Stdout = reader, writer
	err = p.cmd.Start()
	writer.Close() // the child has its own
	if err != nil {
		reader.Close()
		return nil, fmt.Errorf("start a compiler: %w", err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in ProcessState
		close(p.ended)
		time.AfterFunc(time.Second, func() { reader.Close() }) // what it has said fits into the pipe
	}()
	return p, nil
}

func (p *process) isAlive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// kill ends the process for a reason, of which the first counts.
func (p *process) kill(cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cause == nil {
		p.cause = cause
	}
	if p.isAlive() {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // its group, unless it has ended by itself
	}
}

// finish lets the process go, however far it is. It does not wait.
func (p *process) finish() {
	p.in.Close()
	p.out.Close()
	if p.isAlive() {
		go func() {
			select {
			case <-p.ended:
			case <-time.After(time.Second):
				p.kill(errors.New("it did not end"))
			}
		}()
	}
}

// work and rest record that the child is at work, or waits for an answer.
func (p *process) work(now time.Time) { p.working.Store(now.UnixNano()) }

func (p *process) rest(now time.Time) {
	if since := p.working.Swap(0); since > 0 {
		p.worked.Add(now.UnixNano() - since)
	}
}

// atWork is how long the child has been at work in all.
func (p *process) atWork(now time.Time) time.Duration {
	worked := p.worked.Load()
	if since := p.working.Load(); since > 0 {
		worked += now.UnixNano() - since
	}
	return time.Duration(worked)
}

// explain returns why the conversation ended with err: what the process was killed for, or what it died of.
func (p *process) explain(err error) error {
	var limit *LimitError
	if errors.As(err, &limit) {
		return limit
	}
	var long *wire.TooLongError
	if errors.As(err, &long) {
		return &LimitError{fmt.Sprintf("the compiled program takes more than %s", mebibytes(p.limits.MessageBytes))}
	}
	if errors.Is(err, errProtocol) || errors.Is(err, wire.ErrMalformed) {
		return &InternalError{err}
	}
	select {
	case <-p.ended:
	case <-time.After(time.Second):
		return &InternalError{err}
	}
	p.mu.Lock()
	cause := p.cause
	p.mu.Unlock()
	if cause != nil {
		return cause
	}
	return p.death(err)
}

// exitFatal is how a Go program ends where its runtime can't go on. The child recovers from panics.
const exitFatal = 2

// death is what a process died of that nobody here has killed.
func (p *process) death(err error) error {
	state, said := p.cmd.ProcessState, p.stderr.String()
	if state.UserTime()+state.SystemTime() >= p.limits.CPU-time.Second {
		return p.limits.overCPU()
	}
	switch status, ok := state.Sys().(syscall.WaitStatus); {
	case strings.Contains(said, "out of memory"), strings.Contains(said, "cannot allocate memory"):
		return p.limits.overMemory()
	case strings.Contains(said, "stack exceeds"):
		return &LimitError{"compiling the program takes more calls within calls than a stack holds"}
	case ok && status.Signaled():
		return &LimitError{fmt.Sprintf("the process that compiled the program was ended by the signal %s, "+
			"as happens where the container's memory is used up", status.Signal())}
	}
	line, _, _ := strings.Cut(said, "\n")
	if state.ExitCode() == exitFatal {
		return &LimitError{"the process that compiled the program has crashed: " + line}
	}
	return &InternalError{fmt.Errorf("%s: %s", state, cmp.Or(line, err.Error()))}
}

func (l *Limits) overMemory() error {
	return &LimitError{fmt.Sprintf("compiling the program takes more than %s of memory", mebibytes(l.MemoryBytes))}
}

func (l *Limits) overCPU() error {
	return &LimitError{fmt.Sprintf("compiling the program takes more than %s of processor time", l.CPU)}
}

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }

// head keeps the beginning of what is written to it: a program that dies says first what of.
type head struct {
	mu sync.Mutex
	b  bytes.Buffer
}

const headBytes = 8 << 10

func (h *head) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.b.Write(p[:min(len(p), headBytes-h.b.Len())])
	return len(p), nil
}

func (h *head) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.b.String()
}
