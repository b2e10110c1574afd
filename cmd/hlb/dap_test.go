// SPDX-License-Identifier: Apache-2.0

//go:build integration

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-dap"

	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

// editor is a scripted client of the debug adapter.
type editor struct {
	t      *testing.T
	in     io.Writer
	out    *bufio.Reader
	seq    int
	output string // what steps wrote
	exited chan int
}

// newEditor starts the adapter, and initializes it.
func newEditor(t *testing.T) *editor {
	t.Helper()
	stdin, in := io.Pipe()
	out, stdout := io.Pipe()
	e := &editor{t: t, in: in, out: bufio.NewReader(out), exited: make(chan int, 1)}
	go func() {
		e.exited <- run(t.Context(), []string{"dap"}, stdin, stdout, os.Stderr)
		stdout.Close()
	}()
	e.ask("initialize", map[string]any{"adapterID": "hlb"})
	return e
}

// ask sends a request and returns its answer. Events before it are lost but for output.
func (e *editor) ask(command string, arguments any) dap.ResponseMessage {
	e.t.Helper()
	e.tell(command, arguments)
	for {
		if r, ok := e.next().(dap.ResponseMessage); ok && r.GetResponse().RequestSeq == e.seq {
			return r
		}
	}
}

func (e *editor) tell(command string, arguments any) {
	e.t.Helper()
	e.seq++
	text, err := json.Marshal(map[string]any{
		"seq": e.seq, "type": "request", "command": command, "arguments": arguments,
	})
	if err == nil {
		err = dap.WriteBaseMessage(e.in, text)
	}
	if err != nil {
		e.t.Fatal(err)
	}
}

func (e *editor) next() dap.Message {
	e.t.Helper()
	msg, err := dap.ReadProtocolMessage(e.out)
	if err != nil {
		e.t.Fatal(err)
	}
	if o, ok := msg.(*dap.OutputEvent); ok {
		e.output += o.Body.Output
	}
	return msg
}

// event waits for an event.
func (e *editor) event(name string) dap.EventMessage {
	e.t.Helper()
	for {
		if ev, ok := e.next().(dap.EventMessage); ok && ev.GetEvent().Event == name {
			return ev
		}
	}
}

// move takes a command and returns why and where the build then stops.
func (e *editor) move(command string) string {
	e.t.Helper()
	e.tell(command, map[string]any{"threadId": 1})
	stopped := e.event("stopped").(*dap.StoppedEvent)
	frames := e.ask("stackTrace", map[string]any{"threadId": 1}).(*dap.StackTraceResponse).Body.StackFrames
	text := stopped.Body.Reason
	for _, f := range frames {
		text += fmt.Sprintf(" %s:%d", f.Name, f.Line)
	}
	return text
}

func (e *editor) variables(of int) string {
	e.t.Helper()
	var out []string
	answer := e.ask("variables", map[string]any{"variablesReference": of})
	for _, v := range answer.(*dap.VariablesResponse).Body.Variables {
		out = append(out, v.Name+"="+v.Value)
	}
	return strings.Join(out, "\n")
}

// evaluate returns the result, or the message of the error.
func (e *editor) evaluate(expression string) string {
	e.t.Helper()
	switch r := e.ask("evaluate", map[string]any{"expression": expression, "context": "repl"}).(type) {
	case *dap.EvaluateResponse:
		return r.Body.Result
	case *dap.ErrorResponse:
		return "failed: " + r.Message
	}
	return ""
}

func (e *editor) launch(file string) {
	e.t.Helper()
	e.tell("launch", map[string]any{"program": file})
	e.event("initialized")
}

// ended waits for the end of the build and of the adapter.
func (e *editor) ended(want int) {
	e.t.Helper()
	if got := e.event("exited").(*dap.ExitedEvent).Body.ExitCode; got != want {
		e.t.Errorf("exit code %d, want %d", got, want)
	}
	e.event("terminated")
	e.ask("disconnect", nil)
	if code := <-e.exited; code != 0 {
		e.t.Errorf("the adapter ended with %d", code)
	}
}

