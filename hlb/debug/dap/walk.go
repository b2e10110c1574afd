// SPDX-License-Identifier: Apache-2.0

package dap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/google/go-dap"

	"github.com/openllb/hlb-operator/hlb/debug"
	"github.com/openllb/hlb-operator/hlb/diag"
)

// thread is the only thread of a build.
const thread = 1

// walk answers requests while a program is being built.
type walk struct {
	*server
	session *debug.Session
	entry   bool // to stop before the first statement
}

// serve answers requests until the program is built, or fails, or the editor leaves.
func (w *walk) serve(ctx context.Context) error {
	for {
		select {
		case msg, ok := <-w.requests:
			if !ok {
				return debug.ErrQuit
			}
			done, err := w.answer(ctx, msg)
			if done || err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// answer answers a request. It reports true when there is nothing left to build.
func (w *walk) answer(ctx context.Context, msg dap.Message) (done bool, _ error) {
	switch r := msg.(type) {
	case *dap.ConfigurationDoneRequest:
		w.send(&dap.ConfigurationDoneResponse{Response: w.response(&r.Request)})
		return w.begin(ctx)
	case *dap.ContinueRequest:
		w.send(&dap.ContinueResponse{Response: w.response(&r.Request),
			Body: dap.ContinueResponseBody{AllThreadsContinued: true}})
		return w.move(ctx, debug.Continue)
	case *dap.NextRequest:
		w.send(&dap.NextResponse{Response: w.response(&r.Request)})
		return w.move(ctx, debug.StepOver)
	case *dap.StepInRequest:
		w.send(&dap.StepInResponse{Response: w.response(&r.Request)})
		return w.move(ctx, debug.StepIn)
	case *dap.StepOutRequest:
		w.send(&dap.StepOutResponse{Response: w.response(&r.Request)})
		return w.move(ctx, debug.StepOut)
	case *dap.StepBackRequest:
		w.send(&dap.StepBackResponse{Response: w.response(&r.Request)})
		return w.move(ctx, debug.Back)
	case *dap.ReverseContinueRequest:
		w.send(&dap.ReverseContinueResponse{Response: w.response(&r.Request)})
		return w.move(ctx, debug.ReverseContinue)
	case *dap.DisconnectRequest:
		w.send(&dap.DisconnectResponse{Response: w.response(&r.Request)})
		return true, errDisconnected
	case *dap.TerminateRequest:
		w.send(&dap.TerminateResponse{Response: w.response(&r.Request)})
		return true, errDisconnected
	}
	w.look(ctx, msg)
	return false, nil
}

// look answers the requests that build nothing.
func (w *walk) look(ctx context.Context, msg dap.Message) {
	switch r := msg.(type) {
	case *dap.SetBreakpointsRequest:
		w.setBreakpoints(r)
	case *dap.SetExceptionBreakpointsRequest:
		w.send(&dap.SetExceptionBreakpointsResponse{Response: w.response(&r.Request)})
	case *dap.ThreadsRequest:
		w.send(&dap.ThreadsResponse{Response: w.response(&r.Request),
			Body: dap.ThreadsResponseBody{Threads: []dap.Thread{{Id: thread, Name: "build"}}}})
	case *dap.StackTraceRequest:
		frames := w.frames()
		w.send(&dap.StackTraceResponse{Response: w.response(&r.Request),
			Body: dap.StackTraceResponseBody{StackFrames: frames, TotalFrames: len(frames)}})
	case *dap.ScopesRequest:
		w.send(&dap.ScopesResponse{Response: w.response(&r.Request), Body: dap.ScopesResponseBody{Scopes: scopes}})
	case *dap.VariablesRequest:
		w.send(&dap.VariablesResponse{Response: w.response(&r.Request),
			Body: dap.VariablesResponseBody{Variables: w.variables(r.Arguments.VariablesReference)}})
	case *dap.ExceptionInfoRequest:
		w.send(&dap.ExceptionInfoResponse{Response: w.response(&r.Request), Body: dap.ExceptionInfoResponseBody{
			ExceptionId: "step", BreakMode: "always", Description: fmt.Sprint(w.session.Failure()),
		}})
	case *dap.EvaluateRequest:
		w.evaluate(ctx, r)
	case dap.RequestMessage:
		w.refuse(r.GetRequest(), fmt.Errorf("%s is not supported", r.GetRequest().Command))
	}
}

// begin goes to the first stop.
func (w *walk) begin(ctx context.Context) (bool, error) {
	if w.session.Stop() == nil {
		return true, nil
	}
	if w.entry || w.session.Stop().Breakpoint {
		w.stopped()
		return false, nil
	}
	return w.move(ctx, debug.Continue)
}

// move takes a command and tells where it led.
func (w *walk) move(ctx context.Context, cmd debug.Command) (bool, error) {
	if err := w.session.Do(ctx, cmd); err != nil {
		return true, err
	}
	if w.session.Stop() == nil {
		return true, w.session.Failure()
	}
	w.stopped()
	return false, nil
}

func (w *walk) stopped() {
	body := dap.StoppedEventBody{ThreadId: thread, AllThreadsStopped: true}
	_, reason := w.session.At()
	body.Reason = string(reason)
	if reason == debug.AtFailure {
		body.Reason, body.Text = "exception", w.session.Failure().Error()
	}
	w.send(&dap.StoppedEvent{Event: event("stopped"), Body: body})
}

// setBreakpoints replaces the breakpoints of a file.
func (w *walk) setBreakpoints(r *dap.SetBreakpointsRequest) {
	lines := make([]int, len(r.Arguments.Breakpoints))
	for i, b := range r.Arguments.Breakpoints {
		lines[i] = b.Line
	}
	set := make([]int, len(lines))
	for _, file := range w.session.Files() {
		if absolute(file) == filepath.Clean(r.Arguments.Source.Path) {
			set = w.session.SetBreakpoints(file, lines)
		}
	}
	out := make([]dap.Breakpoint, len(lines))
	for i, line := range set {
		out[i] = dap.Breakpoint{Id: i + 1, Verified: line > 0, Line: line}
		if line == 0 {
			out[i].Line, out[i].Message = lines[i], "no statement that is built begins here or behind"
		}
	}
	w.send(&dap.SetBreakpointsResponse{Response: w.response(&r.Request),
		Body: dap.SetBreakpointsResponseBody{Breakpoints: out}})
}

// absolute is the path of a file of the program, for editors.
func absolute(file string) string {
	if abs, err := filepath.Abs(file); err == nil {
		return abs
	}
	return file
}

// frames are the statement and the calls around it.
func (w *walk) frames() []dap.StackFrame {
	stop := w.session.Stop()
	if stop == nil {
		return []dap.StackFrame{}
	}
	frames := []dap.StackFrame{frame(0, stop.Function, stop.Span)}
	for i, c := range stop.Callers {
		frames = append(frames, frame(i+1, c.Function, c.Span))
	}
	return frames
}

func frame(id int, function string, at diag.Span) dap.StackFrame {
	f := dap.StackFrame{
		Id: id, Name: function, Line: at.Start.Line, Column: at.Start.Column, EndLine: at.End.Line,
		EndColumn: at.End.Column,
	}
	if !strings.HasPrefix(at.File, "<") {
		f.Source = &dap.Source{Name: filepath.Base(at.File), Path: absolute(at.File)}
	}
	return f
}

// What variables are about.
const (
	stepVariables = iota + 1
	envVariables
	mountVariables
)

var scopes = []dap.Scope{
	{Name: "Step", VariablesReference: stepVariables},
	{Name: "Environment", VariablesReference: envVariables},
	{Name: "Mounts", VariablesReference: mountVariables},
}

func (w *walk) variables(of int) []dap.Variable {
	out := []dap.Variable{}
	add := func(name, value string) { out = append(out, dap.Variable{Name: name, Value: value}) }
	stop := w.session.Stop()
	switch {
	case stop == nil:
	case of == stepVariables:
		add("does", w.session.Step().Summary())
		add("directory", stop.Dir)
		add("user", stop.User)
		if err := w.session.Failure(); err != nil {
			add("failure", err.Error())
		}
	case of == envVariables:
		for _, kv := range w.session.Env() {
			key, value, _ := strings.Cut(kv, "=")
			add(key, value)
		}
	case of == mountVariables:
		for _, m := range w.session.Step().Mounts() {
			add(m.Dest, m.What)
		}
	}
	return out
}

// maxResult bounds the output of what is evaluated.
const maxResult = 64 << 10

// evaluate lists a directory (":ls DIR"), shows a file (":cat FILE"), or runs a command in a shell, where the
// statement would run.
func (w *walk) evaluate(ctx context.Context, r *dap.EvaluateRequest) {
	var out bounded
	verb, arg, _ := strings.Cut(strings.TrimSpace(r.Arguments.Expression), " ")
	var err error
	switch {
	case r.Arguments.Context == "hover":
		err = errors.New("there is nothing to evaluate in an HLB program") // a command must not run by a look
	case verb == ":ls":
		found, failed := w.session.ReadDir(ctx, strings.TrimSpace(arg))
		for _, f := range found {
			fmt.Fprintln(&out, f.Path)
		}
		err = failed
	case verb == ":cat":
		data, failed := w.session.ReadFile(ctx, strings.TrimSpace(arg))
		_, _ = out.Write(data)
		err = failed
	default:
		err = w.session.Exec(ctx, debug.Process{
			Args: []string{"/bin/sh", "-c", r.Arguments.Expression}, Stdout: &out, Stderr: &out,
		})
	}
	if err != nil {
		w.refuse(&r.Request, fmt.Errorf("%s%w", out.String(), err))
		return
	}
	w.send(&dap.EvaluateResponse{Response: w.response(&r.Request),
		Body: dap.EvaluateResponseBody{Result: out.String()}})
}

// bounded keeps the first maxResult bytes.
type bounded struct{ bytes.Buffer }

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if room := maxResult - b.Len(); room < len(p) {
		_, _ = b.Buffer.Write(p[:max(room, 0)])
		return len(p), nil
	}
	return b.Buffer.Write(p)
}
