// SPDX-License-Identifier: Apache-2.0

// Package dap puts the debugger before editors, by the Debug Adapter Protocol.
//
// One goroutine reads requests, another one answers them in order. A request that builds holds up those behind it; a
// disconnect ends it.
package dap

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/google/go-dap"

	"github.com/openllb/hlb-operator/hlb/debug"
	"github.com/openllb/hlb-operator/hlb/solve"
)

// Launch is what an editor's launch configuration says.
type Launch struct {
	// Program is the path of the HLB file.
	Program string `json:"program"`
	// Targets are what to build, by default "default"; Args are values of their parameters.
	Targets []string          `json:"targets"`
	Args    map[string]string `json:"args"`
	// Addr is the address of the buildkitd, by default that of `hlb run`.
	Addr string `json:"addr"`
	// StopOnEntry stops before the first statement.
	StopOnEntry bool `json:"stopOnEntry"`
}

// Build compiles a program, calls walk with a session of it, and makes its exports when walk returns nil. It gives logs
// the output of steps. The error is that of walk, or why the program can't be built.
type Build func(
	ctx context.Context, launch Launch, logs func([]byte), walk func(context.Context, *debug.Session) error,
) error

// errDisconnected ends what an editor no longer waits for.
var errDisconnected = errors.New("the editor has disconnected")

// Serve serves one editor until it disconnects or the input ends.
func Serve(ctx context.Context, in io.Reader, out io.Writer, build Build) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &server{out: out, requests: make(chan dap.Message), served: make(chan struct{}), build: build}
	defer close(s.served)
	go s.read(bufio.NewReader(in), cancel)
	for req := range s.requests {
		switch r := req.(type) {
		case *dap.InitializeRequest:
			s.send(&dap.InitializeResponse{Response: s.response(&r.Request), Body: dap.Capabilities{
				SupportsConfigurationDoneRequest: true, SupportsStepBack: true, SupportsExceptionInfoRequest: true,
				SupportsTerminateRequest: true,
			}})
		case *dap.LaunchRequest:
			s.launch(ctx, r)
		case *dap.DisconnectRequest:
			s.send(&dap.DisconnectResponse{Response: s.response(&r.Request)})
			return nil
		case *dap.TerminateRequest:
			s.send(&dap.TerminateResponse{Response: s.response(&r.Request)})
		case dap.RequestMessage:
			s.refuse(r.GetRequest(), errors.New("no program is being built"))
		}
	}
	return nil
}

// server is the connection to an editor.
type server struct {
	requests chan dap.Message // closed at the end of the input
	served   chan struct{}    // closed when nobody answers any more
	build    Build

	mu  sync.Mutex // of what follows
	out io.Writer
	seq int
}

// read reads requests until the input ends. A request to end also ends what is being built.
func (s *server) read(in *bufio.Reader, cancel context.CancelCauseFunc) {
	defer close(s.requests)
	defer cancel(errDisconnected)
	for {
		msg, err := dap.ReadProtocolMessage(in)
		var unknown *dap.DecodeProtocolMessageFieldError
		if errors.As(err, &unknown) {
			s.send(&dap.ErrorResponse{Response: dap.Response{
				ProtocolMessage: dap.ProtocolMessage{Type: "response"}, RequestSeq: unknown.Seq, Message: err.Error(),
			}})
			continue
		}
		if err != nil {
			return
		}
		switch msg.(type) {
		case *dap.DisconnectRequest, *dap.TerminateRequest:
			cancel(errDisconnected)
		}
		select {
		case s.requests <- msg:
		case <-s.served:
			return
		}
	}
}

// response begins the answer to a request.
func (s *server) response(r *dap.Request) dap.Response {
	return dap.Response{
		ProtocolMessage: dap.ProtocolMessage{Type: "response"}, RequestSeq: r.Seq, Success: true, Command: r.Command,
	}
}

// refuse answers that a request failed.
func (s *server) refuse(r *dap.Request, err error) {
	response := s.response(r)
	response.Success, response.Message = false, err.Error()
	s.send(&dap.ErrorResponse{Response: response, Body: dap.ErrorResponseBody{
		Error: &dap.ErrorMessage{Id: 1, Format: "{error}", Variables: map[string]string{"error": err.Error()}},
	}})
}

func event(name string) dap.Event {
	return dap.Event{ProtocolMessage: dap.ProtocolMessage{Type: "event"}, Event: name}
}

// send writes a message. That the editor is gone shows when reading.
func (s *server) send(msg dap.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	switch m := msg.(type) {
	case dap.ResponseMessage:
		m.GetResponse().Seq = s.seq
	case dap.EventMessage:
		m.GetEvent().Seq = s.seq
	}
	_ = dap.WriteProtocolMessage(s.out, msg)
}

func (s *server) output(category, text string) {
	s.send(&dap.OutputEvent{Event: event("output"), Body: dap.OutputEventBody{Category: category, Output: text}})
}

// launch builds a program while it answers the requests about it, and returns when it is built, or won't be.
func (s *server) launch(ctx context.Context, r *dap.LaunchRequest) {
	var launch Launch
	if err := json.Unmarshal(r.Arguments, &launch); err != nil {
		s.refuse(&r.Request, fmt.Errorf("the launch configuration is wrong: %w", err))
		return
	}
	if launch.Program == "" {
		s.refuse(&r.Request, errors.New("the launch configuration has no program"))
		return
	}
	launched := false
	err := s.build(ctx, launch, func(text []byte) { s.output("stdout", string(text)) },
		func(ctx context.Context, session *debug.Session) error {
			launched = true
			s.send(&dap.LaunchResponse{Response: s.response(&r.Request)})
			s.send(&dap.InitializedEvent{Event: event("initialized")})
			w := &walk{server: s, session: session, entry: launch.StopOnEntry}
			return w.serve(ctx)
		})
	if !launched {
		s.refuse(&r.Request, cause(ctx, err))
		s.send(&dap.TerminatedEvent{Event: event("terminated")})
		return
	}
	code := 0
	if err != nil {
		code = 1
		var step *solve.StepError
		if errors.As(err, &step) && step.ExitCode > 0 {
			code = step.ExitCode
		}
		s.output("stderr", cause(ctx, err).Error()+"\n")
	}
	s.send(&dap.ExitedEvent{Event: event("exited"), Body: dap.ExitedEventBody{ExitCode: code}})
	s.send(&dap.TerminatedEvent{Event: event("terminated")})
}

// cause is why something ended: an editor that disconnected comes before the errors that this makes.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err == nil {
		return errors.New("the program was not built")
	}
	return err
}
