// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"context"
	"errors"
	"fmt"
	"time"

	gateway "github.com/moby/buildkit/frontend/gateway/client"

	"github.com/openllb/hlb-operator/agent/compile/wire"
)

// conversation is that of the agent with one child.
type conversation struct {
	process  *process
	services *Services
	limits   *Limits
	trees    []gateway.Reference // tree n is trees[n-1]
	calls    int
}

// message is what came from the child, or why nothing more comes.
type message struct {
	wire.FromChild
	blobs [][]byte
	err   error
}

// reply is the answer to a call.
type reply struct {
	answer *wire.Answer
	blobs  [][]byte
}

// errProtocol is about a child that does not keep to the protocol.
var errProtocol = errors.New("the child does not keep to the protocol")

// run sends the program, answers calls, and returns the result with its blobs.
func (c *conversation) run(ctx context.Context, program *Program) (*wire.Result, [][]byte, error) {
	ctx, cancel := context.WithCancel(ctx) // ends calls that the child no longer waits for
	defer cancel()
	messages, done := make(chan message), make(chan struct{})
	defer close(done)
	go c.listen(messages, done)
	c.process.work(time.Now())
	if err := wire.Write(c.process.in, program, program.Source, program.Context); err != nil {
		return nil, nil, err
	}
	replies := make(chan reply, 1)
	waiting := false
	for {
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case m := <-messages:
			switch {
			case m.err != nil:
				return nil, nil, m.err
			case m.Result != nil:
				return m.Result, m.blobs, nil
			case m.Call == nil || waiting:
				return nil, nil, errProtocol
			}
			if c.calls++; c.calls > c.limits.Calls {
				return nil, nil, &LimitError{fmt.Sprintf(
					"the program has more than %d things looked up or built while it is compiled", c.limits.Calls)}
			}
			waiting = true
			c.process.rest(time.Now())
			go func() { replies <- c.answer(ctx, m.Call, m.blobs) }()
		case r := <-replies:
			waiting = false
			c.process.work(time.Now())
			if err := wire.Write(c.process.in, r.answer, r.blobs...); err != nil {
				return nil, nil, err
			}
		}
	}
}

// listen reads until the child ends, or nobody waits any more.
func (c *conversation) listen(messages chan<- message, done <-chan struct{}) {
	for {
		var m message
		m.blobs, m.err = wire.Read(c.process.out, c.limits.MessageBytes, &m.FromChild)
		select {
		case messages <- m:
		case <-done:
			return
		}
		if m.err != nil {
			return
		}
	}
}

// answer performs a call. A panic of what performs it is an error of the call.
func (c *conversation) answer(ctx context.Context, call *wire.Call, blobs [][]byte) (r reply) {
	defer func() {
		if p := recover(); p != nil {
			r = reply{answer: &wire.Answer{Error: wire.NewError(fmt.Errorf("the agent failed: %v", p))}}
		}
	}()
	perform := operations[call.Op]
	if perform == nil {
		err := fmt.Errorf("%w: there is no call %q", errProtocol, call.Op)
		return reply{answer: &wire.Answer{Error: wire.NewError(err)}}
	}
	answer, sent, err := perform(c, ctx, call, blobs)
	for _, b := range sent {
		if err == nil && len(b) > maxBlob {
			err = fmt.Errorf("the answer has %d bytes, more than %d", len(b), maxBlob)
		}
	}
	if err != nil {
		return reply{answer: &wire.Answer{Error: wire.NewError(err)}}
	}
	return reply{answer, sent}
}