// dapSite is a program beside a daemon.
func dapSite(t *testing.T, last string) (file string) {
	t.Helper()
	daemon := buildkittest.Start(t, buildkittest.Options{})
	base := buildkittest.StartRegistry(t).Busybox()
	t.Setenv("BUILDKIT_HOST", "unix://"+daemon.Socket)
	inFiles(t, map[string]string{
		"build.hlb": fmt.Sprintf(debugged, base, last),
		"wrong.hlb": "fs default() {\n\timag \"x\"\n}\n",
	})
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "build.hlb")
}

func want(t *testing.T, what, got string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(got, p) {
			t.Errorf("%s: %q is not in %q", what, p, got)
		}
	}
}

func TestDebugAdapter(t *testing.T) {
	file := dapSite(t, "true")
	e := newEditor(t)
	e.launch(file)
	set := e.ask("setBreakpoints", map[string]any{
		"source":      map[string]any{"path": file},
		"breakpoints": []map[string]any{{"line": 16}, {"line": 99}},
	}).(*dap.SetBreakpointsResponse).Body.Breakpoints
	if len(set) != 2 || !set[0].Verified || set[0].Line != 17 || set[1].Verified {
		t.Errorf("breakpoints: %+v", set)
	}
	want(t, "begin", e.move("configurationDone"), "breakpoint made:17 default:5")
	want(t, "next", e.move("next"), "step made:18 default:5")
	want(t, "back", e.move("stepBack"), "breakpoint made:17")
	want(t, "continue", e.move("continue"), "breakpoint default:6")
	want(t, "in", e.move("stepIn"), "step default:7")
	want(t, "in", e.move("stepIn"), "step default:10")
	want(t, "rewind", e.move("reverseContinue"), "breakpoint default:6")
	want(t, "over", e.move("next"), "step default:7")
	want(t, "step", e.variables(1), "does=run /bin/sh -c cp", "directory=/src")
	want(t, "environment", e.variables(2), "GREETING=hello", "STEP=yes")
	want(t, "mounts", e.variables(3), "/in=bind readonly", "/cache=cache //cache shared")
	want(t, "a command", e.evaluate("echo $STEP > x; cat x /in/name /one"), "yes\nmountedhello\n")
	want(t, "a directory", e.evaluate(":ls /in"), "name\n")
	want(t, "a file", e.evaluate(":cat /one"), "hello\n")
	want(t, "a failing command", e.evaluate("echo a; exit 3"), "failed: a\nexit code: 3")
	look := e.ask("evaluate", map[string]any{"expression": "touch /x", "context": "hover"})
	if look.GetResponse().Success {
		t.Error("a look runs a command")
	}
	if r, ok := e.ask("pause", map[string]any{"threadId": 1}).(*dap.ErrorResponse); !ok {
		t.Errorf("pause: %+v", r)
	}
	e.tell("continue", map[string]any{"threadId": 1})
	e.ended(0)
	want(t, "output", e.output, "mounted")
}

func TestDebugAdapterFailures(t *testing.T) {
	file := dapSite(t, "echo half > half; exit 7")
	e := newEditor(t)
	e.launch(file)
	want(t, "begin", e.move("configurationDone"), "breakpoint default:6")
	want(t, "continue", e.move("continue"), "exception default:7")
	want(t, "failure", e.variables(1), "failed with exit code 7")
	want(t, "what is left", e.evaluate("cat half"), "half")
	e.tell("continue", map[string]any{"threadId": 1})
	e.ended(7)

	e = newEditor(t)
	r := e.ask("launch", map[string]any{"program": filepath.Join(filepath.Dir(file), "wrong.hlb")})
	want(t, "a program that is refused", r.GetResponse().Message, "did you mean `image`?")
	e.event("terminated")
	want(t, "no program", e.ask("launch", map[string]any{}).GetResponse().Message, "no program")
	e.ask("disconnect", nil)
	<-e.exited

	e = newEditor(t) // an editor that leaves in the middle
	e.launch(file)
	e.move("configurationDone")
	e.ask("disconnect", nil)
	if code := <-e.exited; code != 0 {
		t.Errorf("the adapter ended with %d", code)
	}
}
