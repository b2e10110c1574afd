// SPDX-License-Identifier: Apache-2.0

// Package compile compiles programs in child processes, so that no program can take the agent down, or the other builds
// of its daemon. A child has no credentials and talks to nobody but the agent, which does for it what the compiler
// wants done: look-ups, solves and pushes. What a child may take is bounded: memory, processor time, time, the number
// of calls, the length of messages. A child over a bound is ended, and its build fails with a *LimitError.
//
// Package child is the other end, package wire the protocol between them.
package compile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/openllb/hlb-operator/agent/compile/wire"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/lower"
	"github.com/openllb/hlb-operator/hlb/request"
)

// Program is what to compile.
type Program = wire.Program

// KindHLB is a program in HLB.
const KindHLB = wire.KindHLB

// Services are what the compiler may ask for. The agent performs it, with its own credentials. Nil means that there is
// no such thing, which Program must agree with.
type Services struct {
	Resolver lower.Resolver
	Registry lower.Registry
	Solver   lower.Solver
	Pusher   lower.Pusher
	// Files holds the modules beside the program.
	Files fs.FS
	// Allow and Sharing are those of the compiler's options.
	Allow   func(use lower.Use, what string) error
	Sharing func(id string) (mode string, ok bool)
}

// Limits bound children. The compiler has limits of its own, which lie below and refuse a program with a diagnostic.
type Limits struct {
	// MemoryBytes is the resident memory of one child.
	MemoryBytes int64
	// TotalBytes is the resident memory of all children together. Where they take more, the largest is ended, and its
	// build tried again.
	TotalBytes int64
	// CPU is the processor time of one child, in whole seconds.
	CPU time.Duration
	// Time is how long one child may be at work, the time in which it waits for answers not counted.
	Time time.Duration
	// Calls is how often one child may ask.
	Calls int
	// MessageBytes is the length of what a child sends at a time: a call, or the compiled request.
	MessageBytes int64
}

// DefaultLimits are those of an agent whose container has 2 GiB. The largest program within the compiler's own limits
// takes about half of the memory and a quarter of the processor time.
func DefaultLimits() Limits {
	return Limits{
		MemoryBytes:  512 << 20,
		TotalBytes:   1536 << 20,
		CPU:          60 * time.Second,
		Time:         150 * time.Second,
		Calls:        10_000,
		MessageBytes: 64 << 20,
	}
}

// LimitError says that a program took more than a compile may, so that its process was ended. Another attempt would end
// in the same way.
type LimitError struct {
	// What names the bound, as in "compiling the program takes more than 512 MiB of memory".
	What string
}

func (e *LimitError) Error() string { return e.What }

// InternalError says that compiling failed for a reason that lies in the agent. Another attempt may succeed.
type InternalError struct {
	Err error
}

func (e *InternalError) Error() string { return "the compiler failed: " + e.Err.Error() }

// Unwrap returns the reason.
func (e *InternalError) Unwrap() error { return e.Err }

// Compiler compiles programs. It is safe for concurrent use.
type Compiler struct {
	command []string
	limits  Limits
	memory  *memory

	mu     sync.Mutex
	spare  *process // started and waiting for a program, nil for none
	closed bool
}

// New makes a compiler that starts command, to which the arguments of package child are added. It keeps one process
// waiting, so that a build does not wait for one to start.
func New(command []string, limits Limits) *Compiler {
	c := &Compiler{command: command, limits: limits, memory: newMemory(limits.TotalBytes)}
	go c.refill()
	return c
}

// Close ends the process that waits. What compiles goes on.
func (c *Compiler) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.spare != nil {
		c.spare.finish()
		c.spare = nil
	}
}

// take returns a process that waits for a program.
func (c *Compiler) take() (*process, error) {
	c.mu.Lock()
	waiting := c.spare
	c.spare = nil
	c.mu.Unlock()
	defer func() { go c.refill() }()
	if waiting != nil && waiting.isAlive() {
		return waiting, nil
	}
	return start(c.command, &c.limits)
}

// refill starts a process to wait. A failure shows when there is a program to compile.
func (c *Compiler) refill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.spare != nil {
		return
	}
	if p, err := start(c.command, &c.limits); err == nil {
		c.spare = p
	}
}

// Compile compiles a program. What is wrong with the program is in the list, and then there is no request. Errors are
// *LimitError, *InternalError, or the context's.
func (c *Compiler) Compile(
	ctx context.Context, program *Program, services *Services,
) (*request.Request, diag.List, error) {
	p, err := c.take()
	if err != nil {
		return nil, nil, &InternalError{err}
	}
	defer p.finish()
	defer context.AfterFunc(ctx, func() { p.kill(context.Cause(ctx)) })()
	go p.watch(&c.limits, c.memory)
	talk := &conversation{process: p, services: services, limits: &c.limits}
	result, blobs, err := talk.run(ctx, program)
	if err != nil {
		if ctx.Err() != nil {
			return nil, nil, fmt.Errorf("compile: %w", ctx.Err())
		}
		return nil, nil, p.explain(err)
	}
	switch {
	case result.Panic != "":
		return nil, nil, &InternalError{errors.New(result.Panic)}
	case result.Request == nil && !result.Found.HasErrors():
		return nil, nil, &InternalError{errors.New("there is neither a request nor an error")}
	case result.Request == nil:
		return nil, result.Found, nil
	}
	req, err := wire.Decode(result.Request, blobs)
	if err != nil {
		return nil, nil, &InternalError{err}
	}
	return req, result.Found, nil
}
